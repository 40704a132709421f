"""Cells and coordinates that make a search long: reduced, wrapped or refused, never a hang."""

import resource
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene
from pymatgen.core import Lattice, Structure

from gnnpre.graphs import Crystals, GraphSettings, StructureToGraph, stream_batches
from graphs.shared import brute_force, edge_rows

# A search in the tests here takes milliseconds; those that it replaces took minutes.
SECONDS = 5.0


def skewed(cell: np.ndarray, *factors: int) -> np.ndarray:
    """Add multiples of one vector to the next: another cell of the same lattice."""
    cell = np.array(cell, dtype=float)
    for axis, factor in enumerate(factors):
        cell[(axis + 1) % 3] += factor * cell[axis]
    return cell


@pytest.fixture(autouse=True)
def limits():
    """Fail where a search takes long; the memory that a search may take is limited too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    used = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**31, hard))
    start = time.process_time()
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert time.process_time() - start < SECONDS


def distances(graphs) -> np.ndarray:
    return np.sort(graphs.batch().distances.numpy())


@pytest.mark.parametrize(
    "factors", [(5,), (100,), (-1000,), (0, 300), (7, -40, 3), (10**5,)], ids=str
)
@pytest.mark.parametrize("pbc", [True, [True, True, False]], ids=["bulk", "slab"])
def test_a_skewed_cell_is_the_same_crystal(factors, pbc):
    rng = np.random.default_rng(0)
    cell = bulk("Cu", cubic=True).cell.array
    positions = rng.uniform(0, 3.6, (2, 3)) + np.array([[0.0], [1.5]])
    if pbc is not True:
        factors = factors[:1]
    plain = Atoms("CuAu", positions, cell=cell, pbc=pbc)
    hard = Atoms("CuAu", positions, cell=skewed(cell, *factors), pbc=pbc)
    expected, graphs = (
        StructureToGraph(5.0).transform([plain]),
        StructureToGraph(5.0).transform([hard]),
    )
    np.testing.assert_allclose(distances(graphs), distances(expected), atol=1e-4)
    np.testing.assert_allclose(np.linalg.det(graphs.cell[0]), np.linalg.det(cell), rtol=1e-6)
    np.testing.assert_array_equal(graphs.positions, positions)


@pytest.mark.parametrize("seed", range(20))
def test_edges_come_back_in_the_cell_as_it_was(seed):
    rng = np.random.default_rng(seed)
    cell = skewed(np.diag(rng.uniform(3, 5, 3)), *rng.integers(-12, 12, 2))
    positions = rng.uniform(-1, 1, (3, 3)) * 4 + rng.integers(-2, 3, (3, 3)) @ cell
    pbc = np.array([True, True, seed % 2 == 0])
    graphs = StructureToGraph(4.0).transform([Atoms("H3", positions, cell=cell, pbc=pbc)])
    np.testing.assert_array_equal(graphs.cell[0], cell)
    np.testing.assert_array_equal(edge_rows(graphs), brute_force(positions, cell, pbc, 4.0))


def test_only_the_crystal_that_needs_it_gets_another_cell():
    plain, hard = bulk("Cu"), bulk("Cu")
    hard.set_cell(skewed(hard.cell.array, 100))
    graphs = StructureToGraph(5.0).transform([*[plain] * 70, hard, plain])
    assert graphs.edge_counts.tolist() == [42] * 72
    changed = (graphs.cell.numpy() != plain.cell.array).any(axis=(1, 2))
    assert np.flatnonzero(changed).tolist() in ([], [70])
    assert np.abs(graphs.cell[70]).max() < 10


def test_a_crystal_that_moved_far_away_is_the_same_crystal(salt):
    expected = StructureToGraph(4.0).transform([salt])
    for cells in (10, 10**3, 10**6):
        moved = Atoms(
            salt.atomic_numbers, salt.cart_coords + cells * 5.64, cell=salt.lattice.matrix, pbc=True
        )
        graphs = StructureToGraph(4.0).transform([moved])
        np.testing.assert_array_equal(edge_rows(graphs), edge_rows(expected))


@pytest.mark.parametrize("far", [2e7, 1e10, 1e12, 1e300])
@pytest.mark.parametrize("pbc", [True, False])
def test_coordinates_without_digits_are_refused(far, pbc):
    atoms = Atoms("Cu", positions=[[far, 0, 0]], cell=[4, 4, 4], pbc=pbc)
    with pytest.raises(ValueError, match=r"Structure 0: atom 0 has coordinates .*beyond 1e\+07"):
        StructureToGraph(3.0).transform([atoms])


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ([[5, 0, 0], [0, 5, 0], [5, 5, 0.006]], r"repeats every 0.006 Å"),
        ([[50, 0, 0], [0, 50, 0], [50, 50, 0.001]], r"repeats every 0.001 Å"),
        ([[5, 0, 0], [0, 5, 0], [5, 5, 1e-12]], "its cell is singular"),
        ([[5, 0, 0], [0, 5, 0], [0, 0, 1e-9]], "repeats every 1e-09 Å|denser"),
        ([[0.02, 0, 0], [0, 60, 0], [0, 0, 60]], "cutoff of 4 Å edges cross more than 127 cells"),
        ([[1e9, 0, 0], [0, 1e9, 0], [0, 0, 1e9]], r"with vectors beyond 1e\+07 Å"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_absurd_cells_are_refused_at_once(cell, message):
    with pytest.raises(ValueError, match=f"Structure 1.*{message}"):
        StructureToGraph(4.0).transform([bulk("Cu"), Atoms("Cu", cell=cell, pbc=True)])


def test_a_very_large_cell_has_few_images():
    graphs = StructureToGraph(6.0).transform([Atoms("Cu", cell=[9e6] * 3, pbc=True)])
    assert graphs.edge_counts.tolist() == [0]


@pytest.mark.parametrize("cutoff", [5.0, 1.0, 0.1, 0.01])
@pytest.mark.parametrize("pbc", [False, True])
def test_short_cutoffs_on_wide_structures(cutoff, pbc):
    positions = np.array([[0, 0, 0], [440, 440, 440], [440, 440, 440.5], [0, 200, 0.0]])
    atoms = Atoms("Cu4", positions, cell=[460] * 3, pbc=pbc)
    graphs = StructureToGraph(cutoff).transform([atoms])
    assert graphs.edge_counts.tolist() == [2 if cutoff >= 0.5 else 0]


def test_a_wide_search_is_cut_at_the_cutoff():
    rng = np.random.default_rng(0)
    positions = np.concatenate([rng.uniform(0, 4, (20, 3)), [[400.0, 300.0, 200.0]]])
    atoms = Atoms("H21", positions)
    graphs = StructureToGraph(1.5).transform([atoms])
    expected = brute_force(positions, np.zeros((3, 3)), np.zeros(3, dtype=bool), 1.5)
    np.testing.assert_array_equal(edge_rows(graphs), expected)
    nearest = StructureToGraph(1.5, max_neighbors=2, neighbor_cut="exact").transform([atoms])
    assert nearest.batch().distances.max() <= 1.5


def test_more_edges_than_memory_holds_are_refused():
    positions = np.random.default_rng(0).uniform(0, 60, (20_000, 3))
    atoms = Atoms("H20000", positions, cell=[60] * 3, pbc=True)
    with pytest.raises(ValueError, match=r"Structure 0: it has about .* edges at a cutoff of 60 Å"):
        StructureToGraph(60.0).transform([atoms])


def test_more_images_than_time_allows_are_refused(monkeypatch):
    monkeypatch.setattr("gnnpre.graphs._search_work.MOST_IMAGES", 100)
    with pytest.raises(ValueError, match=r"images of its atoms lie around the cell .* 6 Å"):
        StructureToGraph(6.0).transform([bulk("Cu")])


def test_errors_count_crystals_through_all_pieces():
    bad = Atoms("Cu", cell=[[50, 0, 0], [0, 50, 0], [50, 50, 0.001]], pbc=True)
    with pytest.raises(ValueError, match="Structure 130: its lattice repeats"):
        StructureToGraph(4.0).transform([*[bulk("Cu")] * 130, bad])
    crystals = Crystals.from_structures([bulk("Cu"), bad], ids=["mp-30", "mp-0"])
    with pytest.raises(ValueError, match=r"Structure 1 \(id mp-0\): its lattice repeats"):
        StructureToGraph(4.0).transform(crystals)


@pytest.mark.parametrize("cutoff", [1000.0, np.nan, -1.0])
def test_streams_bound_the_cutoff_as_the_transformer_does(cutoff):
    import torch

    with pytest.raises(ValueError, match="cutoff="):
        list(stream_batches([bulk("Cu")], lambda numbers: cutoff, 10, torch.float32))
    with pytest.raises(ValueError, match="cutoff="):
        GraphSettings(cutoff=cutoff).check()


def test_a_molecule_in_a_huge_vacuum_and_a_layer(salt):
    layer = graphene(vacuum=5000.0)
    wire = Structure(
        Lattice(np.diag([2.5, 9e5, 9e5]), pbc=(True, False, False)), ["C"], [[0, 0, 0]]
    )
    graphs = StructureToGraph(4.0).transform([layer, wire, salt])
    assert (graphs.edge_counts > 0).all()
