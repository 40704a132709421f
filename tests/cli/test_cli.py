"""The command line as a user types it: files in, files out, one line for what is wrong."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

from gnnpre import (
    CGCNN,
    EAD,
    FingerprintTargets,
    ForceField,
    Pretrainer,
    PropertyRegressor,
    SchNet,
    TorchMDNet,
)
from gnnpre.cli import main
from gnnpre.cli._main import COMMANDS
from gnnpre.datasets import make_emt_frames, make_emt_property, read_frames, read_structures

FAST = ["--max-epochs", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of CIF files with a table of labels, one row of them without a label."""
    path = tmp_path_factory.mktemp("cifs")
    structures, y = make_emt_property(24, random_state=0, max_atoms=4)
    for number, structure in enumerate(structures):
        structure.to(str(path / f"alloy{number}.cif"))
    names = [f"alloy{number}.cif" for number in range(24)]
    table = pd.DataFrame({"file": names, "K": y, "hard": np.where(y > np.median(y), "yes", "no")})
    table["group"] = [number // 3 for number in range(24)]
    table.loc[5, "K"] = np.nan
    table.to_csv(path / "labels.csv", index=False)
    return path


@pytest.fixture(scope="module")
def model(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("model") / "out"
    command = ["train", str(folder / "labels.csv"), "--target", "K", "--cv", "3", *FAST]
    assert main([*command, "--calibration-fraction", "0.4", "--output", str(output)]) == 0
    return output


@pytest.fixture(scope="module")
def force_field(tmp_path_factory):
    frames, labels = make_emt_frames(12, random_state=0)
    path = tmp_path_factory.mktemp("forces") / "forces.gnnpre"
    pretrainer = Pretrainer(CGCNN(8, 1), ForceField(), max_epochs=1, random_state=0)
    pretrainer.fit(frames, labels).save(path)
    return str(path)


def test_training_writes_model_predictions_and_errors(model):
    table = pd.read_csv(model / "predictions.csv", index_col="id")
    assert len(table) == 23
    assert set(table.index) == {f"alloy{number}" for number in range(24)} - {"alloy5"}
    assert set(table["fold"]) == {0, 1, 2}
    metrics = json.loads((model / "metrics.json").read_text())
    errors = metrics["cross_validation"]
    direct = np.abs(table["K"] - table["K_predicted"]).mean()
    assert errors["mean_absolute_error"] == pytest.approx(direct)
    assert errors["mean_absolute_error_of_median"] > 0


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


def test_training_writes_a_report_of_the_predictions(model):
    html = (model / "report.html").read_text()
    errors = json.loads((model / "metrics.json").read_text())["cross_validation"]
    assert f"{errors['mean_absolute_error']:.2f}" in html
    assert "one of 3 models that had not seen it" in html
    table = pd.read_csv(model / "predictions.csv", index_col="id")
    assert f">{(table['K'] - table['K_predicted']).abs().idxmax()}</th>" in html
    assert "http" not in html


def test_options_of_the_network_reach_the_estimator(folder, tmp_path):
    size = ["--backbone", "schnet", "--hidden-channels", "8", "--n-layers", "1", "--cutoff", "4"]
    scoring = ["--epoch-scoring", "r2", "--max-time", "1h", "--cv", "0"]
    command = ["train", str(folder / "labels.csv"), "--target", "K", *FAST, *size, *scoring]
    assert main([*command, "-o", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.gnnpre", "metrics.json"}
    model = PropertyRegressor.load(tmp_path / "out" / "model.gnnpre")
    assert model.spec_.backbone.get_params() == SchNet(8, 1).get_params()
    assert model.graph_settings_.cutoff == 4.0
    assert "valid_r2" in model.history_[0]


def test_several_targets_keep_their_names(folder, tmp_path):
    table = pd.read_csv(folder / "labels.csv")
    table["half K"] = table["K"] / 2
    table.loc[7, "half K"] = np.nan
    table["file"] = [str(folder / name) for name in table["file"]]
    table.to_csv(tmp_path / "two.csv", index=False)
    command = ["train", str(tmp_path / "two.csv"), "--target", "K", "--target", "half K", *FAST]
    output = tmp_path / "out"
    assert main([*command, "--cv", "2", "--structure-column", "file", "-o", str(output)]) == 0
    predictions = pd.read_csv(output / "predictions.csv", index_col="id")
    names = ["K", "K_predicted", "half K", "half K_predicted", "fold"]
    assert list(predictions.columns) == names
    errors = json.loads((output / "metrics.json").read_text())["cross_validation"]
    direct = np.nanmean(np.abs(predictions["half K"] - predictions["half K_predicted"]))
    assert errors["half K mean_absolute_error"] == pytest.approx(direct)
    assert {path.name for path in output.glob("*.html")} == {"report_K.html", "report_half_K.html"}


def test_a_broken_file_among_many_is_left_out_of_a_training(folder, tmp_path, capsys):
    table = pd.read_csv(folder / "labels.csv").iloc[:12].copy()
    table["file"] = [str(folder / name) for name in table["file"]]
    (tmp_path / "broken.cif").write_text("data_nothing\n")
    table.loc[3, "file"] = str(tmp_path / "broken.cif")
    table.to_csv(tmp_path / "labels.csv", index=False)
    command = ["train", str(tmp_path / "labels.csv"), "--target", "K", "--cv", "2", *FAST]
    assert main([*command, "-o", str(tmp_path / "out")]) == 1
    predictions = pd.read_csv(tmp_path / "out" / "predictions.csv")
    # Row 3 is broken, and row 5 has no label.
    assert len(predictions) == 10
    expected = table["K"].drop([3, 5])
    np.testing.assert_allclose(predictions["K"], expected)
    assert "Skipped Row 3" in capsys.readouterr().err


def test_one_command_also_predicts_other_crystals(folder, tmp_path, capsys):
    new = tmp_path / "new"
    new.mkdir()
    for number in range(3):
        (new / f"{number}.cif").write_text((folder / f"alloy{number}.cif").read_text())
    (new / "3.cif").write_text("broken")
    command = ["train", str(folder / "labels.csv"), "--target", "K", "--cv", "0", *FAST]
    output = tmp_path / "out"
    assert main([*command, "--predict", str(new), "-o", str(output)]) == 1
    assert "Skipped" in capsys.readouterr().err
    table = pd.read_csv(output / "new_predictions.csv", index_col="id")
    assert table.index.tolist() == [0, 1, 2]
    crystals, _, _ = read_structures(new, errors="skip")
    expected = PropertyRegressor.load(output / "model.gnnpre").predict(crystals)
    np.testing.assert_allclose(table["K_predicted"], np.ravel(expected), rtol=1e-6)


def test_progress_names_the_unit(folder, tmp_path, capsys):
    command = ["train", str(folder / "labels.csv"), "--target", "K", "--cv", "2", *FAST]
    assert main([*command, "--unit", "GPa", "-o", str(tmp_path / "out")]) == 0
    epochs = [line for line in capsys.readouterr().err.splitlines() if "epoch 1/1" in line]
    assert [" GPa)" in line for line in epochs] == [True] * 3
    # It is forgotten at the end of the command.
    assert main([*command, "--cv", "0", "-o", str(tmp_path / "out")]) == 0
    assert "in the unit of y" in capsys.readouterr().err


def test_errors_go_to_stdout_and_progress_to_stderr(folder, tmp_path, capsys):
    command = ["train", str(folder / "labels.csv"), "--target", "K", "--cv", "2", *FAST]
    assert main([*command, "-o", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    lines = dict(line.split("\t") for line in captured.out.splitlines())
    assert set(lines) == {"mean_absolute_error", "mean_absolute_error_of_median", "r2"}
    assert "Fold 2 of 2" in captured.err
    assert "1 rows without K are left out" in captured.err


def test_predictions_equal_those_of_the_estimator(folder, model, tmp_path):
    output = tmp_path / "predictions.csv"
    arguments = [str(model / "model.gnnpre"), str(folder / "*.cif"), "-o", str(output)]
    assert main(["predict", *arguments, "--return-std", "--confidence", "0.8"]) == 0
    table = pd.read_csv(output, index_col="id")
    regressor = PropertyRegressor.load(model / "model.gnnpre")
    crystals, _ = read_structures(str(folder / "*.cif"))
    np.testing.assert_allclose(table["K_predicted"], regressor.predict(crystals)["K"], rtol=1e-5)
    assert (table["K_lower"] < table["K_upper"]).all()
    assert (table["K_std"] > 0).all()


@pytest.fixture
def small_sets(folder):
    crystals, _ = read_structures(str(folder / "*.cif"))
    return crystals, [np.arange(float(count)) for count in crystals.n_atoms]


def test_values_of_atoms(folder, small_sets, tmp_path):
    crystals, y = small_sets
    model = PropertyRegressor(CGCNN(8, 1), target="atom", max_epochs=1, random_state=0)
    model.fit(crystals, y).save(tmp_path / "atoms.gnnpre")
    expected = model.predict(crystals)
    command = ["predict", str(tmp_path / "atoms.gnnpre"), str(folder / "*.cif"), "-o"]
    assert main([*command, str(tmp_path / "atoms.csv")]) == 0
    table = pd.read_csv(tmp_path / "atoms.csv")
    np.testing.assert_allclose(json.loads(table["prediction"][0]), expected[0], rtol=1e-6)
    assert main([*command, str(tmp_path / "atoms.extxyz")]) == 0
    _, labels = read_frames(tmp_path / "atoms.extxyz")
    np.testing.assert_allclose(labels.per_atom("prediction")[1], expected[1], rtol=1e-6)


def test_columns_of_tables_and_tensors(folder, small_sets, tmp_path):
    crystals, _ = small_sets
    rng = np.random.default_rng(0)
    y = pd.DataFrame(rng.normal(size=(len(crystals), 2)), columns=["gap", "K"])
    model = PropertyRegressor(CGCNN(8, 1), max_epochs=1, random_state=0)
    model.fit(crystals, y).save(tmp_path / "two.gnnpre")
    command = ["predict", str(tmp_path / "two.gnnpre"), str(folder / "*.cif"), "-o"]
    assert main([*command, str(tmp_path / "two.csv")]) == 0
    table = pd.read_csv(tmp_path / "two.csv", index_col="id")
    assert list(table.columns) == ["gap_predicted", "K_predicted"]
    np.testing.assert_allclose(table, model.predict(crystals), rtol=1e-6)
    y = np.broadcast_to(np.eye(3), (len(crystals), 3, 3)) * rng.normal(size=(len(crystals), 1, 1))
    model = PropertyRegressor(TorchMDNet(8, 1), target="tensor", max_epochs=1, random_state=0)
    model.fit(crystals, y).save(tmp_path / "tensor.gnnpre")
    command = ["predict", str(tmp_path / "tensor.gnnpre"), str(folder / "*.cif"), "-o"]
    assert main([*command, str(tmp_path / "tensor.csv")]) == 0
    table = pd.read_csv(tmp_path / "tensor.csv", index_col="id")
    expected = model.predict(crystals).reshape(len(crystals), 9)
    np.testing.assert_allclose(table, expected, rtol=1e-4, atol=1e-6)


def test_a_broken_file_is_reported_and_the_others_are_predicted(folder, model, tmp_path, capsys):
    for name in ("alloy0.cif", "alloy1.cif"):
        (tmp_path / name).write_text((folder / name).read_text())
    (tmp_path / "broken.cif").write_text("data_nothing\n")
    assert main(["predict", str(model / "model.gnnpre"), str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 3
    assert "broken.cif" in captured.err


def test_classes_groups_and_probabilities(folder, tmp_path, capsys):
    output = tmp_path / "out"
    command = ["train", str(folder / "labels.csv"), "--target", "hard", "--groups", "group"]
    options = ["--task", "classification", "--cv", "2", *FAST, "-o", str(output)]
    assert main([*command, *options]) == 0
    table = pd.read_csv(output / "predictions.csv", index_col="id")
    assert set(table["hard_predicted"]) <= {"yes", "no"}
    folds = pd.read_csv(folder / "labels.csv")[["group"]]
    folds["fold"] = table["fold"].to_numpy()
    assert (folds.groupby("group")["fold"].nunique() == 1).all()
    capsys.readouterr()
    assert main(["predict", str(output / "model.gnnpre"), str(folder / "alloy3.cif")]) == 0
    header = capsys.readouterr().out.splitlines()[0]
    assert header == "id,prediction,probability_no,probability_yes"


def test_embeddings(folder, model, tmp_path):
    output = tmp_path / "embeddings.parquet"
    source = str(folder / "*.cif")
    assert main(["embed", str(model / "model.gnnpre"), source, "-o", str(output)]) == 0
    assert pd.read_parquet(output).shape == (24, 64)


def test_info(model, force_field, capsys):
    assert main(["info", str(model / "model.gnnpre")]) == 0
    assert "PropertyRegressor" in capsys.readouterr().out
    assert main(["info", force_field]) == 0
    output = capsys.readouterr().out
    assert "ForceField" in output
    assert "Cu" in output


def test_force_fields_predict_and_relax(folder, force_field, tmp_path):
    frames = tmp_path / "frames.extxyz"
    assert main(["predict", force_field, str(folder / "*.cif"), "-o", str(frames)]) == 0
    _, labels = read_frames(frames)
    assert np.isfinite(labels.forces).all()
    relaxed = tmp_path / "relaxed"
    options = ["--max-steps", "2", "-o", str(relaxed)]
    assert main(["relax", force_field, str(folder / "alloy1*.cif"), *options]) == 0
    assert {path.name for path in relaxed.iterdir()} >= {"alloy1.cif", "alloy10.cif"}


@pytest.mark.parametrize("objective", ["ead", "denoising"])
def test_pretraining_needs_structures_only(folder, tmp_path, objective):
    output = tmp_path / "pretrained.gnnpre"
    size = ["--backbone", "cgcnn", "--hidden-channels", "8", "--n-layers", "1"]
    options = ["--objective", objective, *size, *FAST, "-o", str(output)]
    assert main(["pretrain", str(folder / "*.cif"), *options]) == 0
    training = ["--target", "K", "--cv", "0", *FAST, "--pretrained", str(output)]
    table = str(folder / "labels.csv")
    assert main(["train", table, *training, "-o", str(tmp_path / "tuned")]) == 0
    assert not (tmp_path / "tuned" / "predictions.csv").exists()


@pytest.mark.parametrize("suffix", [".extxyz", ".parquet"])
def test_audit_and_convert(folder, tmp_path, suffix):
    source, converted = str(folder / "*.cif"), tmp_path / f"crystals{suffix}"
    assert main(["convert", source, "-o", str(converted)]) == 0
    levels = tmp_path / "levels.csv"
    assert main(["audit", str(converted), source, "-o", str(levels)]) == 0
    assert set(pd.read_csv(levels)["level"]) <= {"id", "structure"}


def test_models_of_the_package_by_name(folder, tmp_path, capsys):
    assert main(["info", "gnnpre-1"]) == 0
    assert capsys.readouterr().out.startswith("# gnnpre-1\n")
    assert main(["info", "gnnpre-9"]) == 2
    assert "gnnpre-1-small" in capsys.readouterr().err
    levels = tmp_path / "levels.csv"
    assert main(["audit", "gnnpre-1", str(folder / "*.cif"), "-o", str(levels)]) == 0
    table = pd.read_csv(levels)
    assert len(table) == 24
    assert {"level", "trained_on_band_gap_eV"} <= set(table)
    training = ["--target", "K", "--cv", "2", *FAST, "--pretrained", "gnnpre-1-small"]
    output, source = tmp_path / "tuned", str(folder / "labels.csv")
    capsys.readouterr()
    assert main(["train", source, *training, "-o", str(output)]) == 0
    hint = f"`gnnpre audit gnnpre-1-small {source}` lists them."
    assert hint in capsys.readouterr().err
    assert hint in (output / "report.html").read_text()
    assert PropertyRegressor.load(output / "model.gnnpre").transferred_


def test_values_of_options_from_a_file(folder, tmp_path):
    config = tmp_path / "train.toml"
    config.write_text('target = "K"\ncv = 2\nmax_epochs = 1\n')
    command = ["train", str(folder / "labels.csv"), "--config", str(config)]
    assert main([*command, "-o", str(tmp_path / "out")]) == 0
    assert set(pd.read_csv(tmp_path / "out" / "predictions.csv")["fold"]) == {0, 1}


def test_reading_matbench_files(tmp_path, model):
    structures, y = make_emt_property(3, random_state=1)
    rows = [[structure.as_dict(), value] for structure, value in zip(structures, y, strict=True)]
    table = {"index": ["a", "b", "c"], "columns": ["structure", "K"], "data": rows}
    path = tmp_path / "table.json"
    path.write_text(json.dumps(table, default=float))
    output = tmp_path / "out.csv"
    assert main(["predict", str(model / "model.gnnpre"), str(path), "-o", str(output)]) == 0
    assert pd.read_csv(output)["id"].tolist() == ["a", "b", "c"]


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
        "texts as numbers": ([*train, "hard"], "no finite number, the first 'yes' (id alloy0"),
        "target twice": ([*train, "K", "--target", "K"], "name each column once"),
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
        "frames from a pattern": (["pretrain", cifs, "--objective", "forces"], "is not a file"),
        "unknown command": (["trian"], "trian"),
        "one fold": ([*train, "K", "--cv", "1"], "0 for none"),
        "too many folds": ([*train, "K", "--cv", "500"], "23 crystals with a label"),
        "more folds than groups": ([*train, "K", "--groups", "group", "--cv", "9"], "8 groups"),
        "more folds than crystals of a class": (
            [*train, "hard", "--task", "classification", "--cv", "20"],
            "crystals of class",
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


def test_help_imports_nothing_heavy(capsys):
    for name in COMMANDS:
        assert main([name, "--help"]) == 0
        assert capsys.readouterr().out.startswith(f"Usage: gnnpre {name}")
    code = (
        "import sys; from gnnpre.cli import main; main(['--help']);"
        "assert not {'torch', 'sklearn', 'pymatgen', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_warnings_show_no_code(model, folder, tmp_path):
    Structure(Lattice.cubic(4.0), ["U"], [[0, 0, 0]]).to(str(tmp_path / "uranium.cif"))
    command = ["predict", str(model / "model.gnnpre"), str(tmp_path / "uranium.cif")]
    done = subprocess.run(
        [sys.executable, "-m", "gnnpre.cli", *command], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("id,K_predicted\nuranium,")
    assert "Warning: X holds elements that the model was not trained on: U" in done.stderr
    assert ".py:" not in done.stderr


def test_fingerprint_models_have_no_table(folder, tmp_path, capsys):
    structures, _ = make_emt_property(12, random_state=0)
    path = tmp_path / "ead.gnnpre"
    pretrainer = Pretrainer(CGCNN(8, 1), FingerprintTargets(EAD()), max_epochs=1, random_state=0)
    pretrainer.fit(structures).save(path)
    assert main(["predict", str(path), str(folder / "*.cif")]) == 2
    assert "embed" in capsys.readouterr().err
