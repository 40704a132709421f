"""Stores of crystals: round trips, the interface of Crystals, damage, and interrupted writers."""

import functools
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from gnnpre.datasets import (
    make_emt_frames,
    open_crystals,
    read_frames,
    read_parquet,
    to_parquet,
    write_crystals,
)
from gnnpre.datasets._store import _reader, _write
from gnnpre.datasets._store._manifest import file_sha256
from gnnpre.graphs import Crystals, FrameLabels, LazyCrystals, StructureToGraph

ARRAYS = ("atomic_numbers", "positions", "cell", "pbc", "n_atoms")
N = 40
WRITER = """
import sys, time
import numpy as np
from gnnpre.datasets import make_emt_frames, write_crystals
from gnnpre.graphs import Crystals
structures, labels = make_emt_frames(40, random_state=0)
crystals = Crystals.from_structures(structures)
def batches():
    for start in range(0, 40, 5):
        time.sleep(float(sys.argv[2]))
        yield crystals[start : start + 5], labels[start : start + 5]
write_crystals(sys.argv[1], batches(), shard_rows=5)
"""


@pytest.fixture(scope="module")
def frames():
    structures, labels = make_emt_frames(N, random_state=0)
    ids = [f"agm{number}" for number in range(N)]
    return Crystals.from_structures(structures, ids=ids, info={"run": np.arange(N) // 3}), labels


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(_write, "BLOCK_ROWS", 4)


@pytest.fixture
def store(tmp_path, frames, small_blocks):
    return write_crystals(tmp_path / "store", batches_of(*frames), shard_rows=10)


def batches_of(crystals, labels, size=10):
    return [
        (crystals[start : start + size], labels[start : start + size])
        for start in range(0, len(crystals), size)
    ]


def assert_same_crystals(read, crystals):
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(read, name), getattr(crystals, name), err_msg=name)


def assert_same_labels(read, labels):
    np.testing.assert_array_equal(read.energy, labels.energy)
    np.testing.assert_array_equal(read.forces, labels.forces)
    # Stored in kbar, as LeMat does: converting there and back rounds the last digit.
    np.testing.assert_allclose(read.stress, labels.stress, rtol=1e-15, atol=0)


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


# Interrupted and repeated writers.


def test_the_same_call_again_writes_nothing(store, frames):
    before = {path: path.stat().st_mtime_ns for path in store.folder.glob("*.parquet")}
    again = write_crystals(store.folder, batches_of(*frames), shard_rows=10)
    assert {path: path.stat().st_mtime_ns for path in store.folder.glob("*.parquet")} == before
    assert again.digest == store.digest


def test_a_kill_loses_only_the_file_in_writing(tmp_path):
    expected = write_crystals_in_process(tmp_path / "whole", 0.0)
    rng = np.random.default_rng(0)
    for attempt in range(2):
        folder = tmp_path / f"killed{attempt}"
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder), "0.2"])
        wait_for(lambda folder=folder: any(folder.glob("shard-*.parquet")))
        time.sleep(rng.uniform(0.0, 0.9))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        with pytest.raises((ValueError, FileNotFoundError), match=r"incomplete|no store"):
            open_crystals(folder)
        resumed = write_crystals_in_process(folder, 0.0)
        assert resumed.digest == expected.digest
        names = {path.name for path in folder.iterdir()}
        assert names == {path.name for path in expected.folder.iterdir()}


def write_crystals_in_process(folder, seconds):
    subprocess.run([sys.executable, "-c", WRITER, str(folder), str(seconds)], check=True)
    return open_crystals(folder)


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_writers_on_one_store(tmp_path, frames):
    folder = tmp_path / "store"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder), "1.0"])
    try:
        wait_for(lambda: any(folder.glob("shard-*.parquet")))
        with pytest.raises(RuntimeError, match=f"being written by process {writer.pid} on"):
            write_crystals(folder, batches_of(*frames))
    finally:
        writer.kill()
        writer.wait()
    assert len(write_crystals_in_process(folder, 0.0)) == N  # the lock of the dead writer is free


