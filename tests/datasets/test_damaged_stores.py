"""Stores with damaged files, and the bounds of what a reader keeps in memory."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from gnnpre.datasets import (
    open_crystals,
    write_crystals,
)
from gnnpre.datasets._store import _reader
from gnnpre.datasets._store._manifest import file_sha256
from store_cases import assert_same_crystals, batches_of


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


def test_a_store_that_is_written_anew_under_an_open_one(tmp_path, frames):
    crystals, numbers = frames[0], np.random.default_rng(0).normal(size=len(frames[0]))
    folder = tmp_path / "property"
    store = write_crystals(folder, [(crystals, {"gap": numbers})])
    np.testing.assert_array_equal(store.info["gap"], numbers)
    shutil.rmtree(folder)
    write_crystals(folder, [(crystals, {"gap": -numbers})])  # of the same size
    for read in (lambda: store.info["gap"], store.load):
        with pytest.raises(ValueError, match="is not as it was written"):
            read()


def test_files_that_are_copied_back_under_an_open_store(store, frames):
    path = sorted(store.folder.glob("*.parquet"))[0]
    content = path.read_bytes()
    assert_same_crystals(store.load(), frames[0])
    path.unlink()
    path.write_bytes(content)
    assert_same_crystals(store.load(), frames[0])


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
