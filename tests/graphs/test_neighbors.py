"""Neighbour lists against two oracles: a sum over images, and ASE's."""

import itertools

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.neighborlist import neighbor_list
from pymatgen.core import Lattice, Structure

from gnnpre.graphs import StructureToGraph
from graphs.shared import brute_force, edge_rows, image_range, sorted_rows

N_PAIRS = 1_500_000  # of atoms with images, a cell, in the brute force: what bounds the cutoff
N_CELLS = 200


def random_cell(rng: np.random.Generator) -> np.ndarray:
    """Angles of 30 to 150 degrees, any orientation, as often left-handed as right-handed."""
    while True:
        angles = np.cos(np.radians(rng.uniform(30, 150, 3)))
        gram = np.array(
            [[1, angles[2], angles[1]], [angles[2], 1, angles[0]], [angles[1], angles[0], 1]]
        )
        if np.linalg.det(gram) > 0.01:  # else the three angles close no cell, or hardly one
            break
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    lengths = rng.uniform(2.5, 9.0, 3) * rng.choice([-1, 1], 3)
    return lengths[:, None] * np.linalg.cholesky(gram) @ rotation


def random_positions(rng: np.random.Generator, cell: np.ndarray, n_atoms: int) -> np.ndarray:
    """Anywhere, for half of the crystals up to two cells outside of their cell."""
    spread = rng.choice([1.0, 4.0])
    return rng.uniform(-spread / 2, 1 + spread / 2, (n_atoms, 3)) @ cell


def random_cutoff(
    rng: np.random.Generator, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
) -> float:
    cutoff = rng.uniform(2.0, 9.0)
    while cutoff > 0.5:
        n_images = np.prod([2 * n + 1 for n in image_range(positions, cell, pbc, cutoff)])
        if n_images * len(positions) ** 2 <= N_PAIRS:
            break
        cutoff *= 0.9
    return cutoff


