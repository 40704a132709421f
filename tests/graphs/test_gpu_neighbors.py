"""The search by nvalchemi-toolkit-ops, on a CPU, beside pymatgen's; tests/test_gpu.py has a GPU."""

import itertools

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from pymatgen.core import Lattice, Structure

from gnnpre.graphs import GraphSettings, StructureToGraph, _gpu_neighbors, _neighbors, as_crystals
from gnnpre.graphs._cpu_neighbors import search_on_cpu
from gnnpre.graphs._gpu_neighbors import search_on_device
from gnnpre.graphs._search import NeighborPairs
from gnnpre.graphs._search_frame import prepare_search

pytest.importorskip("nvalchemiops")

CPU = torch.device("cpu")
FIELDS = ("index", "shift", "distance", "n_pairs")


def sorted_rows(pairs: NeighborPairs) -> tuple[np.ndarray, np.ndarray]:
    """Crystal, target, source and shift of each pair, sorted, (E, 6), and distances."""
    crystal = np.repeat(np.arange(len(pairs.n_pairs)), pairs.n_pairs)
    rows = np.column_stack([crystal, pairs.index[1], pairs.index[0], pairs.shift])
    order = np.lexsort(rows.T[::-1])
    return rows[order], pairs.distance[order]


def assert_same_pairs(pairs: NeighborPairs, expected: NeighborPairs) -> None:
    (rows, distance), (expected_rows, expected_distance) = map(sorted_rows, (pairs, expected))
    np.testing.assert_array_equal(pairs.n_pairs, expected.n_pairs)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(distance, expected_distance, rtol=0, atol=1e-9)
    for name in FIELDS:
        assert getattr(pairs, name).dtype == getattr(expected, name).dtype, name


def check(structures: list, cutoff: float) -> NeighborPairs:
    settings = GraphSettings(cutoff=cutoff)
    crystals = prepare_search(as_crystals(structures), settings).crystals
    pairs = search_on_device(crystals, settings, CPU)
    assert_same_pairs(pairs, search_on_cpu(crystals, settings))
    return pairs


def outside(atoms: Atoms, shifts: list) -> Atoms:
    """Move atoms by whole cells, the first by the first shift, and so on."""
    moved = atoms.copy()
    moved.positions[: len(shifts)] += np.array(shifts) @ atoms.cell.array
    return moved


def skewed() -> Atoms:
    cell = [[3.0, 0.0, 0.0], [2.6, 1.2, 0.0], [-2.0, 1.5, 4.0]]
    atoms = Atoms("H3", cell=cell, pbc=True)
    atoms.set_scaled_positions([[0.1, 0.2, 0.3], [0.5, 0.9, 0.6], [0.7, 0.4, 0.95]])
    return atoms


MADE_UP = {
    "one atom": Atoms("He"),
    "one atom in a cell": bulk("Cu"),
    "molecule": molecule("C6H6"),
    "molecule far from the origin": Atoms("N2", [[90.0, -70.0, 5.0], [91.1, -70.0, 5.0]]),
    "molecule in a cell": Atoms("N2", [[9, -7, 5], [10.1, -7, 5]], cell=np.eye(3) * 4),
    "slab": fcc111("Pt", (2, 1, 4), vacuum=8.0),
    "slab with a skewed third vector": Atoms(
        "C2",
        [[0, 0, 9], [1.4, 0, -2]],
        cell=[[2.4, 0, 0], [-1.2, 2.1, 0], [5, 5, 1]],
        pbc=[1, 1, 0],
    ),
    "chain": Atoms("C2", [[0, 0, 0], [1.2, 3.0, 0]], cell=[2.5, 0, 0], pbc=[True, False, False]),
    "tiny cell": Atoms("H", [[0.3, 0.2, 0.1]], cell=[0.9, 1.0, 1.1], pbc=True),
    "thin cell": Atoms("He2", [[0, 0, 0], [0.5, 0, 10]], cell=[1.0, 1.2, 30.0], pbc=True),
    "skewed": skewed(),
    "left-handed": Atoms("Li", cell=-bulk("Li").cell.array, pbc=True),
    "outside of the cell": outside(skewed(), [[7, -3, 2], [0, 0, 0], [-1, -1, 40]]),
    "slab outside of the cell": outside(fcc111("Al", (1, 1, 3), vacuum=6.0), [[3, -2, 0]]),
    "on the border": Atoms("H3", [[3, 0, 0], [0, 4, 2.5], [1.5, -1e-17, 5]], cell=[3, 4, 5], pbc=1),
    "far apart": Atoms("He2", [[0, 0, 0], [20, 20, 20]], cell=[40, 40, 40], pbc=True),
}