def test_shards_of_a_function_that_was_changed_since_are_refused(tmp_path, frames):
    crystals, _ = frames

    def write(is_mended):
        """Write two batches; before it is mended, one function skips rows and one fails."""
        if is_mended:

            def first():
                return crystals[:10]

        else:

            def first():
                return crystals[:5]

        def second():
            if not is_mended:
                raise ValueError("not mounted")
            return crystals[10:20]

        return write_crystals(tmp_path / "store", [first, second])

    with pytest.raises(ValueError, match="not mounted"):
        write(is_mended=False)
    # Its shards are of the earlier function, five rows of ten.
    with pytest.raises(ValueError, match="holds a store of other batches"):
        write(is_mended=True)


def test_a_full_disk_leaves_nothing_half(tmp_path, frames, monkeypatch):
    written = []

    def write_until_full(path, *args):
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        written.append(path)
        return write_rows(path, *args)

    write_rows = _write.write_rows
    monkeypatch.setattr(_write, "write_rows", write_until_full)
    with pytest.raises(OSError, match=r"disk of .* is full .*2 files are complete") as caught:
        write_crystals(tmp_path, batches_of(*frames), shard_rows=10)
    assert caught.value.errno == 28
    assert sorted(tmp_path.glob("*.parquet")) == sorted(written)
    monkeypatch.undo()
    store = write_crystals(tmp_path, batches_of(*frames), shard_rows=10)
    assert_same_crystals(store.load(), frames[0])


def test_other_batches_are_refused(store, frames):
    crystals, labels = frames
    others = [*batches_of(crystals, labels)[:1], (crystals[:10], labels[:10])]
    with pytest.raises(ValueError, match=r"other batches: shard-000001"):
        write_crystals(store.folder, others, shard_rows=10)
    with pytest.raises(ValueError, match="more batches than the 2"):
        write_crystals(store.folder, batches_of(crystals, labels)[:2], shard_rows=10)
    assert_same_crystals(open_crystals(store.folder).load(), crystals)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_of_the_reader_comes_out(tmp_path, frames, n_jobs):
    def broken():
        yield from batches_of(*frames)[:2]
        raise ValueError("Row 7 of frames.extxyz has no energy.")

    with pytest.raises(ValueError, match=r"Row 7 of frames\.extxyz"):
        write_crystals(tmp_path, broken(), n_jobs=n_jobs, shard_rows=10)
    assert len(list(tmp_path.glob("*.parquet"))) == 2


def test_batches_of_something_else(tmp_path, frames):
    for batches in (0.5, np.array(0.5)):
        with pytest.raises(TypeError, match=r"batches is of type \w+; expected an iterable"):
            write_crystals(tmp_path / "number", batches)
    crystals, labels = frames
    with pytest.raises(TypeError, match=r"Batch 1: It is of type list; expected Crystals"):
        write_crystals(tmp_path / "a", [crystals, crystals.to_structures()])
    with pytest.raises(ValueError, match=r"Batch 0: labels are of 40 frames and crystals of 39"):
        write_crystals(tmp_path / "b", [(crystals[:39], labels)])
    with pytest.raises(ValueError, match=r"Batch 0: Column 'gap' has shape \(3,\)"):
        write_crystals(tmp_path / "f", [(crystals, {"gap": [1, 2, 3]})])
    with pytest.raises(ValueError, match="some of its batches have labels"):
        write_crystals(tmp_path / "c", [(crystals, labels), crystals])
    with pytest.raises(ValueError, match="no crystals"):
        write_crystals(tmp_path / "d", [])
    with pytest.raises(ValueError, match="Batch 0: A column is named 'energy'"):
        write_crystals(tmp_path / "e", [(crystals, {"energy": np.zeros(N)})])


# Damaged stores.


def damaged_store(store, damage):
    damage(sorted(store.folder.glob("*.parquet"))[1])
    return store.folder


def test_a_shard_that_is_gone(store, frames):
    folder = damaged_store(store, Path.unlink)
    with pytest.raises(ValueError, match=r"lacks .*shard-000001-0000.parquet, .* 10 crystals"):
        open_crystals(folder)
    write_crystals(folder, batches_of(*frames), shard_rows=10)
    assert_same_crystals(open_crystals(folder).load(), frames[0])


