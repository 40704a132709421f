"""The packed graphs: torch-geometric's batches, scikit-learn's indexing, pickles and files."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from pymatgen.core import Lattice, Structure
from sklearn.model_selection import GroupKFold, KFold, train_test_split
from sklearn.utils import _safe_indexing, indexable
from torch_geometric.data import Batch

from gnnpre.graphs import CrystalGraphs, FrameLabels, GraphSettings, StructureToGraph
from gnnpre.graphs._crystal_graphs import FIELDS
from gnnpre.graphs._gather import GATHERED_ROWS, _runs

ORDERS = [
    range(8),
    [3],
    [7, 0, 5],
    [6, 6],  # without an edge at all
    [2, 2, 0, 6, 2, 3, 3],
    np.random.default_rng(0).integers(0, 8, 50),
]


@pytest.mark.parametrize("indices", ORDERS, ids=lambda indices: f"{len(indices)}-crystals")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_is_torch_geometrics_batch(graphs, indices, dtype):
    batch = graphs.batch(indices, dtype=dtype)
    data_list = graphs.to_data_list()
    reference = Batch.from_data_list([data_list[i] for i in indices])
    pairs = {
        "z": batch.atomic_numbers,
        "pos": batch.positions,
        "cell": batch.cell,
        "pbc": batch.pbc,
        "edge_index": batch.edge_index,
        "edge_shift": batch.edge_shift,
        "batch": batch.batch,
    }
    for name, tensor in pairs.items():
        expected = reference[name]
        if expected.is_floating_point():
            expected = expected.to(dtype)
        assert tensor.dtype == expected.dtype, name
        torch.testing.assert_close(tensor, expected, rtol=0, atol=0, msg=name)
    torch.testing.assert_close(batch.n_atoms, reference.ptr.diff())
    assert len(batch) == reference.num_graphs


def test_batch_takes_what_indexing_takes(graphs):
    mask = np.arange(8) % 2 == 0
    for key in (mask, slice(0, 8, 2), [0, 2, 4, 6], [-8, -6, -4, -2], np.array([0, 2, 4, 6])):
        torch.testing.assert_close(graphs.batch(key).positions, graphs[mask].batch().positions)


def test_edge_vectors_are_computed_in_float64_first(salt):
    # Far from the origin float32 resolves 0.06 Å only: the edge vectors must not suffer.
    graphs = StructureToGraph(3.0).transform([salt])
    graphs.positions.add_(1e6)
    expected = torch.full((48,), 2.82)
    torch.testing.assert_close(graphs.batch().distances, expected, atol=1e-5, rtol=0)


def test_a_batch_moves_its_atoms_and_keeps_its_edges(graphs):
    batch = graphs.batch(dtype=torch.float64)
    move = torch.randn(batch.positions.shape, dtype=torch.float64)
    moved = batch.displaced(move)
    torch.testing.assert_close(moved.positions, batch.positions + move)
    expected = batch.edge_vectors + move[batch.edge_index[0]] - move[batch.edge_index[1]]
    torch.testing.assert_close(moved.edge_vectors, expected)
    torch.testing.assert_close(moved.distances, expected.norm(dim=1))
    assert moved.edge_index is batch.edge_index
    replaced = batch.with_edge_vectors(2 * batch.edge_vectors)
    torch.testing.assert_close(replaced.distances, 2 * batch.distances)


def test_volume_of_a_batch_is_nan_where_a_direction_is_not_periodic(graphs, salt):
    volume = graphs.batch().volume
    assert volume[0].item() == pytest.approx(salt.volume)
    assert torch.isnan(volume).tolist() == [False, False, False, True, True, False, True, True]


def test_data_list_round_trip(graphs, assert_same_graphs):
    back = CrystalGraphs.from_data_list(graphs.to_data_list(), graphs.settings)
    assert_same_graphs(back, graphs)


def test_from_data_list_sorts_edges_by_target(graphs):
    data_list = graphs.to_data_list()
    for seed, data in enumerate(data_list):
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(data.edge_index.shape[1], generator=generator)
        data.edge_index, data.edge_shift = data.edge_index[:, order], data.edge_shift[order]
    shuffled = CrystalGraphs.from_data_list(data_list, graphs.settings)
    assert all((shuffled[i].edge_index[1].diff() >= 0).all() for i in range(len(graphs)))
    torch.testing.assert_close(
        shuffled.batch().distances.sort().values, graphs.batch().distances.sort().values
    )


def test_from_data_list_names_the_crystal_and_the_missing_field(graphs):
    data_list = graphs.to_data_list()
    del data_list[2].edge_shift
    with pytest.raises(ValueError, match=r"data_list\[2\] has no \['edge_shift'\]"):
        CrystalGraphs.from_data_list(data_list, graphs.settings)


def test_from_data_list_refuses_an_empty_list():
    with pytest.raises(ValueError, match="data_list is empty"):
        CrystalGraphs.from_data_list([], GraphSettings(cutoff=5.0))


@pytest.mark.parametrize("shift", [128, -129, 256])
def test_from_data_list_refuses_a_shift_beyond_int8(graphs, shift):
    data_list = graphs.to_data_list()
    data_list[1].edge_shift = data_list[1].edge_shift.long()
    data_list[1].edge_shift[0, 0] = shift
    with pytest.raises(
        ValueError, match=f"edge_shift holds values .*{shift}.*; expected -128 to 127"
    ):
        CrystalGraphs.from_data_list(data_list, graphs.settings)


# Indexing


def test_length_shape_and_repr(graphs):
    assert len(graphs) == 8
    assert graphs.shape == (8,)
    assert graphs.cutoff == 4.0
    assert repr(graphs).startswith("CrystalGraphs(n=8, atoms=27, edges=")


@pytest.mark.parametrize("index", [0, 4, 7, -1, -8, np.int64(2), np.int8(-3)])
def test_an_int_gives_a_data_object(graphs, index):
    data, expected = graphs[index], graphs.to_data_list()[index]
    assert sorted(data.keys()) == ["cell", "edge_index", "edge_shift", "pbc", "pos", "z"]
    for name in data.keys():  # noqa: SIM118 (iterating over Data gives pairs)
        torch.testing.assert_close(data[name], expected[name], rtol=0, atol=0)


def test_iteration_ends(graphs):
    assert [len(data.z) for data in graphs] == graphs.n_atoms.tolist()


MASK = np.array([True, False, False, True, False, False, False, True])


KEYS = [
    slice(2, 5),
    slice(None, None, -1),
    slice(5, 100),
    [0, 3, 3],
    [-1, 0],
    np.array([7, 1], dtype=np.int32),
    np.array([4], dtype=np.uint8),
    MASK,
    MASK.tolist(),
    pd.Series([1, 2]),
    torch.tensor([1, 2]),
    [],
    np.array([], dtype=np.int64),
    np.zeros(8, dtype=bool),
    slice(3, 3),
]


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_other_keys_select_as_they_select_from_an_array(graphs, key, assert_same_graphs):
    empty = isinstance(key, list) and not key  # which NumPy takes for floats
    indices = np.arange(8)[slice(0) if empty else key]
    data_list = graphs.to_data_list()
    expected = [data_list[i] for i in indices]
    for chosen in (graphs[key], graphs[key, ...]):
        assert isinstance(chosen, CrystalGraphs)
        assert chosen.shape == (len(indices),)
        assert chosen.settings == graphs.settings
        if expected:
            assert_same_graphs(chosen, CrystalGraphs.from_data_list(expected, graphs.settings))


def test_an_empty_selection_is_usable(graphs, assert_same_graphs):
    empty = graphs[[]]
    assert empty.shape == (0,)
    assert empty.to_data_list() == []
    assert len(empty.batch()) == 0
    assert len(graphs.batch([])) == 0
    assert_same_graphs(pickle.loads(pickle.dumps(empty)), empty)
    assert_same_graphs(CrystalGraphs.concatenate([empty, graphs, empty]), graphs)


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (8, IndexError, "Index 8 is out of bounds for 8 crystals"),
        (-9, IndexError, "Index -9 is out of bounds for 8 crystals"),
        ([0, 8], IndexError, "Index 8 is out of bounds for CrystalGraphs with 8 crystals"),
        ([-9], IndexError, "Index -9 is out of bounds"),
        ([True, False], IndexError, "The mask has 2 entries; CrystalGraphs has 8 crystals"),
        (np.array([], dtype=bool), IndexError, "The mask has 0 entries"),
        ([[0, 1]], IndexError, "CrystalGraphs has one axis"),
        (([0], 1), IndexError, r"index it as \[key\] or \[key, \.\.\.\]"),
        (([0], ..., 0), IndexError, r"index it as \[key\] or \[key, \.\.\.\]"),
        ([0.0, 1.0], TypeError, "got float64"),
        (["a"], TypeError, "takes an int, a slice, an array of ints or a boolean mask"),
        ("positions", TypeError, "takes an int, a slice, an array of ints or a boolean mask"),
        (1.5, TypeError, "takes an int, a slice, an array of ints or a boolean mask"),
        (None, TypeError, "takes an int, a slice, an array of ints or a boolean mask"),
    ],
    ids=lambda value: repr(value) if not isinstance(value, (str, type)) else None,
)
def test_keys_that_do_not_fit(graphs, key, error, message):
    with pytest.raises(error, match=message):
        graphs[key]


def test_it_refuses_to_become_an_array(graphs):
    with pytest.raises(TypeError, match=r"not a table .*\(Pretrainer\.transform\)"):
        np.asarray(graphs)
    with pytest.raises(TypeError, match="not a table"):
        np.array(graphs, dtype=object)


def test_a_range_shares_memory_and_other_selections_copy(graphs):
    before = graphs.positions.data_ptr()
    for key in (slice(None), np.arange(8), np.ones(8, dtype=bool), range(8)):
        assert graphs[key].positions.data_ptr() == before
        assert graphs[key].edge_index.data_ptr() == graphs.edge_index.data_ptr()
    assert graphs[2:].edge_shift.data_ptr() > graphs.edge_shift.data_ptr()
    copied = graphs[[0, 0, 1]]
    copied.positions.fill_(7.0)
    assert not (graphs.positions == 7.0).any()


@pytest.mark.parametrize("n_rows", [1, 7, 50, 10**6])
def test_rows_are_gathered_piece_by_piece(graphs, monkeypatch, n_rows, assert_same_graphs):
    indices = np.random.default_rng(1).integers(0, 8, 60)
    expected = graphs[indices]
    monkeypatch.setattr("gnnpre.graphs._gather.GATHERED_ROWS", n_rows)
    assert_same_graphs(graphs[indices], expected)


def test_runs_of_gathered_rows_are_short():
    starts = np.arange(65) * 2**17  # 64 blocks, 8 M rows
    runs = _runs(starts)
    assert [first for first, _ in runs] == [0, *(last for _, last in runs[:-1])]
    assert max(starts[last] - starts[first] for first, last in runs) <= 2 * GATHERED_ROWS


# scikit-learn


def assert_belong_together(X: CrystalGraphs, y: FrameLabels, indices: np.ndarray) -> None:
    assert isinstance(X, CrystalGraphs)
    assert isinstance(y, FrameLabels)
    np.testing.assert_array_equal(y.energy, indices)
    np.testing.assert_array_equal(y.forces[:, 0], np.repeat(indices, X.n_atoms.numpy()))


@pytest.mark.parametrize("key", [np.array([5, 0, 5]), [1, 2], MASK, slice(1, 4)], ids=repr)
def test_safe_indexing_splits_graphs_and_labels(graphs, labels, key):
    X, y = _safe_indexing(graphs, key), _safe_indexing(labels, key)
    assert_belong_together(X, y, np.arange(8)[key])
    assert indexable(graphs, labels)[0] is graphs


def test_train_test_split(graphs, labels):
    X_train, X_test, y_train, y_test, train, test = train_test_split(
        graphs, labels, np.arange(8), test_size=3, random_state=0
    )
    assert (len(X_train), len(X_test)) == (5, 3)
    assert_belong_together(X_train, y_train, train)
    assert_belong_together(X_test, y_test, test)


@pytest.mark.parametrize("splitter", [KFold(3, shuffle=True, random_state=0), GroupKFold(4)])
def test_splitters(graphs, labels, splitter):
    seen = []
    groups = labels.groups("run") if isinstance(splitter, GroupKFold) else None
    for train, test in splitter.split(graphs, labels, groups):
        assert_belong_together(graphs[train], labels[train], train)
        assert_belong_together(graphs[test], labels[test], test)
        seen.extend(test.tolist())
        if groups is not None:
            assert not set(groups[train]) & set(groups[test])
    assert sorted(seen) == list(range(8))


# Joining


def test_concatenate(graphs, assert_same_graphs):
    joined = CrystalGraphs.concatenate([graphs[5:], graphs[:5]])
    assert_same_graphs(joined, graphs[[5, 6, 7, 0, 1, 2, 3, 4]])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (StructureToGraph(5.0), r"cutoff is 5\.0, not 4\.0"),
        (StructureToGraph(4.0, max_neighbors=12), "max_neighbors is 12, not None"),
    ],
)
def test_graphs_of_different_settings_do_not_join(graphs, iron, other, message):
    with pytest.raises(ValueError, match=message):
        CrystalGraphs.concatenate([graphs, other.transform([iron])])


def test_what_no_cut_depends_on_may_differ(graphs, iron):
    other = StructureToGraph(4.0, shell_tolerance=0.5, neighbor_cut="exact").transform([iron])
    assert len(CrystalGraphs.concatenate([graphs, other])) == 9


def test_nothing_does_not_join():
    with pytest.raises(ValueError, match="blocks is empty"):
        CrystalGraphs.concatenate([])


@pytest.mark.parametrize("name", ["positions", "edge_index", "edge_shift", "cell", "pbc"])
def test_arrays_of_wrong_length_are_refused(graphs, name):
    tensors = {field: getattr(graphs, field) for field in FIELDS}
    tensors[name] = tensors[name][..., :-1]
    with pytest.raises(ValueError, match=rf"{name} has shape|n_edges adds up"):
        CrystalGraphs(**tensors, settings=graphs.settings)


def test_the_host_is_a_device_and_needs_no_copy(graphs):
    assert graphs.to("cpu") is graphs
    assert graphs.batch().to("cpu").positions.device.type == "cpu"


# Size


def test_bytes_per_edge_stay_at_seven():
    carbon = Structure(Lattice.cubic(2.5), ["C"], [[0, 0, 0]])
    graphs = StructureToGraph(8.0).transform([carbon])
    edge_bytes = graphs.edge_index.nbytes + graphs.edge_shift.nbytes
    assert edge_bytes == 7 * len(graphs.edge_shift)
