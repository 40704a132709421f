"""Crystals in flat arrays behave like a list of structures, and check what they are made from."""

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from pymatgen.core import Element, Structure
from sklearn.model_selection import KFold, train_test_split

from gnnpre.graphs import Crystals, FrameLabels, StructureToGraph


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    return {
        "atomic_numbers": np.array([29, 26, 26], dtype=np.int32),
        "positions": np.array([[0, 0, 0], [0, 0, 0], [1.43, 1.43, 1.43]], dtype=float),
        "cell": np.array([3.6 * np.eye(3), 2.86 * np.eye(3)]),
        "n_atoms": np.array([1, 2]),
    }


@pytest.fixture
def crystals(structures) -> Crystals:
    n = len(structures)
    return Crystals.from_structures(
        structures,
        ids=[f"mp-{i}" for i in range(n)],
        info={"energy": np.arange(n) / 2, "source": ["a", "bc"] * (n // 2)},
        index=pd.Index([f"row {i}" for i in range(n)], name="rows"),
    )


def assert_equal(one: Crystals, two: Crystals) -> None:
    for name in ("atomic_numbers", "positions", "cell", "pbc", "n_atoms", "offsets"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
    np.testing.assert_array_equal(one.ids, two.ids)
    assert one.info.keys() == two.info.keys()
    for name in one.info:
        np.testing.assert_array_equal(one.info[name], two.info[name])
    assert (one.index is None) == (two.index is None)
    assert one.index is None or one.index.equals(two.index)


def test_arrays_of_the_right_type_are_not_copied(arrays):
    crystals = Crystals(**arrays)
    assert all(getattr(crystals, name) is value for name, value in arrays.items())


def test_memory_is_that_of_the_arrays():
    n = 5000
    crystals = Crystals(
        atomic_numbers=np.full(20 * n, 6),
        positions=np.zeros((20 * n, 3)),
        cell=np.tile(np.eye(3), (n, 1, 1)),
        n_atoms=np.full(n, 20),
    )
    raw = 20 * n * (4 + 24) + n * (72 + 3 + 8)
    assert crystals.nbytes <= 1.2 * raw
    assert len(pickle.dumps(crystals, protocol=5)) <= 1.2 * raw


def test_what_has_a_shape_and_a_length(crystals, structures):
    assert crystals.shape == (len(crystals),) == (len(structures),)


def test_repr(crystals):
    expected = (
        f"Crystals(n=8, atoms={len(crystals.positions)}, ids, info=['energy', 'source'], index)"
    )
    assert repr(crystals) == expected


def test_structures_come_back_as_they_went_in(crystals, structures, assert_same_graphs):
    again = crystals.to_structures()
    assert all(isinstance(structure, Structure) for structure in again)
    transformer = StructureToGraph(4.0)
    one, two = transformer.transform(structures), transformer.transform(again)
    assert len(one.edge_shift) == len(two.edge_shift)
    np.testing.assert_allclose(one.positions, two.positions, atol=1e-12)
    np.testing.assert_array_equal(one.edge_index, two.edge_index)
    np.testing.assert_array_equal(one.pbc, two.pbc)


def test_atoms_come_back_as_they_went_in(crystals, assert_same_graphs):
    transformer = StructureToGraph(4.0)
    assert_same_graphs(transformer.transform(crystals), transformer.transform(crystals.to_atoms()))


def test_graphs_of_crystals_equal_those_of_the_list(crystals, structures, assert_same_graphs):
    transformer = StructureToGraph(4.0)
    assert_same_graphs(transformer.transform(crystals), transformer.transform(structures))


def test_an_int_picks_one_structure(crystals, salt):
    assert crystals[0] == salt
    assert crystals[-1].species == [Element("C")]
    assert crystals[np.int64(3)].lattice.pbc == (False, False, False)
    with pytest.raises(IndexError, match="Index 8 is out of bounds for 8 crystals"):
        crystals[8]


def test_iteration_yields_structures(crystals):
    assert list(crystals) == [crystals[row] for row in range(len(crystals))]


@pytest.mark.parametrize(
    "key",
    [
        slice(2, 5),
        slice(None, None, -1),
        [4, 0, 4],
        np.array([1, 2, 3]),
        [-1, 0],
        np.arange(8) % 3 == 0,
        slice(5, 2),
        [],
    ],
    ids=str,
)
def test_indexing_takes_everything_along(crystals, key):
    rows = np.arange(8)[key]
    picked = crystals[key]
    assert len(picked) == len(rows)
    np.testing.assert_array_equal(picked.ids, crystals.ids[rows])
    np.testing.assert_array_equal(picked.info["energy"], crystals.info["energy"][rows])
    assert picked.index.equals(crystals.index[rows])
    for structure, row in zip(picked, rows.tolist(), strict=True):
        assert structure == crystals[row]


def test_a_range_shares_memory(crystals):
    for key in (slice(2, 5), slice(None), np.arange(2, 5), np.ones(8, dtype=bool)):
        assert np.shares_memory(crystals[key].positions, crystals.positions)


@pytest.mark.parametrize("key", ["a", 1.5, (1, 2), np.zeros((2, 2), dtype=int)], ids=str)
def test_bad_index(crystals, key):
    with pytest.raises((TypeError, IndexError), match="Crystals"):
        crystals[key]


def test_scikit_learn_splits_it(crystals):
    y = np.arange(len(crystals))
    train, test, y_train, y_test = train_test_split(crystals, y, random_state=0)
    np.testing.assert_array_equal(
        np.r_[y_train, y_test], [int(i[3:]) for i in (*train.ids, *test.ids)]
    )
    assert sum(len(test) for _, test in KFold(4).split(crystals)) == len(crystals)


def test_concatenate(crystals):
    joined = Crystals.concatenate([crystals[:3], crystals[3:4], crystals[4:]])
    assert_equal(joined, crystals)
    partly = Crystals.concatenate([crystals, Crystals.from_structures([bulk("Cu")])])
    assert partly.ids is None
    assert partly.index is None
    assert partly.info == {}
    with pytest.raises(ValueError, match="nothing to concatenate"):
        Crystals.concatenate([])


@pytest.mark.parametrize("blocks", ["ab", 3, {"a": 1}, int, np.array(1.0)])
def test_blocks_of_other_types_are_refused(crystals, blocks):
    graphs = StructureToGraph(cutoff=3.0).fit_transform(crystals)
    labels = FrameLabels(crystals.n_atoms)
    for block in (crystals, graphs, labels):
        name = type(block).__name__
        with pytest.raises(TypeError, match=f"blocks is of type {type(blocks).__name__}; .*{name}"):
            block.concatenate(blocks)
        with pytest.raises(TypeError, match=f"blocks is of type {name}"):
            block.concatenate(block)
        with pytest.raises(TypeError, match=r"blocks\[1\] is of type list"):
            block.concatenate([block, [1]])


def test_masks_and_tensors_of_the_arrays(crystals, arrays):
    tensors = {name: torch.as_tensor(np.asarray(arrays[name])) for name in ("positions", "cell")}
    tensors["positions"].requires_grad_(True)
    joined = Crystals(**{**arrays, **tensors})
    np.testing.assert_array_equal(joined.positions, np.asarray(arrays["positions"]))
    # A masked entry is none: its fill value is not to become a coordinate.
    for name, message in [
        ("positions", "not finite"),
        ("cell", "NaN or infinity"),
        ("atomic_numbers", "has dtype float64"),
        ("n_atoms", "has dtype float64"),
    ]:
        mask = np.zeros(np.shape(arrays[name]), dtype=bool)
        mask.flat[0] = True
        with pytest.raises(ValueError, match=message):
            Crystals(**{**arrays, name: np.ma.masked_array(arrays[name], mask)})
    n = len(crystals)
    with pytest.raises(TypeError, match="boolean mask as index"):
        crystals[np.ma.masked_array(np.ones(n, bool), np.arange(n) == 0)]


def test_a_singular_cell_becomes_no_structure(arrays):
    singular = Crystals(**{**arrays, "cell": np.full((2, 3, 3), 7.0)})
    with pytest.raises(ValueError, match="singular along its periodic directions"):
        singular.to_structures()


def test_split(crystals):
    pieces = crystals.split(3)
    assert [len(piece) for piece in pieces] == [3, 3, 2]
    for size in (0, -1, 2.5, "3", np.inf):
        with pytest.raises(ValueError, match=r"size=.*expected an int"):
            crystals.split(size)
    assert_equal(Crystals.concatenate(pieces), crystals)


def test_pickle_and_memory_map(crystals, tmp_path):
    assert_equal(pickle.loads(pickle.dumps(crystals)), crystals)
    joblib.dump(crystals, tmp_path / "crystals")
    mapped = joblib.load(tmp_path / "crystals", mmap_mode="r")
    assert isinstance(mapped.positions, np.memmap)
    assert isinstance(mapped.ids, np.memmap)
    assert_equal(mapped, crystals)
    assert len(StructureToGraph(4.0).transform(mapped)) == len(crystals)


def test_it_never_becomes_an_array(crystals):
    with pytest.raises(TypeError, match="Crystals is not a table"):
        np.asarray(crystals)


def test_ids_and_columns(arrays):
    crystals = Crystals(**arrays, ids=[7, 8], info={"gap": [0.1, np.nan], "note": ["x", None]})
    assert crystals.ids.dtype == int
    assert crystals.info["gap"].dtype == float
    assert crystals.info["note"].tolist() == ["x", None]
    long = Crystals(**arrays, info={"note": ["x", "y" * 1000]}).info["note"]
    assert long.dtype == object


def test_the_index_of_a_series_is_carried_along(structures):
    series = pd.Series(structures, index=[f"mp-{i}" for i in range(len(structures))])
    assert Crystals.from_structures(series).index.equals(series.index)
    assert Crystals.from_structures(structures).index is None


@pytest.mark.parametrize("index", [3.0, np.zeros(2, dtype=np.float16)])
def test_no_index_of_a_table(arrays, index):
    with pytest.raises(TypeError, match=r"^index is .*; expected one label for each crystal \("):
        Crystals(**arrays, index=index)


def test_periodic_directions(arrays):
    assert Crystals(**arrays).pbc.all()
    assert not Crystals(**arrays, pbc=False).pbc.any()
    assert Crystals(**arrays, pbc=[1, 1, 0]).pbc.tolist() == [[True, True, False]] * 2
    mixed = [[True, True, False], [True, True, True]]
    assert Crystals(**arrays, pbc=mixed).pbc.tolist() == mixed


def test_a_slab_and_a_molecule_become_structures():
    slab, water = fcc111("Al", (1, 1, 3), vacuum=6.0), molecule("H2O")
    wire = Atoms("C", cell=np.diag([0.0, 0.0, 2.5]), pbc=[False, False, True])
    crystals = Crystals.from_structures([slab, water, wire])
    structures = crystals.to_structures()
    np.testing.assert_allclose(structures[0].lattice.matrix, slab.cell.array)
    for structure, atoms in zip(structures, (slab, water, wire), strict=True):
        np.testing.assert_allclose(structure.cart_coords, atoms.positions, atol=1e-12)
        assert list(structure.lattice.pbc) == atoms.pbc.tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_atoms": [1, 1]}, "n_atoms adds up to 2; there are 3 atoms"),
        ({"n_atoms": [-1, 4]}, r"n_atoms\[0\] is -1; expected at least 1"),
        ({"n_atoms": [0, 3]}, r"n_atoms\[0\] is 0; expected at least 1"),
        ({"n_atoms": [2**63 - 1, 2**63 - 1]}, "n_atoms adds up to"),
        ({"n_atoms": [1.0, 2.0]}, "n_atoms has dtype float64; expected int64"),
        ({"atomic_numbers": [29, 26, 0]}, "Structure 1: atom 1 has atomic number 0; expected"),
        ({"atomic_numbers": [119, 26, 26]}, "Structure 0: atom 0 has atomic number 119"),
        ({"atomic_numbers": ["Cu", "Fe", "Fe"]}, "atomic_numbers has dtype <U2; expected int32"),
        ({"atomic_numbers": [2**40, 1, 1]}, "atomic_numbers holds values from 1 to 1099511627776"),
        ({"positions": np.zeros((3, 2))}, r"positions has shape \(3, 2\); expected \(3, 3\)"),
        ({"positions": np.zeros((3, 3), dtype=complex)}, "positions has dtype complex128"),
        ({"positions": [[0, 0, 0], [0, 0], [1, 1, 1]]}, "positions cannot be read as an array"),
        ({"positions": np.diag([1, np.nan, 1])}, "Structure 1: atom 0 has coordinates .* finite"),
        ({"cell": np.eye(3)}, r"cell has shape \(3, 3\); expected \(2, 3, 3\)"),
        ({"cell": np.full((2, 3, 3), np.inf)}, "Structure 0: its cell holds NaN or infinity"),
        ({"pbc": "yes"}, "pbc has dtype"),
        ({"pbc": [[True, True]]}, r"pbc has shape \(1, 2\); expected \(2, 3\)"),
        ({"ids": ["a"]}, r"ids has shape \(1,\); expected \(2,\)"),
        ({"ids": ["a", None]}, r"ids\[1\] is None; expected a string or an integer"),
        ({"ids": [0.5, 1.5]}, "ids has dtype float64; expected strings or integers"),
        ({"info": {"gap": [1.0]}}, r"info\['gap'\] has shape \(1,\); expected \(2,\)"),
        ({"index": [1, 2, 3]}, "index has 3 labels; there are 2 crystals"),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else "",
)
def test_bad_arrays(arrays, changes, message):
    with pytest.raises(ValueError, match=message):
        Crystals(**{**arrays, **changes})


@pytest.mark.parametrize("info", [3, {1: [1, 2]}], ids=str)
def test_bad_info(arrays, info):
    with pytest.raises(TypeError, match="info"):
        Crystals(**arrays, info=info)


def test_errors_of_the_search_name_the_id(arrays):
    bad = Crystals(**{**arrays, "cell": np.zeros((2, 3, 3))}, ids=["mp-1", "mp-2"])
    with pytest.raises(ValueError, match=r"Structure 0 \(id mp-1\): its cell is singular"):
        StructureToGraph().transform(bad)


def test_empty_crystals(crystals):
    nothing = crystals[:0]
    assert nothing.shape == (0,)
    assert nothing.to_structures() == []
    with pytest.raises(ValueError, match="X has 0 crystals; a minimum of 1"):
        StructureToGraph().transform(nothing)
