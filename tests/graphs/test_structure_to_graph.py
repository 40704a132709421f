"""The transformer: every container it takes, its parameters, and scikit-learn's contract."""

import copy
import gc
import warnings

import ase.io
import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from pymatgen.core import IStructure, Lattice, Structure

from gnnpre.graphs import CrystalGraphs, StructureToGraph

# Containers


def column_of(structures: list) -> np.ndarray:
    array = np.empty(len(structures), dtype=object)
    array[:] = structures
    return array


CONTAINERS = {
    "tuple": tuple,
    "Series": pd.Series,
    "Series with an index of its own": lambda s: pd.Series(s, index=[f"mp-{i}" for i in range(8)]),
    "array (n,)": column_of,
    "array (n, 1)": lambda s: column_of(s)[:, None],
    "DataFrame (n, 1)": lambda s: pd.DataFrame({"structure": column_of(s)}),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers(structures, graphs, name, assert_same_graphs):
    X = CONTAINERS[name](structures)
    assert_same_graphs(StructureToGraph(cutoff=4.0).fit_transform(X), graphs)


@pytest.mark.parametrize("name", ["tuple", "array (n,)", "array (n, 1)"])
def test_equal_sized_structures_stay_structures(salt, silicon, name):
    X = CONTAINERS[name]([salt, silicon, salt])
    graphs = StructureToGraph(cutoff=3.0).transform(X)
    assert graphs.shape == (3,)
    assert graphs.n_atoms.tolist() == [8, 8, 8]
    assert graphs.edge_counts.tolist() == [48, 32, 48]


def test_the_order_is_that_of_the_input(structures, graphs, assert_same_graphs):
    assert_same_graphs(StructureToGraph(cutoff=4.0).transform(structures[::-1]), graphs[::-1])


def test_one_by_one_is_the_same_as_together(structures, graphs, assert_same_graphs):
    transformer = StructureToGraph(cutoff=4.0)
    assert_same_graphs(
        CrystalGraphs.concatenate([transformer.transform([s]) for s in structures]), graphs
    )


# What structures may be


def test_numbers_positions_and_cells_are_those_of_the_structures(structures, graphs):
    for structure, data in zip(structures, graphs, strict=True):
        is_pymatgen = isinstance(structure, Structure)
        positions = structure.cart_coords if is_pymatgen else structure.positions
        numbers = structure.atomic_numbers if is_pymatgen else structure.numbers
        cell = structure.lattice.matrix if is_pymatgen else structure.cell.array
        np.testing.assert_allclose(data.pos.numpy(), positions, atol=1e-12)
        np.testing.assert_array_equal(data.z.numpy(), numbers)
        np.testing.assert_array_equal(data.cell[0].numpy(), cell)
        np.testing.assert_array_equal(data.pbc[0].numpy(), structure.pbc)


def test_oxidation_states_are_accepted(salt, assert_same_graphs):
    charged = salt.copy()
    charged.add_oxidation_state_by_element({"Na": 1, "Cl": -1})
    transformer = StructureToGraph(cutoff=4.0)
    assert_same_graphs(transformer.transform([charged]), transformer.transform([salt]))


def test_immutable_structures_and_site_properties_are_accepted(salt, assert_same_graphs):
    transformer = StructureToGraph(cutoff=4.0)
    magnetic = salt.copy(site_properties={"magmom": [1.0] * 8})
    frozen = IStructure.from_sites(salt.sites)
    for structure in (magnetic, frozen):
        assert_same_graphs(transformer.transform([structure]), transformer.transform([salt]))


def test_pymatgen_and_ase_give_the_same_graph(salt, silicon):
    for structure in (salt, silicon):
        atoms = Atoms(
            numbers=structure.atomic_numbers,
            positions=structure.cart_coords,
            cell=structure.lattice.matrix,
            pbc=True,
        )
        graphs, expected = StructureToGraph(cutoff=5.0).transform([structure, atoms])
        torch.testing.assert_close(graphs.edge_index, expected.edge_index)
        torch.testing.assert_close(graphs.edge_shift, expected.edge_shift)


def test_a_molecule_has_no_shifts(graphs):
    water = graphs[3]
    assert water.edge_index.shape == (2, 6)
    assert not water.edge_shift.any()
    assert not water.pbc.any()


def test_a_slab_has_neighbours_within_its_plane_only(graphs):
    slab = graphs[4]
    assert slab.edge_shift[:, :2].any()
    assert not slab.edge_shift[:, 2].any()


def test_an_isolated_atom_has_no_edge(graphs):
    assert graphs.edge_counts[6] == 0
    batch = graphs.batch([6])
    assert batch.edge_vectors.shape == (0, 3)
    assert batch.atomic_numbers.tolist() == [2]


def test_crystals_without_any_edge_at_all():
    helium = Structure(Lattice.cubic(20.0), ["He"], [[0, 0, 0]])
    for transformer in (StructureToGraph(3.0), StructureToGraph(3.0, max_neighbors=2)):
        graphs = transformer.transform([helium, helium])
        assert graphs.edge_counts.tolist() == [0, 0]
        assert graphs.edge_index.shape == (2, 0)


def with_calculators(atoms: Atoms) -> list[Atoms]:
    stored, computing = atoms.copy(), atoms.copy()
    stored.calc = SinglePointCalculator(stored, energy=-1.0)
    computing.calc = EMT()
    return [stored, computing]


def test_structures_are_left_as_they_were(structures):
    structures[0].add_oxidation_state_by_element({"Na": 1, "Cl": -1})
    structures = copy.deepcopy(structures) + with_calculators(bulk("Cu"))
    before = [joblib.hash(structure) for structure in structures]
    StructureToGraph(cutoff=4.0, max_neighbors=3).fit(structures).transform(structures)
    StructureToGraph(cutoff=4.0).transform([s for s in structures if isinstance(s, Structure)])
    assert [joblib.hash(structure) for structure in structures] == before


def test_the_hash_above_would_tell(salt):
    before = joblib.hash(salt)
    salt.get_neighbor_list(3.0)
    assert joblib.hash(salt) != before, "pymatgen no longer caches: the test above tests nothing"


def test_the_graphs_share_no_memory_with_the_structures():
    copper = bulk("Cu")
    graphs = StructureToGraph(cutoff=4.0).transform([copper])
    graphs.positions.add_(1.0)
    graphs.cell.add_(1.0)
    assert copper.positions.tolist() == [[0, 0, 0]]
    assert copper.cell.array.tolist() == bulk("Cu").cell.array.tolist()


def test_nothing_is_warned_of_and_no_random_number_drawn(structures):
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        StructureToGraph().fit_transform(structures)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    torch.testing.assert_close(torch.get_rng_state(), torch_state)


# Symmetries


def test_permuted_atoms_give_permuted_edges(data_dir):
    for atoms in ase.io.read(data_dir / "upstream" / "mptrj-random-1k.extxyz.gz", index=":100:20"):
        order = np.random.default_rng(0).permutation(len(atoms))
        plain, permuted = StructureToGraph(cutoff=4.0).transform([atoms, atoms[order]])

        def rows(data, labels):
            edges = np.vstack([labels[data.edge_index], data.edge_shift.T])
            return edges[:, np.lexsort(edges)]

        identity = np.arange(len(atoms))
        np.testing.assert_array_equal(rows(permuted, order), rows(plain, identity))


def test_a_rotation_turns_edge_vectors_and_nothing_else(silicon):
    silicon.perturb(0.1)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    atoms = Atoms("Si8", silicon.cart_coords, cell=silicon.lattice.matrix, pbc=True)
    turned = Atoms("Si8", atoms.positions @ rotation, cell=atoms.cell.array @ rotation, pbc=True)
    graphs = StructureToGraph(cutoff=4.1).transform([atoms, turned])

    def sorted_edges(index):
        batch = graphs.batch([index], dtype=torch.float64)
        keys = np.column_stack([batch.edge_index.T, batch.edge_shift])
        order = np.lexsort(keys.T)
        return keys[order], batch.edge_vectors.numpy()[order]

    (keys, vectors), (turned_keys, turned_vectors) = sorted_edges(0), sorted_edges(1)
    np.testing.assert_array_equal(turned_keys, keys)
    np.testing.assert_allclose(turned_vectors, vectors @ rotation, atol=1e-10)


# max_neighbors

# Cumulative sizes of the shells of perfect crystals.
SHELLS = {"silicon": [4, 16, 28], "salt": [6, 18, 26], "iron": [8, 14, 26]}


SHELL_CASES = [
    (name, asked, next(size for size in sizes if size >= asked))
    for name, sizes in SHELLS.items()
    for asked in (1, sizes[0], sizes[0] + 1, sizes[1] - 1, sizes[1], sizes[1] + 1)
]


@pytest.mark.parametrize(("name", "asked", "n_neighbors"), SHELL_CASES)
def test_shells_of_perfect_crystals_stay_whole(request, name, asked, n_neighbors):
    crystal = request.getfixturevalue(name)
    graphs = StructureToGraph(cutoff=6.0, max_neighbors=asked).transform([crystal])
    batch = graphs.batch(dtype=torch.float64)
    assert torch.bincount(batch.target).tolist() == [n_neighbors] * len(crystal)
    total = torch.zeros(len(crystal), 3, dtype=torch.float64)
    total.index_add_(0, batch.target, batch.edge_vectors)
    torch.testing.assert_close(total, torch.zeros_like(total), atol=1e-9, rtol=0)


@pytest.mark.parametrize("asked", [1, 5, 12])
@pytest.mark.parametrize("name", SHELLS)
def test_the_exact_cut_keeps_exactly_so_many(request, name, asked):
    crystal = request.getfixturevalue(name)
    transformer = StructureToGraph(cutoff=6.0, max_neighbors=asked, neighbor_cut="exact")
    batch = transformer.transform([crystal]).batch()
    assert torch.bincount(batch.target).tolist() == [asked] * len(crystal)


def nearest_distances(atoms: Atoms, count: int) -> np.ndarray:
    """Distances of the nearest neighbours of each atom, from a supercell: (N, count)."""
    middle = 13 * len(atoms) + np.arange(len(atoms))
    distances = atoms.repeat((3, 3, 3)).get_all_distances()[middle]
    return np.sort(distances, axis=1)[:, 1 : count + 1]


@pytest.mark.parametrize("cut", ["shell", "exact"])
def test_the_nearest_are_kept(cut):
    atoms = bulk("Cu").repeat((3, 3, 3))
    atoms.rattle(0.1, seed=3)
    transformer = StructureToGraph(6.0, max_neighbors=7, neighbor_cut=cut, shell_tolerance=0.0)
    batch = transformer.transform([atoms, atoms]).batch(dtype=torch.float64)
    distances = batch.distances.reshape(54, 7).sort(dim=1).values
    expected = np.tile(nearest_distances(atoms, 7), (2, 1))
    np.testing.assert_allclose(distances, expected, atol=1e-9)


def test_fewer_neighbours_than_asked_for_all_stay(structures, graphs):
    for cut in ("shell", "exact"):
        cut_graphs = StructureToGraph(4.0, max_neighbors=500, neighbor_cut=cut).transform(
            structures
        )
        np.testing.assert_array_equal(cut_graphs.edge_counts, graphs.edge_counts)


def test_shell_tolerance_joins_shells(iron):
    # Shells at 2.485 and 2.87 Å: 0.385 Å apart.
    counts = [
        StructureToGraph(4.0, max_neighbors=8, shell_tolerance=tolerance)
        .transform([iron])
        .edge_counts[0]
        for tolerance in (0.0, 0.38, 0.39)
    ]
    assert counts == [16, 16, 28]


def test_atoms_are_cut_each_by_itself():
    crowd = Structure(Lattice.cubic(3.0), ["Po"], [[0, 0, 0]])
    loner = Atoms("H2", [[0, 0, 0], [0, 0, 0.74]])
    graphs = StructureToGraph(3.1, max_neighbors=4, neighbor_cut="exact").transform([loner, crowd])
    assert graphs.edge_counts.tolist() == [2, 4]


# Many crystals


def many_crystals(n: int) -> list[Structure]:
    rng = np.random.default_rng(0)
    return [
        Structure(
            Lattice.orthorhombic(*rng.uniform(3, 5, 3)),
            ["Cu"] * (1 + index % 3),
            np.arange(1 + index % 3)[:, None] / 3 + [[0.1, 0.2, 0.3]],
        )
        for index in range(n)
    ]


@pytest.fixture(scope="module")
def crowd() -> tuple[list[Structure], CrystalGraphs]:
    structures = many_crystals(130)
    one_by_one = [StructureToGraph(4.0).transform([s]) for s in structures]
    return structures, CrystalGraphs.concatenate(one_by_one)


@pytest.mark.parametrize("n", [63, 64, 65, 128, 129, 130])
def test_many_are_the_same_as_one_by_one(crowd, n, assert_same_graphs):
    structures, expected = crowd
    assert_same_graphs(StructureToGraph(4.0).transform(structures[:n]), expected[:n])


def test_many_are_cut_as_one_by_one(crowd, assert_same_graphs):
    structures, _ = crowd
    transformer = StructureToGraph(4.0, max_neighbors=3, neighbor_cut="exact")
    one_by_one = [transformer.transform([s]) for s in structures]
    assert_same_graphs(transformer.transform(structures), CrystalGraphs.concatenate(one_by_one))


def test_two_processes_give_the_same(crowd, assert_same_graphs):
    structures, expected = crowd
    assert_same_graphs(StructureToGraph(4.0, n_jobs=2).transform(structures), expected)


def test_no_object_per_crystal_is_left_behind():
    structures = many_crystals(2000)
    transformer = StructureToGraph(4.0)
    transformer.transform(structures[:2])
    gc.collect()
    before = len(gc.get_objects())
    graphs = transformer.transform(structures)
    gc.collect()
    assert len(gc.get_objects()) - before < 100
    types = {type(value).__name__ for value in vars(graphs).values()}
    assert types == {
        "Tensor",
        "ndarray",
        "GraphSettings",
        "BlockRows",
        "MirroredCrystals",
        "NoneType",
    }


@pytest.mark.parametrize("expected", [0, 1, 7, 10**6])
def test_edges_are_joined_whatever_their_number_was_expected_to_be(structures, expected):
    from gnnpre.graphs import GraphSettings, as_crystals
    from gnnpre.graphs._neighbors import find_edges, join_edges

    settings, crystals = GraphSettings(cutoff=4.0), as_crystals(structures)
    whole = find_edges(crystals, settings)
    joined = join_edges((find_edges(c, settings) for c in crystals.split(2)), expected, np.int16)
    for name in ("index", "shift", "n_edges"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