@pytest.mark.parametrize("cutoff", [0.3, 3.0, 5.1, 9.0])
@pytest.mark.parametrize("name", MADE_UP)
def test_made_up_crystals(name, cutoff):
    check([MADE_UP[name]], cutoff)


@pytest.mark.parametrize("cutoff", [3.0, 5.1])
def test_made_up_crystals_together(cutoff):
    pairs = check(list(MADE_UP.values()), cutoff)
    assert pairs.n_pairs[0] == 0
    assert pairs.n_pairs.max() > 50


def random_crystal(seed: int) -> Atoms:
    rng = np.random.default_rng(seed)
    while True:
        cell = rng.normal(size=(3, 3)) * 4
        lengths = np.linalg.norm(cell, axis=1)
        if abs(np.linalg.det(cell)) > max(0.1 * lengths.prod(), 20):
            break
    n_atoms = int(rng.integers(1, 30))
    pbc = list(itertools.product([False, True], repeat=3))[seed % 8]
    return Atoms("H" * n_atoms, rng.uniform(-2, 3, (n_atoms, 3)) @ cell, cell=cell, pbc=pbc)


def test_random_crystals_of_every_periodicity():
    crystals = [random_crystal(seed) for seed in range(80)]
    for cutoff in (2.1, 4.3, 6.2):
        check(crystals, cutoff)


@pytest.mark.parametrize("name", ["alexandria-random-1k", "mptrj-random-1k", "mpf-TP"])
def test_real_crystals(data_dir, name):
    frames = ase.io.read(data_dir / "upstream" / f"{name}.extxyz.gz", index=":300:3")
    pairs = check(frames, 5.0)
    assert pairs.n_pairs.sum() > 10_000


@pytest.mark.parametrize("name", ["jdft2d", "adsorption"])
def test_real_layers_and_slabs(data_dir, name):
    from gnnpre.datasets import read_matbench

    structures, _ = read_matbench(data_dir / "downstream" / f"{name}.json.gz")
    check(list(structures)[:60:2], 5.0)


# What is searched together


@pytest.fixture
def crystals():
    crystals = as_crystals([random_crystal(seed) for seed in range(24)])
    return prepare_search(crystals, GraphSettings(cutoff=6.0)).crystals


@pytest.mark.parametrize("n_slots", [1, 40])
def test_no_pair_is_lost_where_the_places_are_too_few(crystals, n_slots, monkeypatch):
    settings = GraphSettings(cutoff=6.0)
    expected = search_on_cpu(crystals, settings)
    searched = []

    def record(piece, width, *rest):
        searched.append(width)
        return find_pairs(piece, width, *rest)

    find_pairs = _gpu_neighbors._find_pairs
    monkeypatch.setattr(_gpu_neighbors, "_find_pairs", record)
    monkeypatch.setattr(
        _gpu_neighbors, "_estimate_neighbors", lambda crystals, _: np.full(len(crystals), n_slots)
    )
    assert_same_pairs(search_on_device(crystals, settings, CPU), expected)
    assert searched[0] == n_slots
    assert searched[1] > n_slots


def test_parts_are_put_together_in_order(crystals, monkeypatch):
    settings = GraphSettings(cutoff=5.0)
    once = search_on_device(crystals, settings, CPU)
    for size in (1, 3000):
        monkeypatch.setattr(_gpu_neighbors, "MATRIX_SIZE", size)
        pieces = list(_gpu_neighbors._cut(crystals, np.full(len(crystals), 50)))
        assert 2 < len(pieces) <= len(crystals)
        again = search_on_device(crystals, settings, CPU)
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(again, name), getattr(once, name), err_msg=name)


def test_parts_are_within_the_size_of_the_matrix(crystals, monkeypatch):
    monkeypatch.setattr(_gpu_neighbors, "MATRIX_SIZE", 3000)
    slots = np.arange(len(crystals)) + 20
    pieces = list(_gpu_neighbors._cut(crystals, slots))
    assert sum(len(piece) for piece, _ in pieces) == len(crystals)
    start = 0
    for piece, n_slots in pieces:
        assert n_slots == slots[start : start + len(piece)].max()
        assert piece.n_atoms.sum() * n_slots <= 3000
        start += len(piece)


