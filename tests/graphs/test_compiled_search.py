"""The kernel that searches neighbours, beside pymatgen's search."""

import numpy as np
import pytest

from gnnpre import _compiler, _kernel_cache
from gnnpre._compiler import CompilerError
from gnnpre.exceptions import PerformanceWarning
from gnnpre.graphs import Crystals, GraphSettings, StructureToGraph
from gnnpre.graphs import _compiled_search as compiled
from gnnpre.graphs._neighbors import find_edges

SETTINGS = GraphSettings(cutoff=4.0)


def random_crystals(seed, n=30, *, spread=1.0, pbc=None):
    """Return crystals of 1 to 12 atoms in cells of any shape; ``spread`` in cells."""
    rng = np.random.default_rng(seed)
    n_atoms = rng.integers(1, 13, n)
    cell = rng.uniform(2.5, 7.0, (n, 3, 1)) * (np.eye(3) + rng.uniform(-0.35, 0.35, (n, 3, 3)))
    fractions = spread * rng.uniform(-0.5, 1.5, (n_atoms.sum(), 3))
    return Crystals(
        atomic_numbers=rng.integers(1, 80, n_atoms.sum()),
        positions=np.einsum("ni,nij->nj", fractions, np.repeat(cell, n_atoms, axis=0)),
        cell=cell,
        pbc=True if pbc is None else pbc,
        n_atoms=n_atoms,
    )


@pytest.fixture
def without_kernel(monkeypatch):
    """Return a function that finds edges by pymatgen's search."""

    def find(crystals, settings=SETTINGS):
        with monkeypatch.context() as patch:
            patch.setattr("gnnpre.graphs._neighbors.find_search", lambda: None)
            return find_edges(crystals, settings)

    return find


def sorted_edges(edges):
    """Return crystal, target, source and shift of all edges, in a fixed order."""
    crystal = np.repeat(np.arange(len(edges.n_edges)), edges.n_edges)
    rows = np.column_stack([crystal, edges.index[::-1].T, edges.shift]).astype(np.int64)
    assert (np.diff(100_000 * rows[:, 0] + rows[:, 1]) >= 0).all()  # sorted by target
    return rows[np.lexsort(rows.T[::-1])]


def assert_same_edges(edges, expected):
    np.testing.assert_array_equal(edges.n_edges, expected.n_edges)
    np.testing.assert_array_equal(sorted_edges(edges), sorted_edges(expected))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spread", [1.0, 6.0])
def test_same_edges_as_pymatgen(without_kernel, seed, spread):
    crystals = random_crystals(seed, spread=spread)
    edges = find_edges(crystals, SETTINGS)
    assert len(edges.shift) > 3_000
    assert_same_edges(edges, without_kernel(crystals))


@pytest.mark.parametrize("seed", range(4))
def test_same_edges_in_some_periodic_directions(without_kernel, seed):
    pbc = np.random.default_rng(seed).random((30, 3)) < 0.5
    crystals = random_crystals(seed, pbc=pbc)
    assert_same_edges(find_edges(crystals, SETTINGS), without_kernel(crystals))


def test_neighbours_at_the_cutoff_itself_are_edges(without_kernel):
    cells = [4.0 * np.eye(3), np.diag([4.0, 9.0, 9.0])]
    for origin in (0.0, 0.3, 1 / 3, 7.77):
        crystals = Crystals(
            atomic_numbers=[29, 29], positions=np.full((2, 3), origin), cell=cells, n_atoms=[1, 1]
        )
        edges = find_edges(crystals, SETTINGS)
        assert edges.n_edges.tolist() == [6, 2]
        assert_same_edges(edges, without_kernel(crystals))


def test_order_of_edges_does_not_depend_on_other_crystals():
    crystals = random_crystals(0)
    skewed = crystals._with(cell=crystals.cell.copy())
    skewed.cell[5] = [[3.0, 0, 0], [90.0, 3.0, 0], [0, 0, 3.0]]  # searched in another cell
    together = find_edges(skewed, SETTINGS)
    start = 0
    for row, count in enumerate(together.n_edges.tolist()):
        alone = find_edges(skewed[row : row + 1], SETTINGS)
        edges = slice(start, start + count)
        np.testing.assert_array_equal(together.index[:, edges], alone.index)
        np.testing.assert_array_equal(together.shift[edges], alone.shift)
        start += count


def left_rows(crystals):
    library = compiled.find_search()
    n_edges = compiled.search_compiled(library, crystals, 4.0, 10, np.zeros(len(crystals), bool))[2]
    return np.flatnonzero(n_edges == compiled.LEFT).tolist()


