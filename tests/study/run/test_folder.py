"""Files of a study's folder, and locks."""

import json
import os

import numpy as np
import pytest

from gnnpre import _atomic
from gnnpre._atomic import write_file
from gnnpre._claims import claimed
from gnnpre.study.run._folder import StudyFolder, write_json


def test_file_is_the_old_one_until_all_of_the_new_one_is_written(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_file(path, b"old")
    seen = []
    replace = os.replace
    monkeypatch.setattr(os, "fsync", lambda _: seen.append(path.read_bytes()))
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append(a.read_bytes()), replace(a, b)))
    write_file(path, b"new")
    assert seen[:2] == [b"old", b"new"]
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_file(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_numbers_that_are_not_finite_become_null(tmp_path):
    content = {"a": [1.0, float("nan")], "b": np.array([np.inf, 2.0]), "c": np.float32(0.5)}
    write_json(tmp_path / "a.json", content)
    read = json.loads((tmp_path / "a.json").read_text())
    assert read == {"a": [1.0, None], "b": [None, 2.0], "c": 0.5}


def leave_half_written(path):
    """Write what a process that was killed leaves."""
    if (child := os.fork()) == 0:
        _atomic._temporary_path(path, "0" * 12, "new").write_text("half")
        os._exit(0)
    os.waitpid(child, 0)


@pytest.mark.parametrize("name", ["study.json", "data/a.json", "pretrained/k.gnnpre"])
def test_the_next_start_removes_what_killed_processes_left(tmp_path, name):
    StudyFolder(tmp_path).create()
    leave_half_written(tmp_path / name)
    StudyFolder(tmp_path).create()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_record_takes_away_what_a_killed_job_left(tmp_path):
    folder = StudyFolder(tmp_path)
    folder.create()
    leave_half_written(tmp_path / "records/k.json")
    leave_half_written(tmp_path / "pretrained/k.gnnpre")
    (tmp_path / "failures/k.json").write_text("{}")
    alive = _atomic._temporary_path(tmp_path / "records/other.json", "0" * 12, "new")
    alive.write_text("of a job that still runs")
    folder.checkpoints("k").mkdir()
    folder.write_record({"key": "k"})
    names = sorted(
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()
    )
    assert names == [f"records/{alive.name}", "records/k.json"]
    assert not folder.checkpoints("k").exists()


def test_lock_is_held_by_one_at_a_time(tmp_path):
    path = tmp_path / "job.lock"
    with claimed(path) as first, claimed(path) as second:
        assert (first, second) == (True, False)
    with claimed(path) as again:
        assert again