def random_crystal(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    rng = np.random.default_rng(seed)
    cell = random_cell(rng)
    pbc = np.array(list(itertools.product([False, True], repeat=3))[seed % 8])
    n_atoms = int(rng.integers(1, 61)) if seed % 3 else int(rng.integers(1, 5))
    positions = random_positions(rng, cell, n_atoms)
    if seed % 5 == 0:
        cell = cell * pbc[:, None]  # as ASE has it: zero vectors where nothing is periodic
    return positions, cell, pbc, random_cutoff(rng, positions, cell, pbc)


@pytest.mark.parametrize("first", range(0, N_CELLS, 25))
def test_ase_atoms_give_what_a_sum_over_images_gives(first):
    for seed in range(first, first + 25):
        positions, cell, pbc, cutoff = random_crystal(seed)
        atoms = Atoms("H" * len(positions), positions, cell=cell, pbc=pbc)
        graphs = StructureToGraph(cutoff=cutoff).transform([atoms])
        expected = brute_force(positions, cell, pbc, cutoff)
        np.testing.assert_array_equal(edge_rows(graphs), expected, err_msg=f"seed {seed}")


@pytest.mark.parametrize("first", range(0, N_CELLS, 50))
def test_pymatgen_structures_give_what_a_sum_over_images_gives(first):
    for seed in range(first, first + 50):
        positions, cell, pbc, cutoff = random_crystal(seed)
        if not cell.any(axis=1).all():
            continue  # a pymatgen lattice has three vectors, always
        structure = Structure(
            Lattice(cell, pbc=tuple(pbc.tolist())),
            ["H"] * len(positions),
            positions,
            coords_are_cartesian=True,
        )
        graphs = StructureToGraph(cutoff=cutoff).transform([structure])
        expected = brute_force(positions, cell, pbc, cutoff)
        np.testing.assert_array_equal(edge_rows(graphs), expected, err_msg=f"seed {seed}")


def test_the_random_cells_cover_what_they_should():
    crystals = [random_crystal(seed) for seed in range(N_CELLS)]
    sizes = [len(positions) for positions, *_ in crystals]
    determinants = [np.linalg.det(cell) for _, cell, *_ in crystals]
    n_edges = [len(brute_force(*crystal)) for crystal in crystals]
    assert min(sizes) == 1
    assert max(sizes) >= 59
    assert sum(d < -1 for d in determinants) > 40, "left-handed"
    assert sum(d > 1 for d in determinants) > 40, "right-handed"
    assert sum(abs(d) < 1e-9 for d in determinants) > 20, "with zero vectors"
    assert len({tuple(pbc.tolist()) for _, _, pbc, _ in crystals}) == 8
    assert np.median(n_edges) > 100


def ase_rows(atoms: Atoms, cutoff: float) -> np.ndarray:
    target, source, shift = neighbor_list("ijS", atoms, cutoff)
    return sorted_rows(np.column_stack([target, source, shift]))


@pytest.mark.parametrize("cutoff", [3.0, 6.0])
@pytest.mark.parametrize(
    "atoms",
    [
        bulk("Si").repeat((1, 2, 1)),
        bulk("Ti"),
        bulk("NaCl", "rocksalt", a=5.6, cubic=True),
        fcc111("Pt", (2, 1, 4), vacuum=8.0),
        molecule("C6H6"),
    ],
    ids=lambda atoms: atoms.get_chemical_formula() if isinstance(atoms, Atoms) else None,
)
def test_same_edges_as_ase(atoms, cutoff):
    atoms.rattle(0.02, seed=1)  # no distance equal to the cutoff
    graphs = StructureToGraph(cutoff=cutoff).transform([atoms])
    np.testing.assert_array_equal(edge_rows(graphs), ase_rows(atoms, cutoff))


@pytest.mark.parametrize("name", ["alexandria-random-1k", "mptrj-random-1k"])
def test_same_edges_as_ase_on_real_crystals(data_dir, name):
    frames = ase.io.read(data_dir / "upstream" / f"{name}.extxyz.gz", index=":150:15")
    for atoms in frames:
        graphs = StructureToGraph(cutoff=5.0123).transform([atoms])
        np.testing.assert_array_equal(edge_rows(graphs), ase_rows(atoms, 5.0123))


def random_frames(n: int) -> list[Atoms]:
    crystals = [random_crystal(seed) for seed in range(n)]
    return [Atoms("H" * len(x), x, cell=cell, pbc=pbc) for x, cell, pbc, _ in crystals]


def test_edge_vector_is_source_plus_shift_minus_target():
    graphs = StructureToGraph(cutoff=2.5).transform(random_frames(40))
    for index in range(len(graphs)):
        data = graphs[index]
        source, target = data.edge_index
        vectors = data.pos[source] + data.edge_shift.double() @ data.cell[0] - data.pos[target]
        assert (vectors.norm(dim=1) <= 2.5 + 1e-8).all()
        batched = graphs.batch([index], dtype=torch.float64).edge_vectors
        torch.testing.assert_close(batched, vectors, rtol=0, atol=1e-10)


def test_edges_are_sorted_by_target():
    frames = random_frames(40)
    for transformer in (StructureToGraph(2.5), StructureToGraph(2.5, max_neighbors=3)):
        graphs = transformer.transform(frames)
        assert all((graphs[i].edge_index[1].diff() >= 0).all() for i in range(len(graphs)))


def test_every_edge_has_its_reverse():
    for atoms in random_frames(20):
        rows = edge_rows(StructureToGraph(cutoff=2.5).transform([atoms]))
        reverse = sorted_rows(np.column_stack([rows[:, 1], rows[:, 0], -rows[:, 2:]]))
        np.testing.assert_array_equal(rows, reverse)


def test_direction_of_messages_is_torch_geometrics():
    from torch_geometric.nn import MessagePassing

    class Sum(MessagePassing):
        def forward(self, x, edge_index):
            return self.propagate(edge_index, x=x)

    # Truncated, so that the neighbourhoods are not symmetric and the direction shows.
    graphs = StructureToGraph(cutoff=4.0, max_neighbors=2, neighbor_cut="exact").transform(
        random_frames(16)[8:]
    )
    batch = graphs.batch()
    values = torch.randn(len(batch.atomic_numbers), 3, generator=torch.Generator().manual_seed(0))
    summed = torch.zeros_like(values).index_add(0, batch.target, values[batch.source])
    expected = Sum(aggr="sum")(values, batch.edge_index)
    torch.testing.assert_close(summed, expected)
    swapped = torch.zeros_like(values).index_add(0, batch.source, values[batch.target])
    assert not torch.allclose(swapped, expected)


def test_an_atom_is_its_own_neighbour_through_its_images_only():
    graphs = StructureToGraph(cutoff=3.05).transform(
        [Structure(Lattice.orthorhombic(3.0, 4.0, 5.0), ["Po"], [[0.2, 0.3, 0.4]])]
    )
    np.testing.assert_array_equal(edge_rows(graphs), [[0, 0, -1, 0, 0], [0, 0, 1, 0, 0]])


@pytest.mark.parametrize(("cutoff", "expected"), [(2.9999, 0), (3.0, 6), (3.0001, 6)])
def test_a_distance_equal_to_the_cutoff_is_within_it(cutoff, expected):
    polonium = Structure(Lattice.cubic(3.0), ["Po"], [[0.1, 0.2, 0.3]])
    assert StructureToGraph(cutoff=cutoff).transform([polonium]).edge_counts == [expected]


def test_moving_an_atom_by_a_lattice_vector_changes_shifts_not_edge_vectors():
    positions, cell, _, _ = random_crystal(7)
    inside = Atoms("H" * len(positions), positions, cell=cell, pbc=True)
    outside = inside.copy()
    outside.positions[0] += [3, -2, 1] @ cell
    vectors = [
        StructureToGraph(cutoff=2.5).transform([atoms]).batch(dtype=torch.float64).edge_vectors
        for atoms in (inside, outside)
    ]
    rows = [v.numpy()[np.lexsort(v.numpy().round(6).T)] for v in vectors]
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-9)
