"""What energies, forces and stresses must obey, for every backbone with every readout."""

import copy
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, make_supercell
from sklearn.base import clone

from cases import (
    BACKBONES,
    CUTOFF,
    DERIVATIVE_OBJECTIVES,
    DEVICE,
    JUMPS_AT_CUTOFF,
    READOUTS,
    ReadoutCase,
    evaluate,
    make_model,
    perfect_crystals,
    random_rotation,
    random_structures,
)
from gnnpre import StructureToGraph
from gnnpre.graphs import CrystalBatch
from gnnpre.objectives import ObjectiveModel

STRUCTURES = random_structures()
PERIODIC = {name: atoms for name, atoms in STRUCTURES.items() if atoms.pbc.all()}
PARTLY_PERIODIC = {name: atoms for name, atoms in STRUCTURES.items() if not atoms.pbc.all()}
# Of central differences: small beside the 0.2 Å width of the Gaussians.
STEP = 5e-4


class Case(NamedTuple):
    """A model in float64 and what is known of it."""

    model: ObjectiveModel
    backbone: str
    readout: ReadoutCase

    @property
    def smooth(self) -> bool:
        return self.backbone not in JUMPS_AT_CUTOFF


ALL = [(o, b, r) for o in DERIVATIVE_OBJECTIVES for b in BACKBONES for r in READOUTS]


@pytest.fixture(scope="module", params=ALL, ids=["-".join(names) for names in ALL])
def case(request) -> Case:
    objective, backbone, readout = request.param
    form = READOUTS[readout]
    config = clone(DERIVATIVE_OBJECTIVES[objective])
    config.set_params(readout=form.order, pooling=form.pooling)
    return Case(make_model(BACKBONES[backbone], config), backbone, form)


def assert_close(actual, expected, *, rtol=1e-9, atol=1e-10):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


def assert_same_physics(actual, expected, **tolerances):
    for name in ("energy", "forces", "stress"):
        assert_close(actual[name], expected[name], **tolerances)


def transform(atoms: Atoms, matrix: np.ndarray) -> Atoms:
    """Apply ``r -> r @ matrix`` to atoms and cell."""
    moved = atoms.copy()
    moved.set_cell(atoms.cell.array @ matrix)
    moved.positions = atoms.positions @ matrix
    return moved


def derivative(energies: np.ndarray, step: float) -> np.ndarray:
    """Fourth-order central difference; the last axis holds steps of -2, -1, 1, 2."""
    return energies @ np.array([1.0, -8.0, 8.0, -1.0]) / (12.0 * step)


STEPS = np.array([-2.0, -1.0, 1.0, 2.0]) * STEP


def moved_copies(atoms: Atoms) -> list[Atoms]:
    """Each atom moved along each axis by each of STEPS."""
    copies = []
    for atom, axis in np.ndindex(len(atoms), 3):
        for step in STEPS:
            copy = atoms.copy()
            copy.positions[atom, axis] += step
            copies.append(copy)
    return copies


def strained_copies(atoms: Atoms) -> list[Atoms]:
    """Each of the nine components of strain at each of STEPS."""
    copies = []
    for row, column in np.ndindex(3, 3):
        for step in STEPS:
            matrix = np.eye(3)
            matrix[row, column] += step
            copies.append(transform(atoms, matrix))
    return copies


def batch_of(structures: list[Atoms]) -> CrystalBatch:
    return StructureToGraph(CUTOFF).transform(structures).batch(dtype=torch.float64).to(DEVICE)


@pytest.fixture(scope="module")
def moved_batch():
    copies = [copy for atoms in STRUCTURES.values() for copy in moved_copies(atoms)]
    return batch_of(copies)


@pytest.fixture(scope="module")
def strained_batch():
    copies = [copy for atoms in PERIODIC.values() for copy in strained_copies(atoms)]
    return batch_of(copies)


def energies(model: ObjectiveModel, batch) -> np.ndarray:
    with torch.no_grad():
        return model(batch)["energy"].cpu().numpy()


