"""benchmarks/gpu/run.sh where there is no GPU."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.gpu.tests import outcome

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("tests", "steps", "small_batches", "neighbors", "pipeline", "pretraining")


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a GPU")
def test_every_part_is_skipped_by_name_without_a_gpu(tmp_path):
    command = ["bash", "benchmarks/gpu/run.sh", "--out", str(tmp_path)]
    done = subprocess.run(
        ["env", f"PYTHON={sys.executable}", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    report = (tmp_path / "report.md").read_text()
    for name in PARTS:
        assert f"{name}: skipped: torch sees no GPU" in done.stdout
        assert f"## {name}" in report
    assert report.count("skipped: torch sees no GPU") == len(PARTS)


@pytest.mark.skipif(sys.platform == "win32", reason="needs bash")
def test_an_unknown_part_is_an_error():
    command = ["bash", "benchmarks/gpu/run.sh", "--only", "steps,speed"]
    done = subprocess.run(
        ["env", f"PYTHON={sys.executable}", *command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "['speed']; expected some of tests, steps" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs process groups")
def test_what_has_passed_by_the_time_limit_counts(tmp_path):
    log = tmp_path / "tests.log"
    code = "import time; print('..s', flush=True); print('.F', flush=True); time.sleep(60)"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=output, start_new_session=True
        )
        text = outcome(process, 8.0, log)
    assert re.match(r"ended after \d+ s: 3 passed, 1 failed, 1 skipped so far", text)
