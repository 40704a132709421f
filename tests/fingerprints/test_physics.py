"""What holds for every fingerprint: symmetries, images, limits, derivatives, precision."""

import numpy as np
import pytest
import torch
from ase import Atoms
from sklearn.base import clone

from cases import perfect_crystals, random_rotation, random_structures
from fingerprints.shared import FINGERPRINTS, assert_close
from gnnpre import EAD, GMP, WACSF, StructureToGraph
from gnnpre.fingerprints import _base

STRUCTURES = random_structures()
CRYSTALS = perfect_crystals()
PERIODIC = [name for name, atoms in STRUCTURES.items() if atoms.pbc.any()]
STEP = 1e-4  # Å: small beside every Gaussian, and beside the distance of any pair to the cutoff


@pytest.fixture(params=FINGERPRINTS)
def fingerprint(request):
    return clone(FINGERPRINTS[request.param])


def make_batch(fingerprint, structures, dtype=torch.float64):
    numbers = np.concatenate([atoms.numbers for atoms in structures])
    graphs = StructureToGraph(fingerprint.needed_cutoff(numbers)).transform(structures)
    return graphs.batch(dtype=dtype)


def moved(atoms, positions, cell=None):
    alternative = atoms.copy()
    if cell is not None:
        alternative.set_cell(cell)
    alternative.set_positions(positions)
    return alternative


def assert_same_before_and_after(fingerprint, change):
    for name, atoms in STRUCTURES.items():
        before, after = fingerprint.transform([atoms, change(atoms)])
        assert np.abs(before).max() > 0.0, name
        assert_close(after, before, 1e-10)


# Symmetries


def test_translation(fingerprint):
    shift = np.array([3.1, -17.3, 0.77])
    assert_same_before_and_after(fingerprint, lambda atoms: moved(atoms, atoms.positions + shift))


@pytest.mark.parametrize("reflect", [False, True])
def test_rotation_and_reflection(fingerprint, reflect):
    matrix = random_rotation(np.random.default_rng(1), reflect=reflect)

    def turn(atoms):
        return moved(atoms, atoms.positions @ matrix, atoms.cell.array @ matrix)

    assert_same_before_and_after(fingerprint, turn)


def test_permutation(fingerprint):
    rng = np.random.default_rng(2)
    for atoms in STRUCTURES.values():
        order = rng.permutation(len(atoms))
        one, alternative = fingerprint.transform([atoms, atoms[order]])
        assert_close(alternative, one[order], 1e-12)


@pytest.mark.parametrize("name", PERIODIC)
def test_supercell(fingerprint, name):
    atoms = STRUCTURES[name]
    repeats = np.where(atoms.pbc, (2, 1, 2), 1)
    repeats[1] = 3 if name == "wire" else repeats[1]
    copies = int(repeats.prod())
    assert copies > 1
    one, large = fingerprint.transform([atoms, atoms.repeat(repeats)])
    assert_close(large, np.tile(one, (copies, 1)), 1e-10)


@pytest.mark.parametrize("name", PERIODIC)
def test_images_count(fingerprint, name):
    alone = STRUCTURES[name].copy()
    alone.pbc = False
    one, alternative = fingerprint.transform([STRUCTURES[name], alone])
    # Not so in densities at the nuclei, which are those of their own atoms.
    assert (np.abs(one - alternative) > 1e-2 * np.abs(one)).any(axis=0).mean() > 0.7


def test_images_of_atoms_that_are_moved_by_whole_cells(fingerprint):
    for name in PERIODIC:
        atoms = STRUCTURES[name]
        shifts = np.random.default_rng(3).integers(-3, 4, size=(len(atoms), 3)) * atoms.pbc
        one, alternative = fingerprint.transform(
            [atoms, moved(atoms, atoms.positions + shifts @ atoms.cell.array)]
        )
        assert_close(alternative, one, 1e-10)


# Limits