class TestDerivatives:
    """Against differences of energies of structures whose graphs are built anew."""

    def test_forces(self, case, moved_batch):
        forces = evaluate(case.model, list(STRUCTURES.values()))["forces"]
        expected = -derivative(energies(case.model, moved_batch).reshape(-1, 3, 4), STEP)
        assert np.abs(expected).max() > 0.01
        assert_close(forces, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())

    def test_stress(self, case, strained_batch):
        stress = evaluate(case.model, list(PERIODIC.values()))["stress"]
        gradient = derivative(energies(case.model, strained_batch).reshape(-1, 3, 3, 4), STEP)
        volume = np.array([abs(np.linalg.det(a.cell.array)) for a in PERIODIC.values()])
        expected = gradient / volume[:, None, None]
        assert np.abs(expected).max() > 1e-3
        assert_close(stress, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())

    def test_training_gives_the_same_and_keeps_the_graph(self, case):
        graphs = StructureToGraph(CUTOFF).transform(list(STRUCTURES.values()))
        batch = graphs.batch(dtype=torch.float64).to(DEVICE)
        expected = {name: values.detach() for name, values in case.model(batch).items()}
        model = copy.deepcopy(case.model).train()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.eval()  # which would normalise over the batch
        for name, values in model(batch).items():
            assert values.grad_fn is not None
            assert_close(values.detach().cpu().numpy(), expected[name].cpu().numpy())


class TestStress:
    def test_is_symmetric(self, case):
        stress = evaluate(case.model, list(PERIODIC.values()))["stress"]
        assert_close(stress, stress.transpose(0, 2, 1), rtol=0, atol=1e-14)

    def test_is_nan_where_not_periodic_in_all_directions(self, case):
        stress = evaluate(case.model, list(STRUCTURES.values()))["stress"]
        periodic = np.array([atoms.pbc.all() for atoms in STRUCTURES.values()])
        assert np.isfinite(stress[periodic]).all()
        assert np.isnan(stress[~periodic]).all()

    def test_of_cubic_crystals_is_a_pressure(self, case):
        stress = evaluate(case.model, [perfect_crystals()[name] for name in ("Si", "NaCl", "Fe")])
        pressure = stress["stress"][:, 0, 0]
        assert (np.abs(pressure) > 1e-6).all()
        assert_close(stress["stress"], pressure[:, None, None] * np.eye(3))


class TestSymmetries:
    @pytest.mark.parametrize("reflect", [False, True], ids=["rotation", "reflection"])
    def test_rotation(self, case, reflect):
        matrix = random_rotation(np.random.default_rng(3), reflect=reflect)
        before = evaluate(case.model, list(STRUCTURES.values()))
        after = evaluate(case.model, [transform(atoms, matrix) for atoms in STRUCTURES.values()])
        expected = {
            "energy": before["energy"],
            "forces": before["forces"] @ matrix,
            "stress": matrix.T @ before["stress"] @ matrix,
        }
        assert_same_physics(after, expected)

    def test_translation(self, case):
        before = evaluate(case.model, list(STRUCTURES.values()))
        moved = [atoms.copy() for atoms in STRUCTURES.values()]
        for atoms in moved:
            atoms.positions += [0.9, -7.3, 2.1]
        assert_same_physics(evaluate(case.model, moved), before)

    def test_lattice_vectors_added_to_one_atom(self, case):
        before = evaluate(case.model, list(PERIODIC.values()))
        moved = [atoms.copy() for atoms in PERIODIC.values()]
        for atoms in moved:
            atoms.positions[-1] += np.array([2.0, -1.0, 1.0]) @ atoms.cell.array
        assert_same_physics(evaluate(case.model, moved), before)

    def test_permutation(self, case):
        rng = np.random.default_rng(5)
        before = evaluate(case.model, list(STRUCTURES.values()))
        orders = [rng.permutation(len(atoms)) for atoms in STRUCTURES.values()]
        permuted = [atoms[order] for atoms, order in zip(STRUCTURES.values(), orders, strict=True)]
        first = np.cumsum([0] + [len(atoms) for atoms in STRUCTURES.values()])
        rows = np.concatenate([start + order for start, order in zip(first, orders, strict=False)])
        after = evaluate(case.model, permuted)
        assert_same_physics(after, {**before, "forces": before["forces"][rows]})

    def test_cell_vectors_along_open_directions_do_not_matter(self, case):
        before = evaluate(case.model, list(PARTLY_PERIODIC.values()))
        stretched = [atoms.copy() for atoms in PARTLY_PERIODIC.values()]
        for atoms in stretched:
            cell = atoms.cell.array.copy()
            cell[~atoms.pbc] = np.random.default_rng(1).normal(size=(3, 3))[~atoms.pbc]
            atoms.set_cell(cell)
        assert_same_physics(evaluate(case.model, stretched), before)

    def test_no_net_force(self, case):
        for atoms in STRUCTURES.values():
            forces = evaluate(case.model, [atoms])["forces"]
            assert_close(forces.sum(axis=0), np.zeros(3))


