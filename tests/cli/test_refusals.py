"""Commands that cannot run: one line says why, and nothing is written."""

import io
import sys
from pathlib import Path

import pandas as pd
import pytest

from gnnpre import (
    CGCNN,
    EAD,
    FingerprintTargets,
    Pretrainer,
)
from gnnpre.cli import main
from gnnpre.cli._main import group
from gnnpre.cli._writing import write_table
from gnnpre.datasets import make_emt_property

FAST = ["--max-epochs", "1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch-size", "-1"], "batch_size=-1"),
        (["--patience", "2", "--validation-fraction", "0"], "patience=2"),
        (["--cv", "0", "--learning-rate", "nan"], "learning_rate=nan"),
        (["--device", "gpu"], "device='gpu'"),
    ],
)
def test_a_training_that_cannot_run_leaves_no_folder(folder, tmp_path, capsys, options, message):
    command = ["train", str(folder / "labels.csv"), "--target", "K", "-o", str(tmp_path / "out")]
    assert main([*command, *options]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_refused_before_any_work(folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    command = ["train", str(folder / "labels.csv"), "--target", "K"]
    for output in (tmp_path / "file", tmp_path / "file" / "out", "a\0b"):
        assert main([*command, "-o", str(output)]) == 2
        captured = capsys.readouterr().err
        assert "Error: --output" in captured.splitlines()[-1]
        assert "Fold 1" not in captured


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is a file system without new files")
def test_where_no_file_can_be_made_nothing_is_computed(folder, model, capsys):
    train = ["train", str(folder / "labels.csv"), "--target", "K"]
    predict = ["predict", str(model / "model.gnnpre"), str(folder / "*.cif")]
    for command in (train, predict):
        assert main([*command, "-o", "/proc/new.csv"]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert "--output /proc/new.csv: no file can be made there" in lines[-1]
        assert not any(line.startswith("Fold") for line in lines)


def test_a_letter_that_the_terminal_lacks_is_named(monkeypatch, tmp_path, capsys):
    written = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    table = pd.DataFrame({"prediction": [1.0, 2.0]}, index=["a", "\u6676\u4f53"])
    monkeypatch.setattr(sys, "stdout", written)
    monkeypatch.setattr(group, "main", lambda *_, **__: write_table(table, "-"))
    assert main([]) == 2
    written.flush()
    assert written.buffer.getvalue() == b""  # nor the rows before it
    message = capsys.readouterr().err
    assert "encoding of the output, " in message
    assert "PYTHONUTF8=1" in message


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="a device of Linux")
def test_a_full_disk_is_one_line(folder, model, capsys):
    command = ["predict", str(model / "model.gnnpre"), str(folder / "*.cif"), "-o", "/dev/full"]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1] == (
        "Error: No space left on device: free some, or name another --output."
    )
    assert Path("/dev/full").is_char_device()


def test_a_command_without_arguments_shows_its_help(capsys):
    for command in ([], ["study"]):
        assert main(command) == 2
        assert capsys.readouterr().err.startswith(f"Usage: {' '.join(['gnnpre', *command])}")


def test_an_error_is_one_line(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("file,K\na.cif,1\nb.cif,2,3,4\n")  # pandas ends it with \n\n
    assert main(["convert", str(tmp_path / "t.csv"), "-o", str(tmp_path / "c.extxyz")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "Expected 2 fields in line 3, saw 4" in lines[0]


def nonsense(folder, model, force_field, tmp_path):
    table, model = str(folder / "labels.csv"), str(model / "model.gnnpre")
    cifs = str(folder / "*.cif")
    texts, empty, config = tmp_path / "texts", tmp_path / "empty", tmp_path / "bad.toml"
    texts.mkdir()
    empty.mkdir()
    (texts / "notes.txt").write_text("nothing")
    config.write_text("max_epoch = 3\n")
    configs = {
        "section": "[train]\nmax_epochs = 3\n",
        "list": "max_epochs = [1, 2]\n",
        "date": "max_epochs = 2026-11-26\n",
    }
    for name, content in configs.items():
        (tmp_path / f"{name}.toml").write_text(content)
    train = ["train", table, "--target"]
    config_of = {
        name: [*train, "K", "--config", str(tmp_path / f"{name}.toml")] for name in configs
    }
    return {
        "no such file": (["predict", model, str(tmp_path / "missing.cif")], "missing.cif"),
        "no files": (["predict", model, str(empty)], "empty"),
        "texts": (["predict", model, str(texts)], "texts"),
        "no model": (["predict", table, cifs], "labels.csv"),
        "missing model": (["predict", str(tmp_path / "x.gnnpre"), cifs], "x.gnnpre"),
        "model of another kind": (["relax", model, cifs], "Pretrainer"),
        "intervals of a force field": (
            ["predict", force_field, cifs, "--return-std"],
            "--return-std",
        ),
        "missing column": ([*train, "bulk"], "--target bulk"),
        "missing groups": ([*train, "K", "--groups", "g"], "--groups g"),
        "output is the source": (["predict", model, table, "-o", table], "is SOURCE itself"),
        "output is the model": (
            ["predict", force_field, cifs, "-o", force_field],
            "is MODEL itself",
        ),
        "embeddings over the source": (["embed", model, table, "-o", table], "is SOURCE itself"),
        "conversion onto itself": (["convert", cifs, "-o", str(folder)], "is SOURCE itself"),
        "conversion of a folder": (["convert", str(folder), "-o", str(folder)], "SOURCE itself"),
        "empty groups": ([*train, "K", "--groups", "batch"], "are empty, the first of id alloy1;"),
        "texts as numbers": ([*train, "hard"], "no finite number, the first 'yes' (id alloy0"),
        "target twice": ([*train, "K", "--target", "K"], "name each column once"),
        "target named as a fold": ([*train, "fold"], "predictions.csv has a column 'fold'"),
        "target named as a prediction": (
            [*train, "K", "--target", "K_predicted"],
            "predictions.csv has a column 'K_predicted'",
        ),
        "empty output": ([*train, "K", "-o", ""], "--output ''"),
        "output is a file": ([*train, "K", "-o", model], "is a file"),
        "checkpoints in a file": ([*train, "K", "--checkpoint-dir", model], "--checkpoint-dir"),
        "empty source": (["convert", ""], "SOURCE is an empty text"),
        "model as crystals": (["predict", model, model], "is a model file"),
        "negative seed": ([*train, "K", "--random-state", "-1"], "--random-state"),
        "bad parameter": ([*train, "K", "--learning-rate", "-1"], "learning_rate"),
        "output in no folder": (
            ["predict", model, cifs, "-o", str(tmp_path / "a" / "b.csv")],
            "no folder",
        ),
        "spreadsheet": (
            ["predict", model, cifs, "-o", "out.xlsx"],
            "out.xlsx: expected a name that ends in .csv",
        ),
        "table as a picture": (["embed", model, cifs, "-o", "out.png"], "ends in .csv or .parquet"),
        "output is a folder": (["predict", model, cifs, "-o", str(empty)], "is a folder"),
        "unknown option of a file": (
            [*train, "K", "--config", str(config)],
            "max_epoch is not an option of gnnpre train; did you mean max_epochs?",
        ),
        "section of a file": (config_of["section"], "[train] is a section"),
        "list in a file": (config_of["list"], "max_epochs takes one value, not a list"),
        "date in a file": (config_of["date"], "is not a number or text"),
        "folder as a file": ([*train, "K", "--config", str(texts)], "cannot be read as TOML"),
        "unknown format": (["convert", cifs, "-o", str(tmp_path / "a.pdf")], "a.pdf"),
        "format of relaxed crystals": (["relax", force_field, cifs, "-o", "a.pdf"], "a.pdf"),
        "no target": (["train", table], "Missing option '--target'"),
        "frames from a pattern": (["pretrain", cifs, "--objective", "forces"], "no such file"),
        "unknown command": (["trian"], "trian"),
        "one fold": ([*train, "K", "--cv", "1"], "0 for none"),
        "too many folds": ([*train, "K", "--cv", "500"], "23 crystals with a label"),
        "more folds than groups": ([*train, "K", "--groups", "group", "--cv", "9"], "8 groups"),
        "more folds than crystals of a class": (
            [*train, "hard", "--task", "classification", "--cv", "20"],
            "crystals of class",
        ),
        "classes of whole numbers": (
            [*train, "group", "--task", "classification", "--cv", "20"],
            "3 crystals of class 0;",
        ),
        "numbers as classes": (
            [*train, "K", "--task", "classification", "--cv", "2"],
            "expected classes. Learn numbers with --task regression.",
        ),
        "structures in another column": (
            [*train, "K", "--structure-column", "where"],
            "Error: --structure-column 'where': ",
        ),
        "two classes of targets": (
            [*train, "hard", "--target", "K", "--task", "classification"],
            "one --target",
        ),
        "size of no network": ([*train, "K", "--n-layers", "2"], "--backbone"),
        "time without a unit": ([*train, "K", "--max-time", "soon"], "max_time='soon'"),
        "unknown scorer": ([*train, "K", "--epoch-scoring", "mae"], "epoch_scoring"),
        "nothing to predict": (
            [*train, "K", "--predict", str(empty)],
            "--predict: There are no files",
        ),
        "two cutoffs of a pre-training": (
            ["pretrain", cifs, "--cutoff", "4", "--pretrained", model],
            "own cutoff",
        ),
        "nothing to go on with": (
            ["pretrain", cifs, "--pretrained", model],
            "--pretrained without --objective",
        ),
        "two networks": (
            ["pretrain", cifs, "--objective", "ead", "--backbone", "cgcnn", "--pretrained", model],
            "backbone and pretrained are both given",
        ),
        "a model in place of its source": (
            ["pretrain", cifs, "--pretrained", model, "-o", model],
            "--pretrained",
        ),
        "no such model to train, before crystals are read": (
            ["train", "missing.csv", "--target", "K", "--pretrained", "missing.gnnpre"],
            "There is no model 'missing.gnnpre'",
        ),
        "no such model to go on from, before crystals are read": (
            ["pretrain", "missing", "--objective", "ead", "--pretrained", "missing.gnnpre"],
            "There is no model 'missing.gnnpre'",
        ),
        "two cutoffs": ([*train, "K", "--cutoff", "4", "--pretrained", model], "own cutoff"),
    }


def test_nonsense_prints_what_is_wrong_and_writes_nothing(
    folder, model, force_field, tmp_path, capsys, monkeypatch
):
    cases = nonsense(folder, model, force_field, tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for name, (command, text) in cases.items():
        options = FAST if command[0] == "train" else []
        assert main([*command, *options]) == 2, name
        error = capsys.readouterr().err
        assert text in error, (name, error)
        # Lines about warnings and progress may come before the one line about the error.
        lines = [line for line in error.splitlines() if not line.startswith(("Warning", "Fold"))]
        assert lines[-1].startswith("Error: "), (name, error)
        assert len(lines) == 1 or lines[0].endswith("left out."), (name, error)
    assert [path for path in work.rglob("*") if path.is_file()] == []


def test_fingerprint_models_have_no_table(folder, tmp_path, capsys):
    structures, _ = make_emt_property(12, random_state=0)
    path = tmp_path / "ead.gnnpre"
    pretrainer = Pretrainer(CGCNN(8, 1), FingerprintTargets(EAD()), max_epochs=1, random_state=0)
    pretrainer.fit(structures).save(path)
    assert main(["predict", str(path), str(folder / "*.cif")]) == 2
    assert "embed" in capsys.readouterr().err
