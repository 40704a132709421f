"""``gnnpre study``."""

import pytest

from gnnpre.cli import main
from study.small_studies import write_table

TEXT = """
name = "small"
data = [{name = "alloys", path = "alloys.json"}]
seeds = [1]
baselines = ["mean"]
graphs = {cutoff = 3.5}
finetuning = {max_epochs = 1}
[backbones.tiny]
class = "CGCNN"
hidden_channels = 8
n_layers = 1
[strategies.scratch]
"""


@pytest.fixture
def study(tmp_path):
    write_table(tmp_path / "alloys.json")
    (tmp_path / "study.toml").write_text(TEXT)
    return tmp_path / "study.toml"


def test_run_does_the_jobs_and_writes_the_report(study, tmp_path, capsys):
    assert main(["study", "run", str(study), "--folder", str(tmp_path / "run"), "--report"]) == 0
    output = capsys.readouterr().err
    assert "done  " in output
    assert "2 jobs done, 0 before, 0 failed." in output
    assert {"report.md", "report.html"} <= {path.name for path in (tmp_path / "run").iterdir()}
    (tmp_path / "run/report.md").unlink()
    assert main(["study", "report", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run/report.md").is_file()


def test_estimate_prints_a_table_and_makes_no_folder(study, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["study", "run", str(study), "--estimate", "--folder", str(folder)]) == 0
    assert "core-hours" in capsys.readouterr().out
    assert not folder.exists()


def test_failures_are_listed_and_make_the_status_one(study, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("gnnpre.study.run._runner.evaluate", lambda *_: 1 / 0)
    assert main(["study", "run", str(study), "--folder", str(tmp_path / "run")]) == 1
    output = capsys.readouterr().err
    assert "0 jobs done, 0 before, 2 failed." in output
    assert output.count("ZeroDivisionError: division by zero") == 4  # as they come, and at the end


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "STUDY"], "--folder is missing"),
        (["run", "nothing.toml", "--folder", "x"], "no study file 'nothing.toml'"),
        (["run", "STUDY", "--folder", "x", "--only", "et"], "only has 'et'"),
        (["report", "nothing"], "no study.json"),
    ],
)
def test_mistake_is_a_line_and_makes_the_status_two(study, tmp_path, capsys, arguments, message):
    filled = [str(study) if word == "STUDY" else word for word in arguments]
    assert main(["study", *filled]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
