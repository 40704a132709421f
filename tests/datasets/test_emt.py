"""Frames and properties made with the EMT potential."""

import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.eos import EquationOfState
from ase.units import GPa
from sklearn.model_selection import GroupKFold

from gnnpre.datasets import _alloys, make_emt_frames, make_emt_property
from gnnpre.datasets._emt_calculator import make_emt

METALS = {"Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt"}


@pytest.fixture(scope="module")
def frames():
    return make_emt_frames(60, random_state=0)


@pytest.fixture(scope="module")
def bulk_moduli():
    return make_emt_property(25, target="bulk_modulus", random_state=0)


def to_atoms(structure):
    return Atoms(
        numbers=structure.atomic_numbers,
        positions=structure.cart_coords,
        cell=structure.lattice.matrix,
        pbc=True,
        calculator=EMT(),
    )


def energy_of(structure, *, deformation=None, atom=None, shift=None):
    atoms = to_atoms(structure)
    if deformation is not None:
        atoms.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    if atom is not None:
        atoms.positions[atom] += shift
    return atoms.get_potential_energy()


def test_energies_are_those_of_the_structures(frames):
    structures, labels = frames
    for i, structure in enumerate(structures):
        assert labels.energy[i] == pytest.approx(energy_of(structure), abs=1e-9)
        assert labels.n_atoms[i] == len(structure)


def test_forces_are_minus_the_gradient_of_the_energy(frames):
    structures, labels = frames
    step = 1e-4
    for i in range(0, 30, 3):
        for axis in range(3):
            shift = step * np.eye(3)[axis]
            forward = energy_of(structures[i], atom=0, shift=shift)
            backward = energy_of(structures[i], atom=0, shift=-shift)
            force = labels.forces[labels.offsets[i], axis]
            assert force == pytest.approx(-(forward - backward) / (2 * step), abs=1e-4)


def test_stress_is_the_gradient_by_strain_per_volume(frames):
    structures, labels = frames
    step = 1e-4
    for i in range(0, 30, 3):
        for row, column in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
            strain = np.zeros((3, 3))
            strain[row, column] += step / 2
            strain[column, row] += step / 2
            forward = energy_of(structures[i], deformation=np.eye(3) + strain)
            backward = energy_of(structures[i], deformation=np.eye(3) - strain)
            expected = (forward - backward) / (2 * step) / structures[i].volume
            assert labels.stress[i, row, column] == pytest.approx(expected, abs=1e-5)


def test_frames_are_varied_and_far_from_equilibrium(frames):
    structures, labels = frames
    assert set(labels.groups("prototype")) == {"fcc", "bcc", "hcp", "L1_2", "L1_0"}
    assert {str(element) for s in structures for element in s.elements} == METALS
    assert labels.n_atoms.min() >= 1
    assert labels.n_atoms.max() == 8
    assert np.abs(labels.forces).max() > 1.0
    assert np.trace(labels.stress, axis1=1, axis2=2).min() < 0
    assert np.trace(labels.stress, axis1=1, axis2=2).max() > 0


def test_ordered_prototypes_have_their_stoichiometry(frames):
    structures, labels = frames
    for structure, prototype in zip(structures, labels.groups("prototype"), strict=True):
        fractions = sorted(structure.composition.fractional_composition.values())
        if prototype == "L1_2":
            assert fractions == pytest.approx([0.25, 0.75])
        if prototype == "L1_0":
            assert fractions == pytest.approx([0.5, 0.5])


def test_undistorted_frames_have_equal_distances_in_fcc():
    structures, labels = make_emt_frames(40, strain=0.0, rattle=0.0, random_state=1)
    for structure, prototype in zip(structures, labels.groups("prototype"), strict=True):
        nearest = np.sort(structure.get_neighbor_list(4.5)[3])[0]
        shell = len(structure.get_neighbor_list(nearest * 1.05)[3]) / len(structure)
        assert shell == {"bcc": 8}.get(prototype, 12)


def test_formula_and_group_describe_the_frame(frames):
    structures, labels = frames
    assert labels.groups("formula").tolist() == [s.reduced_formula for s in structures]
    assert labels.groups("group").tolist() == [s.chemical_system for s in structures]
    for train, test in GroupKFold(3).split(structures, groups=labels.groups("group")):
        assert not set(labels.groups("group")[train]) & set(labels.groups("group")[test])


def test_same_seed_same_frames_and_global_state_untouched():
    np.random.seed(3)  # noqa: NPY002 - the test is about the global state
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one, second = make_emt_frames(6, random_state=5), make_emt_frames(9, random_state=5)
    assert one[0] == second[0][:6]
    np.testing.assert_array_equal(one[1].energy, second[1].energy[:6])
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert make_emt_frames(6, random_state=6)[0] != one[0]
    assert make_emt_frames(6, random_state=np.random.RandomState(5))[0] == one[0]


