"""Each example runs at its smallest scale, in a folder of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"
NEEDS_DATA = {"plot_real_crystals.py"}


def run_example(name: str, folder: Path) -> str:
    environment = {**os.environ, "GNNPRE_SCALE": "smallest", "MPLBACKEND": "Agg"}
    command = [sys.executable, str(EXAMPLES / name)]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


WITHOUT_DATA = {
    "plot_quickstart.py",
    "plot_five_objectives.py",
    "plot_fingerprints.py",
    "plot_pruning_search.py",
    "plot_pretraining_in_folds.py",
    "plot_nested_cv.py",
    "plot_study.py",
}


def errors_printed(printed: str) -> list[str]:
    """Names on the lines that say ``MAE name ...``."""
    return [line.split()[1] for line in printed.splitlines() if line.startswith("MAE")]


def test_every_example_is_tested():
    assert {path.name for path in EXAMPLES.glob("*.py")} == NEEDS_DATA | WITHOUT_DATA


def test_quickstart(tmp_path):
    printed = run_example("plot_quickstart.py", tmp_path)
    assert errors_printed(printed) == ["mean", "scratch", "pre-trained"]
    assert (tmp_path / "quickstart_parity.png").stat().st_size > 5000


def test_five_objectives(tmp_path):
    printed = run_example("plot_five_objectives.py", tmp_path)
    expected = ["scratch", "forces", "denoising", "EAD", "wACSF", "mixture"]
    assert errors_printed(printed) == expected
    assert (tmp_path / "five_objectives.png").stat().st_size > 5000


def test_fingerprints(tmp_path):
    printed = run_example("plot_fingerprints.py", tmp_path)
    assert errors_printed(printed) == ["mean", "EAD", "wACSF", "GMP", "all"]
    assert "mean_g2_eta4_rs1" in printed
    assert (tmp_path / "fingerprints_parity.png").stat().st_size > 5000


def test_pretraining_in_folds(tmp_path):
    printed = run_example("plot_pretraining_in_folds.py", tmp_path)
    assert printed.count("MAE pre-trained") == 2
    states = list((tmp_path / "pretraining_in_folds").glob("*.safetensors"))
    assert len(states) == 3, "one pre-training a fold"
    assert (tmp_path / "pretraining_in_folds.png").stat().st_size > 5000


def test_nested_cv(tmp_path):
    printed = run_example("plot_nested_cv.py", tmp_path)
    assert errors_printed(printed) == ["compositions", "random"]
    assert (tmp_path / "nested_cv.png").stat().st_size > 5000


def test_study(tmp_path):
    printed = run_example("plot_study.py", tmp_path)
    assert "jobs done: 11, and then 0" in printed
    assert "cgcnn ead" in printed
    assert (tmp_path / "runs" / "report.html").stat().st_size > 10_000


def test_real_crystals(tmp_path, data_dir):
    assert (data_dir / "upstream").is_dir()
    run_example("plot_real_crystals.py", tmp_path)
    table = (tmp_path / "real_crystals.md").read_text(encoding="utf-8")
    assert "| pre-trained |" in table
    assert (tmp_path / "real_crystals_parity.png").stat().st_size > 5000


def test_pruning_search(tmp_path):
    printed = run_example("plot_pruning_search.py", tmp_path)
    assert re.search(r"^[1-5] trials scored, \d pruned$", printed, re.M)
    assert re.search(r"^epochs: \d+ of 40$", printed, re.M)
    assert "MAE of the" in printed
    assert (tmp_path / "pruning_search_epochs.png").stat().st_size > 5000


def test_examples_say_what_they_are():
    for path in EXAMPLES.glob("*.py"):
        assert path.read_text(encoding="utf-8").startswith('"""\n'), path
        assert path.name.startswith("plot_"), path
