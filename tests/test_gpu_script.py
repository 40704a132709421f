"""benchmarks/gpu/run.sh where there is no GPU."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("tests", "steps", "neighbors", "pipeline", "pretraining")


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