def test_what_the_kernel_leaves(without_kernel):
    # 1. more atoms than it takes: a chain of them
    n = 9000
    chain = Crystals(
        atomic_numbers=np.full(n, 6),
        positions=np.arange(n)[:, None] * [1.5, 0, 0],
        cell=np.diag([1.5 * n, 20.0, 20.0])[None],
        n_atoms=[n],
    )
    # 2. an atom that was entered twice
    twice = random_crystals(1, n=3)
    twice.positions[-1] = twice.positions[-2] if twice.n_atoms[-1] > 1 else twice.positions[-1]
    assert twice.n_atoms[-1] > 1
    joined = Crystals.concatenate([random_crystals(0, n=2), chain, twice])
    assert left_rows(joined) == [2, 5]
    assert_same_edges(find_edges(joined[:5], SETTINGS), without_kernel(joined[:5]))
    with pytest.raises(ValueError, match=r"Structure 105: atoms \d+ and \d+ .* same position"):
        find_edges(joined, SETTINGS, first=100)


def test_shifts_beyond_what_graphs_hold_are_left():
    atoms = Crystals(
        atomic_numbers=[1, 1],
        positions=[[0, 0, 0], [31.0, 0, 0]],
        cell=np.diag([1.0, 9.0, 9.0])[None],
        n_atoms=[2],
    )
    assert left_rows(atoms) == [0] or np.abs(find_edges(atoms, SETTINGS).shift).max() <= 127
    far = atoms._with(positions=np.array([[0.0, 0, 0], [131.0, 0, 0]]))
    assert left_rows(far) == [0]


@pytest.mark.parametrize(
    ("cell", "far"),
    [
        (np.zeros((3, 3)), 0.0),  # no cell at all
        (np.diag([1e-9, 9.0, 9.0]), 0.0),  # more images than an int holds
        (np.diag([9.0, 9.0, 9.0]), 1e300),  # cells away that no int counts
        (np.diag([9.0, 9.0, 9.0]), np.nan),
    ],
)
def test_cells_that_overflow_are_left(cell, far):
    crystal = random_crystals(0, n=1)
    positions = np.array([[0.0, 0.0, 0.0], [far, 1.0, 1.0]])
    arrays = {"cell": cell[None], "positions": positions, "n_atoms": np.array([2])}
    # As no check of crystals lets them through: the kernel itself bounds what it counts.
    crystal.__dict__.update(arrays, pbc=np.ones((1, 3), dtype=bool))
    search = compiled.search_compiled
    n_edges = search(compiled.find_search(), crystal, 4.0, 8, np.zeros(1, dtype=bool))[2]
    assert n_edges.tolist() == [compiled.LEFT]


def test_room_grows_until_it_suffices(without_kernel):
    # Density says nothing about the edges of a cluster in a wide cell.
    rng = np.random.default_rng(0)
    cluster = Crystals(
        atomic_numbers=np.full(200, 6),
        positions=rng.uniform(0, 3.0, (200, 3)),
        cell=1000.0 * np.eye(3)[None],
        n_atoms=[200],
    )
    edges = find_edges(cluster, SETTINGS)
    assert len(edges.shift) > 3_000
    assert_same_edges(edges, without_kernel(cluster))


@pytest.mark.parametrize("is_there", [True, False])
def test_without_a_kernel_pymatgen_searches(monkeypatch, is_there):
    def fail(*args):
        raise CompilerError("cc failed")

    crystals = random_crystals(2)
    expected = StructureToGraph(cutoff=4.0).transform(crystals)
    compiled.find_search.cache_clear()
    monkeypatch.setattr(compiled, "load_kernel", fail)
    monkeypatch.setattr(compiled, "has_compiler", lambda: is_there)
    try:
        if is_there:
            with pytest.warns(PerformanceWarning, match=r"No compiled search .* cc failed"):
                graphs = StructureToGraph(cutoff=4.0).transform(crystals)
        else:
            graphs = StructureToGraph(cutoff=4.0).transform(crystals)
    finally:
        compiled.find_search.cache_clear()
    np.testing.assert_array_equal(graphs.edge_counts, expected.edge_counts)


def test_another_version_of_the_kernel_is_an_error(monkeypatch):
    library = compiled.find_search()
    monkeypatch.setattr(compiled, "INTERFACE_VERSION", 0)
    with pytest.raises(CompilerError, match=r"neighbors\.c has interface 1; expected 0"):
        compiled._declare(library)
    with pytest.raises(CompilerError, match=r"neighbors\.c is incomplete: .*interface"):
        compiled._declare(compiled.ctypes.CDLL(None))


def test_source_compiles_without_warnings(monkeypatch, tmp_path):
    flags = ("-Wall", "-Wextra", "-Werror", "-pedantic")
    monkeypatch.setattr(_compiler, "FLAGS", (*_compiler.FLAGS, *flags))
    source = _kernel_cache.read_sources("gnnpre.graphs")
    assert set(source) == {"neighbors.c"}
    assert _compiler.compile_library(source, "neighbors.c", (), tmp_path)