@pytest.mark.parametrize("far", [False, True])
def test_isolated_atoms(fingerprint, far):
    """Alone, or with another atom out of reach."""
    iron = Atoms("FeFe", [[0, 0, 0], [0, 0, 100.0]]) if far else Atoms("Fe")
    result = fingerprint.transform([iron])[0]
    names = fingerprint.atom_feature_names()
    if isinstance(fingerprint, GMP):
        spherical = np.array(["order-1" in name or "order0" in name for name in names])
        assert (result[:, spherical] > 0.0).all()
        result = result[:, ~spherical]
    assert (result == 0.0).all()


CONTINUOUS = [name for name, one in FINGERPRINTS.items() if not isinstance(one, GMP)]


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("side", ["from the centre", "between neighbours"])
def test_continuity_at_the_cutoff(name, side):
    """Across the cutoff features and slopes vary by as much as a smooth function's."""
    # The third atom crosses the cutoff of the first, or of the second alone.
    bend = np.array([4.0, 0.0, 0.0]) if side == "from the centre" else np.array([2.2, 3.3, 0.4])
    second = np.array([1.5, 1.2, 0.3]) if side == "from the centre" else np.array([2.0, -0.6, 0.0])
    origin = np.zeros(3) if side == "from the centre" else second
    direction = (bend - origin) / np.linalg.norm(bend - origin)
    step = 1e-5
    rows = []
    for distance in 4.0 + step * np.array([-2.0, -1.0, 0.0, 1.0, 2.0]):
        atoms = Atoms("OFeCu", [np.zeros(3), second, origin + distance * direction])
        rows.append(FINGERPRINTS[name].transform([atoms])[0])
    rows = np.array(rows)
    scale = np.abs(rows).max()
    assert 0 < np.abs(np.diff(rows, axis=0)).max() < 10 * step * scale
    # A kink would leave step, a jump 1.
    assert np.abs(np.diff(rows, n=2, axis=0)).max() < 100 * step**2 * scale


# Derivatives


def analytic_gradient(fingerprint, atoms, weights):
    batch = make_batch(fingerprint, [atoms])
    displacements = torch.zeros(len(atoms), 3, dtype=torch.float64, requires_grad=True)
    values = fingerprint.compute(batch.displaced(displacements))
    (gradient,) = torch.autograd.grad((values * weights).sum(), displacements)
    return gradient.numpy()


def numeric_gradient(fingerprint, atoms, weights):
    """From structures whose neighbours are found anew."""
    steps = STEP * np.eye(3 * len(atoms)).reshape(-1, len(atoms), 3)
    forward = fingerprint.transform([moved(atoms, atoms.positions + step) for step in steps])
    backward = fingerprint.transform([moved(atoms, atoms.positions - step) for step in steps])
    slopes = (np.array(forward) - np.array(backward)) / (2 * STEP)
    return (slopes * weights.numpy()).sum(axis=(1, 2)).reshape(-1, 3)


