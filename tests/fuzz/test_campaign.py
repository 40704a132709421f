"""A small campaign and a few kills in each run of the tests; `make fuzz kills` runs many."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900
    )


def test_strange_inputs_give_clear_errors_or_right_results():
    done = run("tests.fuzz", "--inputs", "60", "--seed", "0")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "| sum |" in done.stdout


def test_nothing_is_lost_by_kills():
    done = run("tests.fuzz.kills", "--saves", "20", "--trainings", "4")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert '"kills": 20' in done.stdout
