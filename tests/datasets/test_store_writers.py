"""Stores whose writer was interrupted, is called again, or gets other batches."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from gnnpre.datasets import (
    open_crystals,
    write_crystals,
)
from gnnpre.datasets._store import _write
from store_cases import N, assert_same_crystals, batches_of

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