class TestSupercells:
    MATRIX = np.array([[1, 1, 0], [0, 2, 0], [1, 0, 2]])
    N_CELLS = 4

    def evaluate_both(self, case):
        cells = [STRUCTURES[name] for name in ("random", "left-handed", "small skewed")]
        supercells = [make_supercell(atoms, self.MATRIX) for atoms in cells]
        repeated = [
            np.tile(part["forces"], (self.N_CELLS, 1))
            for part in (evaluate(case.model, [atoms]) for atoms in cells)
        ]
        cell = evaluate(case.model, cells)
        return {**cell, "forces": np.concatenate(repeated)}, evaluate(case.model, supercells)

    def test_energy_and_forces(self, case):
        expected, found = self.evaluate_both(case)
        expected["energy"] = expected["energy"] * self.N_CELLS
        if case.readout.energy_extensive:
            assert_same_physics(found, expected)
        else:
            # The papers' form: what is read out of a sum of features does not grow with it.
            assert (np.abs(found["energy"] - expected["energy"]) > 1e-3).all()
            assert np.abs(found["forces"] - expected["forces"]).max() > 1e-3

    def test_readout_declares_whether_its_value_is_extensive(self, case):
        head, backbone = case.model.head, case.model.backbone
        assert head.extensive == case.readout.value_extensive
        cell = STRUCTURES["random"]
        values = []
        for atoms in (cell, make_supercell(cell, self.MATRIX)):
            batch = (
                StructureToGraph(CUTOFF).transform([atoms]).batch(dtype=torch.float64).to(DEVICE)
            )
            with torch.no_grad():
                values.append(head(backbone(batch).scalars, batch).item())
        ratio = values[1] / values[0]
        assert (abs(ratio - self.N_CELLS) < 1e-9) == case.readout.value_extensive

    def test_energies_of_parts_out_of_reach_add_up(self, case):
        near, far = STRUCTURES["molecule"], STRUCTURES["wire"].copy()
        far.pbc = False
        far.positions += 50.0
        apart = evaluate(case.model, [near, far])["energy"].sum()
        together = evaluate(case.model, [near + far])["energy"][0]
        if case.readout.additive:
            assert together == pytest.approx(apart, rel=1e-10)
        else:
            assert abs(together - apart) > 1e-3


class TestPerfectCrystals:
    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"max_neighbors": 10, "neighbor_cut": "shell"},
            {"max_neighbors": 15, "neighbor_cut": "shell"},
        ],
        ids=["all neighbours", "10 neighbours", "15 neighbours"],
    )
    def test_no_force(self, case, settings):
        crystals = list(perfect_crystals().values())
        predictions = evaluate(case.model, crystals, cutoff=5.0, **settings)
        assert_close(predictions["forces"], 0.0)
        for atoms in crystals:
            atoms.rattle(0.05, seed=1)
        rattled = evaluate(case.model, crystals, cutoff=5.0, **settings)
        assert np.abs(rattled["forces"]).max() > 1e-2

    def test_cutting_a_shell_breaks_the_symmetry(self, case):
        settings = {"max_neighbors": 10, "neighbor_cut": "exact"}
        forces = evaluate(case.model, [perfect_crystals()["Si"]], cutoff=5.0, **settings)["forces"]
        assert np.abs(forces).max() > 1e-5


def pair_at(distance: float) -> Atoms:
    """Two clusters, of which only one pair of atoms is within reach, at ``distance``."""
    cluster = np.array([[0.0, 0.0, 0.0], [-1.4, 1.2, 0.3], [-1.3, -1.5, 0.5]])
    other = np.array([[0.0, 0.0, 0.0], [1.6, 0.9, -0.8]])
    direction = np.array([0.8, 0.0, 0.6])
    return Atoms("FeOAlCuO", np.vstack([cluster, other + distance * direction]))