@pytest.mark.parametrize("name", ["random", "small skewed left-handed", "slab", "molecule"])
def test_derivatives_with_respect_to_positions(fingerprint, name):
    atoms = STRUCTURES[name]
    # Columns of unlike size all count.
    scale = np.abs(fingerprint.transform([atoms])[0]).max(axis=0)
    noise = np.random.default_rng(4).normal(size=(len(atoms), len(scale)))
    weights = torch.as_tensor(noise / scale)
    result = analytic_gradient(fingerprint, atoms, weights)
    expected = numeric_gradient(fingerprint, atoms, weights)
    assert np.abs(expected).max() > 0.1
    # Differences miss STEP^2 times third derivatives; atoms of a crystal move all images.
    np.testing.assert_allclose(result, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(result.sum(axis=0), 0.0, atol=1e-10 * np.abs(result).max())


@pytest.mark.parametrize("name", ["random", "small"])
def test_derivatives_with_respect_to_the_cell(fingerprint, name):
    """Strain reaches features through the edge vectors alone."""
    atoms = STRUCTURES[name]
    strain = 1e-5 * np.random.default_rng(5).normal(size=(3, 3))
    batch = make_batch(fingerprint, [atoms])
    vectors = batch.edge_vectors.clone().requires_grad_()
    values = fingerprint.compute(batch.with_edge_vectors(vectors)).sum(dim=0)
    scale = values.detach().abs().clamp(min=1e-6)
    (gradient,) = torch.autograd.grad((values / scale).sum(), vectors)
    slope = (gradient * (vectors.detach() @ torch.as_tensor(strain))).sum().item()
    totals = []
    for sign in (1.0, -1.0):
        turned = np.eye(3) + sign * strain
        atoms_ = moved(atoms, atoms.positions @ turned, atoms.cell.array @ turned)
        totals.append((fingerprint.transform([atoms_])[0].sum(axis=0) / scale.numpy()).sum())
    expected = (totals[0] - totals[1]) / 2
    assert slope == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", CRYSTALS)
def test_derivatives_of_perfect_crystals_are_numbers(fingerprint, name):
    batch = make_batch(fingerprint, [CRYSTALS[name]])
    vectors = batch.edge_vectors.clone().requires_grad_()
    fingerprint.compute(batch.with_edge_vectors(vectors)).sum().backward()
    assert torch.isfinite(vectors.grad).all()
    assert vectors.grad.abs().max() > 0.0


def test_derivatives_of_an_isolated_atom_are_numbers(fingerprint):
    batch = make_batch(fingerprint, [Atoms("Fe"), Atoms("HO", [[0, 0, 0], [0, 0, 1.0]])])
    vectors = batch.edge_vectors.clone().requires_grad_()
    fingerprint.compute(batch.with_edge_vectors(vectors)).sum().backward()
    assert vectors.grad.shape == (2, 3)
    assert torch.isfinite(vectors.grad).all()


def test_the_root_of_a_multipole_that_is_0_has_gradient_0():
    """Of an atom in the middle of two, whose dipole is 0 to the last digit: no NaN, no infinity."""
    fingerprint = GMP((0.5,), (1,))
    line = Atoms("OOO", [[0, 0, -2.0], [0, 0, 0], [0, 0, 2.0]])
    batch = make_batch(fingerprint, [line])
    vectors = batch.edge_vectors.clone().requires_grad_()
    values = fingerprint.compute(batch.with_edge_vectors(vectors))
    assert values[1] == 0.0
    assert values[0] > 0.01
    (gradient,) = torch.autograd.grad(values[1], vectors)
    assert (gradient == 0.0).all()


VANISHING = {"Si": (1, 2, 5), "NaCl": (1, 2, 3, 5, 7, 9), "Fe": (1, 2, 3, 5, 7, 9)}


@pytest.mark.parametrize(
    ("name", "order"), [(n, o) for n, orders in VANISHING.items() for o in orders]
)
def test_the_root_of_a_multipole_that_vanishes_by_symmetry_has_gradient_0(name, order):
    """There is none at any atom but for rounding, whose direction must not be taken for one."""
    fingerprint = GMP((0.5,), (order,))
    assert fingerprint.transform([CRYSTALS[name]])[0].max() < 1e-9
    weights = torch.ones((), dtype=torch.float64)
    assert np.abs(analytic_gradient(fingerprint, CRYSTALS[name], weights)).max() < 1e-6


@pytest.mark.parametrize("order", [1, 5])
@pytest.mark.parametrize("size", [1e-3, 1e-6])
def test_the_root_of_a_small_multipole_keeps_its_gradient(order, size):
    """It grows in proportion to how far an atom has moved from where it vanishes."""
    fingerprint = GMP((0.5,), (order,), overlap_threshold=1e-14)
    batch = make_batch(fingerprint, [CRYSTALS["NaCl"]])
    step = torch.zeros(8, 3, dtype=torch.float64)
    step[0] = size * torch.tensor([0.6, 0.0, 0.8])
    step.requires_grad_()
    value = fingerprint.compute(batch.displaced(step))[0, 0]
    (gradient,) = torch.autograd.grad(value, step)
    assert value.item() > 0.0
    assert (gradient * step).sum().item() == pytest.approx(value.item(), rel=1e-4)


@pytest.mark.parametrize("name", CRYSTALS)
def test_squares_of_multipoles_that_vanish_have_gradient_0(name):
    fingerprint = GMP((0.5,), (1,), square=True)
    weights = torch.ones((), dtype=torch.float64)
    assert np.abs(analytic_gradient(fingerprint, CRYSTALS[name], weights)).max() < 1e-12


# Precision


def test_float32_agrees_with_float64(fingerprint):
    single = clone(fingerprint).set_params(dtype="float32")
    structures = [*STRUCTURES.values(), *CRYSTALS.values()]
    double, result = fingerprint.atom_features(structures), single.atom_features(structures)
    assert double.dtype == np.float64
    assert result.dtype == np.float32
    assert_close(result, double, 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compute_keeps_the_precision_of_the_batch(fingerprint, dtype):
    batch = make_batch(fingerprint, [STRUCTURES["random"]], dtype)
    assert fingerprint.compute(batch).dtype == dtype


# One result however it is asked for


def test_together_is_one_by_one(fingerprint):
    structures = list(STRUCTURES.values())
    for atoms, together in zip(structures, fingerprint.transform(structures), strict=True):
        alone = fingerprint.transform([atoms])[0]
        assert alone.shape == (len(atoms), len(fingerprint.atom_feature_names()))
        assert_close(together, alone, 1e-12)


@pytest.mark.parametrize("chunk", [1, 7])
def test_parts_of_any_size_give_the_same(fingerprint, chunk, monkeypatch):
    structures = list(STRUCTURES.values())
    whole = fingerprint.transform(structures)
    monkeypatch.setattr(_base, "CHUNK_ATOMS", chunk)
    for result, expected in zip(fingerprint.transform(structures), whole, strict=True):
        assert_close(result, expected, 1e-12)


def test_subsets_and_order(fingerprint):
    structures = list(STRUCTURES.values())
    whole = fingerprint.transform(structures)
    for rows in ([7, 0, 3], [5, 5], list(range(8))[::-1]):
        for result, row in zip(
            fingerprint.transform([structures[row] for row in rows]), rows, strict=True
        ):
            assert_close(result, whole[row], 1e-12)


@pytest.mark.parametrize(
    "settings",
    [{"cutoff": 17.0}, {"cutoff": 3.0}, {"cutoff": 17.0, "max_neighbors": 3}],
    ids=["larger", "smaller", "few neighbours"],
)
def test_graphs_of_any_cutoff_give_the_same(fingerprint, settings):
    chosen = [STRUCTURES[name] for name in ("random", "small skewed", "wire", "molecule")]
    expected = fingerprint.transform(chosen)
    graphs = StructureToGraph(**settings).fit_transform(chosen)
    for result, targeted in zip(fingerprint.transform(graphs), expected, strict=True):
        # Graphs hold positions as the structures do; sums run in another order.
        assert_close(result, targeted, 1e-10)


def test_a_batch_with_longer_edges_gives_the_same(fingerprint):
    atoms = STRUCTURES["slab"]
    cutoff = fingerprint.needed_cutoff(atoms.numbers)
    expected = fingerprint.transform([atoms])[0]
    for wider in (cutoff, cutoff + 1.5):
        batch = StructureToGraph(wider).transform([atoms]).batch(dtype=torch.float64)
        assert_close(fingerprint.compute(batch).numpy(), expected, 1e-12)


@pytest.mark.parametrize("category", [WACSF, EAD])
def test_the_needed_cutoff_is_the_parameter(category):
    assert category(4.5).needed_cutoff(np.array([1, 92])) == 4.5