def test_pairs_are_sorted_by_target_source_and_shift(crystals):
    pairs = search_on_device(crystals, GraphSettings(cutoff=5.0), CPU)
    crystal = np.repeat(np.arange(len(crystals)), pairs.n_pairs)
    rows = np.column_stack([crystal, pairs.index[1], pairs.index[0], pairs.shift])
    np.testing.assert_array_equal(np.lexsort(rows.T[::-1]), np.arange(len(rows)))


def test_places_are_estimated_from_the_density():
    diamond, helium = bulk("C", cubic=True), Atoms("He", cell=[20, 20, 20], pbc=True)
    layer = Atoms("C2", [[0, 0, 0], [0, 1.42, 0]], cell=[2.46, 2.13, 30.0], pbc=True)
    settings = GraphSettings(cutoff=6.0)
    structures = [diamond, helium, molecule("H2O"), layer]
    crystals = prepare_search(as_crystals(structures), settings).crystals
    slots = _gpu_neighbors._estimate_neighbors(crystals, 6.0)
    pairs = search_on_cpu(crystals, settings).n_pairs / crystals.n_atoms
    assert (slots >= pairs).all()
    assert (slots <= 3 * pairs + 60).all()


# What comes after the search


@pytest.fixture
def nvalchemi(monkeypatch):
    """Search by nvalchemi-toolkit-ops in the transformer, on the CPU."""
    monkeypatch.setattr(
        _neighbors, "search_on_cpu", lambda crystals, s: search_on_device(crystals, s, CPU)
    )


def edge_rows(graphs) -> np.ndarray:
    crystal = np.repeat(np.arange(len(graphs)), graphs.edge_counts)
    rows = np.column_stack([crystal, graphs.edge_index.T[:, [1, 0]], graphs.edge_shift])
    return rows[np.lexsort(rows.T[::-1])]


PARAMETERS = {
    "all": {},
    "shell": {"max_neighbors": 7},
    "exact": {"max_neighbors": 7, "neighbor_cut": "exact"},
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_same_graphs(name, request):
    rattled = [bulk("Cu").repeat((2, 1, 1)), bulk("Si"), fcc111("Al", (2, 2, 3), vacuum=6.0)]
    for atoms in rattled:
        atoms.rattle(0.1, seed=1)
    crystals = [*rattled, molecule("H2O"), Atoms("He")]
    transformer = StructureToGraph(5.0, **PARAMETERS[name])
    expected = transformer.transform(crystals)
    request.getfixturevalue("nvalchemi")
    graphs = transformer.transform(crystals)
    np.testing.assert_array_equal(graphs.edge_counts, expected.edge_counts)
    if name != "exact":  # which cuts between two images of one atom, equally far
        np.testing.assert_array_equal(edge_rows(graphs), edge_rows(expected))
    lengths = [g.batch(dtype=torch.float64).distances for g in (graphs, expected)]
    for one, other in zip(*[length.sort().values for length in lengths], strict=True):
        assert abs(one - other) < 1e-9
    assert graphs.edge_shift.dtype == torch.int8


def test_shells_stay_whole_and_exact_cuts_are_exact(silicon, nvalchemi):
    for cut, n_neighbors in (("shell", 16), ("exact", 5)):
        graphs = StructureToGraph(6.0, max_neighbors=5, neighbor_cut=cut).transform([silicon])
        assert torch.bincount(graphs[0].edge_index[1]).tolist() == [n_neighbors] * 8


@pytest.mark.parametrize(("cutoff", "expected"), [(2.9999, 0), (3.0, 6), (3.0001, 6)])
def test_a_distance_equal_to_the_cutoff_is_within_it(cutoff, expected, nvalchemi):
    polonium = Structure(Lattice.cubic(3.0), ["Po"], [[0.1, 0.2, 0.3]])
    assert StructureToGraph(cutoff=cutoff).transform([polonium]).edge_counts == [expected]


@pytest.mark.parametrize("apart", [0.0, 1e-9, 0.005])
def test_two_atoms_on_one_place_are_refused(salt, apart, nvalchemi):
    twice = salt.copy()
    twice.append("Na", salt[2].coords + np.array([apart, 0, 0]), coords_are_cartesian=True)
    with pytest.raises(ValueError, match=r"Structure 1: atoms 2 and 8 .*at the same position"):
        StructureToGraph(cutoff=3.0).transform([salt, twice])


def test_too_many_cells_are_refused(salt, nvalchemi):
    far = outside(bulk("Cu"), [[200, 0, 0]])
    far += Atoms("Cu", [[1.0, 1.0, 0.5]])
    with pytest.raises(ValueError, match="Structure 1: an edge crosses 199 cells"):
        StructureToGraph(cutoff=3.0).transform([salt, far])
