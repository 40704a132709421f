"""Studies that are killed at any moment, and processes that share a folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from study.small_studies import records_of

N_JOBS = 1 + 2 * (2 + 3 + 2 + 1)
SCRIPT = Path(__file__).with_name("killed_studies.py")


@pytest.fixture(scope="module")
def studies(tmp_path_factory) -> Path:
    """Folder of the studies that the script ran."""
    folder = tmp_path_factory.mktemp("killed")
    # The folder of the tests is on the path, as pytest puts it there.
    paths = os.pathsep.join([str(SCRIPT.parents[2]), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)],
        check=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    return folder


def leftovers(folder):
    hidden = [path for path in folder.rglob(".*") if path.is_file()]
    return [*hidden, *folder.rglob("*.partial-*"), *(folder / "checkpoints").iterdir()]


def differences(first, second):
    """Return the fields that differ, by the name of the record, so that a failure shows them."""
    names = sorted({*first, *second})
    pairs = {name: (first.get(name, {}), second.get(name, {})) for name in names}
    return {
        name: {key: (a.get(key), b.get(key)) for key in {*a, *b} if a.get(key) != b.get(key)}
        for name, (a, b) in pairs.items()
        if a != b
    }


def test_killed_study_ends_with_the_records_of_the_uninterrupted_one(studies):
    whole = records_of(studies / "whole")
    assert len(whole) == N_JOBS
    assert differences(records_of(studies / "killed"), whole) == {}


def test_kills_hit_an_unfinished_study(studies):
    log = json.loads((studies / "log.json").read_text())["kills"]
    halfway = {kill["done"] for kill in log if kill["done"] < N_JOBS}
    assert len(halfway) >= 3
    assert log[0]["status"] == -9


def test_processes_that_share_a_folder_do_each_job_once(studies):
    shared = json.loads((studies / "log.json").read_text())["shared"]
    assert shared["statuses"] == [-9, 0, 0]
    first, second = map(set, shared["done"])
    started, done = (
        {line.split()[2].rstrip(":") for line in shared["victim"] if f" {word} " in line}
        for word in ("start", "done")
    )
    assert not first & second
    assert not (first | second) & done
    # What the two have not done was done by the process that was killed.
    everything = {Path(name).stem for name in records_of(studies / "shared")}
    assert done <= everything - first - second <= started
    assert len(started) >= 2


def test_records_of_a_shared_folder_are_whole_and_the_same(studies):
    assert differences(records_of(studies / "shared"), records_of(studies / "whole")) == {}


@pytest.mark.parametrize("name", ["whole", "killed", "shared"])
def test_nothing_half_written_is_left(studies, name):
    assert leftovers(studies / name) == []
