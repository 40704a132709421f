"""Files of a study's folder, and locks."""

import json
import os

import numpy as np
import pytest

from gnnpre.study.run._claims import claimed
from gnnpre.study.run._folder import StudyFolder, write_atomically, write_json


def test_file_is_the_old_one_until_all_of_the_new_one_is_written(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_atomically(path, b"old")
    seen = []
    replace = os.replace
    monkeypatch.setattr(os, "fsync", lambda _: seen.append(path.read_bytes()))
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append(a.read_bytes()), replace(a, b)))
    write_atomically(path, b"new")
    assert seen == [b"old", b"new"]
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_numbers_that_are_not_finite_become_null(tmp_path):
    content = {"a": [1.0, float("nan")], "b": np.array([np.inf, 2.0]), "c": np.float32(0.5)}
    write_json(tmp_path / "a.json", content)
    read = json.loads((tmp_path / "a.json").read_text())
    assert read == {"a": [1.0, None], "b": [None, 2.0], "c": 0.5}


def test_record_takes_away_what_a_killed_job_left(tmp_path):
    folder = StudyFolder(tmp_path)
    folder.create()
    for left in ("records/.k.json.123", "pretrained/k.gnnpre.partial-1", "failures/k.json"):
        (tmp_path / left).write_text("half")
    (tmp_path / "records/.other.json.123").write_text("of a job that still runs")
    folder.checkpoints("k").mkdir()
    folder.write_record({"key": "k"})
    names = sorted(
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()
    )
    assert names == ["records/.other.json.123", "records/k.json"]
    assert not folder.checkpoints("k").exists()


def test_lock_is_held_by_one_at_a_time(tmp_path):
    path = tmp_path / "job.lock"
    with claimed(path) as first, claimed(path) as second:
        assert (first, second) == (True, False)
    with claimed(path) as again:
        assert again