def test_a_truncated_shard(store):
    folder = damaged_store(store, lambda path: path.write_bytes(path.read_bytes()[:-9]))
    with pytest.raises(ValueError, match=r"shard-000001-0000.parquet is not as it was written"):
        open_crystals(folder)


def test_an_altered_shard_is_named_when_it_is_read(store, frames):
    def flip(path):
        content = bytearray(path.read_bytes())
        content[200] ^= 1
        path.write_bytes(content)

    opened = open_crystals(damaged_store(store, flip))
    assert_same_crystals(opened[:10].load(), frames[0][:10])
    with pytest.raises(ValueError, match=r"shard-000001-0000.parquet .*checksum differs"):
        opened[10:20].load()
    write_crystals(store.folder, batches_of(*frames), shard_rows=10)
    assert_same_crystals(open_crystals(store.folder).load(), frames[0])


def altered(content, **changes):
    """Return a manifest whose first shard is another one."""
    first, *others = content["shards"]
    return json.dumps({**content, "shards": [first | changes, *others]})


def test_a_manifest_without_files(store):
    path = store.folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "shards": []}))
    with pytest.raises(ValueError, match=r"manifest.json names no files"):
        open_crystals(store.folder)


def test_a_file_in_place_of_the_folder(tmp_path, frames):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"folder='.*file' is a file; expected a folder"):
        write_crystals(tmp_path / "file", [frames])


def test_footers_are_kept_within_bounds_and_files_checked_once(store, frames, monkeypatch):
    monkeypatch.setattr(_reader, "CACHED_FOOTERS", 1)
    checked = []
    monkeypatch.setattr(
        _reader, "file_sha256", lambda path: checked.append(path) or file_sha256(path)
    )
    opened = open_crystals(store.folder)
    monkeypatch.setattr(_reader, "CACHE_BYTES", 1)
    assert_same_crystals(opened[::-7].load(), frames[0][::-7])
    assert_same_crystals(opened.load(), frames[0])
    assert len(opened._reader._footers) == 1
    assert len(checked) == len(set(checked)) == len(list(store.folder.glob("*.parquet")))


def test_a_few_rows_hold_no_block(store, frames):
    block, labels = store._reader.block(0, labels=True, info=True)
    crystals, few = store._reader.gather(np.array([0, 1]), labels=True, info=True)
    for array, of_block in ((crystals.positions, block.positions), (few.forces, labels.forces)):
        assert not np.shares_memory(array, of_block)
    assert_same_crystals(crystals, frames[0][:2])


def test_blocks_of_rows(store):
    rows = np.arange(len(store))
    np.testing.assert_array_equal(store[3:30].blocks, store[rows[3:30]].blocks)
    np.testing.assert_array_equal(store[3:30].blocks, store.blocks[3:30])
    mixed = np.array([20, 3, 11])
    np.testing.assert_array_equal(store[mixed].blocks, store.blocks[mixed])


def test_a_damaged_manifest(store):
    path = store.folder / "manifest.json"
    content = json.loads(path.read_text())
    for text in (
        "{",
        "[]",
        json.dumps({**content, "kind": "something"}),
        json.dumps({**content, "shards": [{"file": "a"}]}),
        *(altered(content, rows=rows) for rows in (0, -3, "10", 2.5)),
        json.dumps({**content, "block_rows": 0}),
        altered(content, file="../shard-000000-0000.parquet"),
        json.dumps({**content, "shards": content["shards"] + content["shards"][:1]}),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"manifest.json cannot be read"):
            open_crystals(store.folder)


def test_a_folder_without_a_store(tmp_path):
    with pytest.raises(FileNotFoundError, match="no store in"):
        open_crystals(tmp_path)


def test_blocks_stay_decoded_within_bounds(store, monkeypatch):
    monkeypatch.setattr(_reader, "CACHE_BYTES", 1)
    store.load()
    assert len(store._reader._blocks) == 1


def test_temporary_files_of_a_dead_writer_are_removed(store, frames):
    name = f".shard-000001-0000.parquet.{'0' * 8}-1-1.{'0' * 12}.new"
    stray = store.folder / name
    stray.write_bytes(b"half")
    os.utime(stray, (0, 0))
    write_crystals(store.folder, batches_of(*frames), shard_rows=10)
    assert not stray.exists()
