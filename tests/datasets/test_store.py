"""Stores of crystals: round trips, and the interface of Crystals."""

import functools
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from gnnpre.datasets import (
    read_frames,
    read_parquet,
    to_parquet,
    write_crystals,
)
from gnnpre.graphs import Crystals, FrameLabels, LazyCrystals, StructureToGraph
from store_cases import ARRAYS, N, assert_same_crystals, assert_same_labels, batches_of


def test_a_store_holds_the_crystals_and_labels_that_were_written(store, frames):
    crystals, labels = frames
    assert isinstance(store, LazyCrystals)
    assert_same_crystals(store.load(), crystals)
    assert_same_labels(store.labels.load(), labels)
    assert store.ids.tolist() == crystals.ids.tolist()
    assert store.info["run"].tolist() == crystals.info["run"].tolist()
    assert store.load().info.keys() == {"run", *labels.info}


def test_other_tools_read_the_files(store, frames):
    crystals, labels = read_parquet(store.folder)
    assert_same_crystals(crystals, frames[0])
    assert_same_labels(labels, frames[1])


@pytest.mark.parametrize(
    "key",
    [slice(3, 17), slice(None, None, -3), [7, 2, 2, 39], np.arange(N) % 5 == 0, slice(4, 4)],
    ids=["slice", "steps", "repeated", "mask", "empty"],
)
def test_a_store_is_indexed_like_crystals(store, frames, key):
    part, expected = store[key], frames[0][key]
    assert part.shape == (len(part),) == expected.shape
    assert part.n_atoms.tolist() == expected.n_atoms.tolist()
    if len(expected):
        assert_same_crystals(part.load(), expected)
        assert_same_labels(store.labels[key].load(), frames[1][key])
        assert_same_crystals(part[::-1].load(), expected[::-1])
        assert part[-1] == expected[-1]
    else:
        with pytest.raises(ValueError, match="selection is empty"):
            part.load()


def test_the_interface_of_crystals(store, frames):
    crystals = frames[0]
    for name in (*ARRAYS, "offsets"):
        np.testing.assert_array_equal(getattr(store, name), getattr(crystals, name))
    assert store.index is None
    assert list(store) == list(crystals) == store.to_structures()
    assert store.to_atoms() == crystals.to_atoms()
    assert [len(piece) for piece in store.split(15)] == [15, 15, 10]
    with pytest.raises(IndexError, match="40 crystals"):
        store[N]
    with pytest.raises(TypeError, match="not a table"):
        np.asarray(store)
    with pytest.raises(KeyError, match="no column 'gap'"):
        store.info["gap"]


def test_scikit_learn_splits_a_store_with_its_labels(store, frames):
    train, test, y_train, y_test = train_test_split(store, store.labels, random_state=0)
    expected = train_test_split(*frames, random_state=0)
    assert_same_crystals(train.load(), expected[0])
    assert_same_crystals(test.load(), expected[1])
    assert_same_labels(y_train.load(), expected[2])
    assert y_test.groups("run").tolist() == expected[1].info["run"].tolist()


def test_graphs_and_pickles_of_a_store(store, frames):
    expected = StructureToGraph(cutoff=4.0).transform(frames[0])
    graphs = StructureToGraph(cutoff=4.0).fit_transform(store)
    np.testing.assert_array_equal(graphs[:].edge_index, expected.edge_index)
    part = pickle.loads(pickle.dumps(store[5:9]))
    assert_same_crystals(part.load(), frames[0][5:9])
    assert len(pickle.dumps(store)) < 20_000
    assert joblib.hash(store[5:9]) == joblib.hash(part) != joblib.hash(store[5:8])


def test_targets_and_crystals_alone(tmp_path, frames):
    crystals, _ = frames
    table = pd.DataFrame({"gap": np.linspace(0, 1, N), "K": np.arange(N)})
    store = write_crystals(tmp_path / "a", [(crystals[:9], table[:9]), (crystals[9:], table[9:])])
    assert store.labels is None
    assert store.info["gap"].tolist() == table["gap"].tolist()
    assert store[[3, 1]].info["K"].tolist() == [3, 1]
    plain = write_crystals(tmp_path / "b", [crystals[:2], crystals[2:4]])
    assert plain.labels is None
    assert len(plain) == 4


def test_columns_of_atoms_are_stored(tmp_path, frames):
    crystals, labels = frames
    magmom = np.arange(labels.n_atoms.sum(), dtype=float)
    with_atoms = FrameLabels(labels.n_atoms, energy=labels.energy, atom_info={"magmom": magmom})
    store = write_crystals(tmp_path / "store", [(crystals, with_atoms)])
    np.testing.assert_array_equal(store.labels.load().atom_info["magmom"], magmom)


def test_missing_labels_stay_missing(tmp_path, frames):
    crystals, labels = frames
    energy = np.where(np.arange(N) % 2, labels.energy, np.nan)
    some = FrameLabels(labels.n_atoms, energy=energy)
    store = write_crystals(tmp_path, [(crystals, some)])
    assert [store.labels.has(name) for name in ("energy", "forces")] == [True, False]
    np.testing.assert_array_equal(store.labels.load().energy, energy)
    assert np.isnan(store.labels.load().forces).all()


@pytest.mark.parametrize("shard_rows", [3, 100])
@pytest.mark.parametrize("bare_first", [False, True])
def test_columns_and_ids_that_some_batches_lack_are_left_out(
    tmp_path, frames, shard_rows, bare_first
):
    crystals, _ = frames
    bare = Crystals.from_structures(crystals[:5].to_structures())
    batches = [bare, crystals[:5]] if bare_first else [crystals[:5], bare]
    with pytest.warns(UserWarning, match="Some batches have ids and others have none"):
        store = write_crystals(tmp_path, batches, shard_rows=shard_rows)
    assert list(store.info) == []
    assert store.ids is None
    assert_same_crystals(store.load(slice(0, 5) if bare_first else slice(5, 10)), bare)


def test_ids_of_a_selection(tmp_path, frames):
    crystals, _ = frames
    store = write_crystals(tmp_path, [crystals[:5]])
    assert store[3:].ids.tolist() == crystals.ids[3:5].tolist()
    assert store[:0].ids is None


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_workers_call_functions_that_read(tmp_path, frames, n_jobs):
    crystals, labels = frames
    paths = [tmp_path / f"{number}.parquet" for number in range(3)]
    for number, path in enumerate(paths):
        rows = slice(10 * number, 10 * number + 10)
        to_parquet(path, crystals[rows], labels[rows])
    readers = [functools.partial(read_parquet, path) for path in paths]
    store = write_crystals(tmp_path / "store", readers, n_jobs=n_jobs)
    assert len(store._reader.manifest.shards) == 3
    assert_same_crystals(store.load(), crystals[:30])


def test_real_frames(tmp_path, data_dir):
    crystals, labels = read_frames(data_dir / "upstream" / "emmet.extxyz.gz")
    store = write_crystals(tmp_path, batches_of(crystals, labels, 400))
    assert_same_crystals(store.load(), crystals)
    assert_same_labels(store.labels.load(), labels)


def test_any_backend_of_joblib_writes(tmp_path, frames):
    with joblib.parallel_config("threading", n_jobs=2):
        store = write_crystals(tmp_path, batches_of(*frames), shard_rows=5)
    assert_same_crystals(store.load(), frames[0])