@pytest.mark.parametrize("target", ["bulk_modulus", "formation_energy"])
def test_same_seed_same_property(target):
    one = make_emt_property(3, target=target, random_state=5)
    second = make_emt_property(5, target=target, random_state=5)
    assert one[0] == second[0][:3]
    np.testing.assert_array_equal(one[1], second[1][:3])


def test_property_cells_are_relaxed(bulk_moduli):
    for structure in bulk_moduli[0]:
        atoms = to_atoms(structure)
        assert np.abs(atoms.get_forces()).max() < 0.02
        assert np.abs(atoms.get_stress()).max() < 0.3 * GPa


def test_bulk_modulus_is_the_curvature_of_energy_by_volume(bulk_moduli):
    structures, moduli = bulk_moduli
    for structure, modulus in zip(structures[:8], moduli, strict=False):
        scales = np.linspace(0.99, 1.01, 7)
        energies = [energy_of(structure, deformation=np.eye(3) * scale) for scale in scales]
        volumes = structure.volume * scales**3
        _, _, expected = EquationOfState(volumes, energies, eos="birchmurnaghan").fit()
        assert modulus == pytest.approx(expected / GPa, rel=0.02)


def test_formation_energy_is_relative_to_the_relaxed_metals():
    structures, energies = make_emt_property(6, target="formation_energy", random_state=2)
    lowest = {}
    for metal in METALS:
        cubes = np.linspace(3.4, 4.3, 91)
        lowest[metal] = min(
            Atoms(
                metal, cell=(np.ones((3, 3)) - np.eye(3)) * a / 2, pbc=True, calculator=EMT()
            ).get_potential_energy()
            for a in cubes
        )
    for structure, energy in zip(structures, energies, strict=True):
        references = sum(lowest[site.specie.symbol] for site in structure)
        expected = (energy_of(structure) - references) / len(structure)
        assert energy == pytest.approx(expected, abs=2e-3)


def test_property_varies_enough_to_be_learned(bulk_moduli):
    assert 20 < np.std(bulk_moduli[1]) < 100
    assert (bulk_moduli[1] > 30).all()


def test_compositions_of_frames_and_property_are_disjoint():
    in_frames = {
        formula
        for seed in range(4)
        for formula in make_emt_frames(80, random_state=seed)[1].groups("formula")
    }
    for seed in range(3):
        structures, _ = make_emt_property(12, target="formation_energy", random_state=seed)
        formulas = [structure.reduced_formula for structure in structures]
        assert len(set(formulas)) == 12
        assert not in_frames & set(formulas)


def test_more_structures_than_compositions_is_an_error(monkeypatch):
    monkeypatch.setattr(_alloys, "_MAX_DRAWS", 50)
    with pytest.raises(ValueError, match="max_atoms=4 atoms have no further composition"):
        make_emt_property(500, max_atoms=4, target="formation_energy", random_state=0)


def test_max_atoms_holds():
    _, labels = make_emt_frames(40, max_atoms=4, random_state=0)
    assert labels.n_atoms.max() == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_frames": 0}, "n_frames must be an int of at least 1; got 0"),
        ({"n_frames": 2.0}, "n_frames"),
        ({"max_atoms": 3}, "max_atoms must be an int of at least 4"),
        ({"strain": -0.1}, "strain"),
        ({"rattle": float("nan")}, r"rattle \(Å\) must be between 0 and 0.5; got nan"),
    ],
)
def test_bad_arguments_of_frames(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_emt_frames(**arguments)


def test_unknown_target():
    with pytest.raises(
        ValueError, match="target must be 'bulk_modulus' or 'formation_energy'; got 'band_gap'"
    ):
        make_emt_property(1, target="band_gap")


def test_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_emt_frames(3, random_state=0)
        make_emt_property(1, random_state=0)


@pytest.mark.parametrize("value", [2**64, 10**9])
def test_absurd_numbers_are_refused(value):
    for arguments in ({"n_frames": value}, {"n_frames": 1, "max_atoms": value}):
        with pytest.raises(ValueError, match="must be at most 10000000"):
            make_emt_frames(**arguments)
    with pytest.raises(ValueError, match="n_structures must be at most"):
        make_emt_property(value)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, "a", True])
def test_seeds_out_of_range_are_named(seed):
    for make in (make_emt_frames, make_emt_property):
        with pytest.raises(ValueError, match=f"random_state={seed!r}; expected None, an int from"):
            make(2, random_state=seed)


def test_the_calculator_is_ase_s():
    rng = np.random.default_rng(0)
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.symbols[[0, 3]] = "Au"
    ours, theirs = make_emt(), EMT()
    for _ in range(3):  # the second and the third time from the state of the one before
        atoms.rattle(0.2, rng=rng)
        atoms.positions[0] += atoms.cell[1]  # outside the cell
        atoms.set_cell(atoms.cell.array + rng.normal(scale=0.1, size=(3, 3)), scale_atoms=True)
        computed = []
        for calculator in (ours, theirs):
            atoms.calc = calculator
            computed.append([atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()])
        for value, expected in zip(*computed, strict=True):
            np.testing.assert_allclose(value, expected, rtol=0, atol=1e-12)