class TestCutoff:
    """As one neighbour crosses the cutoff."""

    DELTA = 1e-7

    def jump(self, case, distances) -> dict[str, float]:
        inside, outside = (evaluate(case.model, [pair_at(d)]) for d in distances)
        return {
            name: float(np.abs(inside[name] - outside[name]).max()) for name in ("energy", "forces")
        }

    def test_one_pair_crosses(self):
        inside, outside = (pair_at(CUTOFF + step) for step in (-self.DELTA, self.DELTA))
        graphs = StructureToGraph(CUTOFF).transform([inside, outside])
        assert graphs.edge_counts[0] == graphs.edge_counts[1] + 2

    def test_continuity(self, case):
        jump = self.jump(case, (CUTOFF - self.DELTA, CUTOFF + self.DELTA))
        if case.smooth:
            assert jump["energy"] < 1e-6
            assert jump["forces"] < 1e-5
        else:
            # The papers' form, which is exempt because it does jump.
            assert jump["energy"] > 1e-3
            assert jump["forces"] > 1e-3

    def test_the_neighbour_is_felt_within_the_cutoff(self, case):
        jump = self.jump(case, (0.75 * CUTOFF, CUTOFF + self.DELTA))
        assert jump["energy"] > 1e-3
        assert jump["forces"] > 1e-3


class TestBatches:
    def test_isolated_atoms(self, case):
        far_apart = bulk("Cu", "sc", a=CUTOFF + 1.0)
        free = Atoms("Cu", [[3.0, 2.0, 1.0]])
        found = evaluate(case.model, [STRUCTURES["random"], far_apart, free])
        assert np.isfinite(found["energy"]).all()
        assert found["energy"][1] == pytest.approx(found["energy"][2], rel=1e-12)
        assert_close(found["forces"][-2:], 0.0, atol=0)
        assert_close(found["stress"][1], 0.0, atol=0)
        alone = evaluate(case.model, [free])
        assert alone["energy"][0] == pytest.approx(found["energy"][2], rel=1e-12)
        assert_close(alone["forces"], 0.0, atol=0)

    def test_batch_equals_singles(self, case):
        together = evaluate(case.model, list(STRUCTURES.values()))
        singles = [evaluate(case.model, [atoms]) for atoms in STRUCTURES.values()]
        expected = {name: np.concatenate([part[name] for part in singles]) for name in together}
        assert_same_physics(together, expected, rtol=1e-11, atol=1e-12)

    def test_order_of_crystals(self, case):
        together = evaluate(case.model, list(STRUCTURES.values()))
        backwards = evaluate(case.model, list(STRUCTURES.values())[::-1])
        assert_close(backwards["energy"], together["energy"][::-1])
        assert_close(backwards["stress"], together["stress"][::-1])

    def test_float32_agrees_with_float64(self, case):
        structures = list(STRUCTURES.values())
        double = evaluate(case.model, structures)
        single = evaluate(copy.deepcopy(case.model).float(), structures, dtype=torch.float32)
        # The energy may be a total, which is put together in float64.
        assert single["forces"].dtype == single["stress"].dtype == np.float32
        for name, values in double.items():
            size = np.nanmax(np.abs(values))
            assert_close(single[name], values, rtol=1e-4, atol=1e-4 * size)


@pytest.mark.parametrize("name", BACKBONES)
def test_there_are_layer_features_for_each_layer_pattern(name):
    module = make_model(BACKBONES[name], DERIVATIVE_OBJECTIVES["force_field"]).backbone
    batch = (
        StructureToGraph(CUTOFF)
        .transform([STRUCTURES["random"]])
        .batch(dtype=torch.float64)
        .to(DEVICE)
    )
    features = list(module.layer_features(batch))
    assert len(features) == len(module.layer_patterns()) == module.n_layers + 1
    for layer in features:
        assert layer.scalars.shape == (len(batch.atomic_numbers), module.out_channels)
    assert all(not torch.equal(a.scalars, b.scalars) for a, b in pairwise(features))
