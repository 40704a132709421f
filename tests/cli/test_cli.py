"""The command line as a user types it: files in, files out, one line for what is wrong."""

import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from sklearn.exceptions import ConvergenceWarning

from gnnpre import (
    CGCNN,
    Crystals,
    FrameLabels,
    Pretrainer,
    PropertyRegressor,
    SchNet,
    TorchMDNet,
)
from gnnpre.cli import main
from gnnpre.cli._main import COMMANDS
from gnnpre.datasets import (
    make_emt_frames,
    make_emt_property,
    read_frames,
    read_parquet,
    read_structures,
    to_extxyz,
    to_parquet,
)
from gnnpre.pretrained import read_leak_keys, text_digests

FAST = ["--max-epochs", "1"]


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


def test_a_folder_holds_files_of_one_training(folder, tmp_path, capsys):
    table = pd.read_csv(folder / "labels.csv").assign(half=lambda rows: rows["K"] / 2)
    table["file"] = [str(folder / name) for name in table["file"]]
    table.to_csv(tmp_path / "labels.csv", index=False)
    output = tmp_path / "out"
    command = ["train", str(tmp_path / "labels.csv"), "--target", "K", *FAST, "-o", str(output)]
    new = ["--predict", str(folder / "alloy1.cif")]
    assert main([*command, "--target", "half", "--cv", "2", *new]) == 0
    for name in ("report.html", "notes.csv"):  # of the user
        (output / name).write_text("mine")
    capsys.readouterr()
    assert main([*command, "--cv", "0"]) == 0
    results = {"model.gnnpre", "metrics.json"}
    assert {path.name for path in output.iterdir()} == {*results, "report.html", "notes.csv"}
    assert "predictions.csv of an earlier training" in capsys.readouterr().err
    assert main([*command, "--cv", "2"]) == 0
    results |= {"predictions.csv", "report.html", "notes.csv"}
    assert {path.name for path in output.iterdir()} == results


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


@pytest.mark.parametrize("suffix", [".extxyz", ".parquet"])
def test_relaxed_crystals_tell_whether_they_converged(folder, force_field, tmp_path, suffix):
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    source = str(folder / "alloy1*.cif")
    with pytest.warns(ConvergenceWarning, match="crystals have not converged after max_steps=1"):
        assert main(["relax", force_field, source, "--max-steps", "1", "-o", str(first)]) == 0
    loose = ["--fmax", "100", "--smax", "100", "-o", str(second)]
    assert main(["relax", force_field, str(first), *loose]) == 0
    read = read_parquet if suffix == ".parquet" else read_frames
    for path, converged in ((first, False), (second, True)):
        _, labels = read(path)
        assert labels.info["converged"].dtype == bool
        assert labels.info["converged"].tolist() == [converged] * 11
        assert (labels.info["largest_force"] > 0).all()


@pytest.mark.parametrize("name", ["frames.parquet", "frames.extxyz", "folder/frames.extxyz"])
def test_force_field_learns_from_each_kind_of_file(tmp_path, name):
    structures, labels = make_emt_frames(12, random_state=0)
    # Without columns such as formula, as in files of other projects.
    labels = FrameLabels(
        labels.n_atoms, energy=labels.energy, forces=labels.forces, stress=labels.stress
    )
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    write = to_parquet if path.suffix == ".parquet" else to_extxyz
    write(path, Crystals.from_structures(structures), labels)
    source = path.parent if name.startswith("folder") else path
    options = ["--objective", "forces", "--max-epochs", "1", "--hidden-channels", "8"]
    model = tmp_path / "m.gnnpre"
    assert main(["pretrain", str(source), *options, "--n-layers", "1", "-o", str(model)]) == 0
    assert Pretrainer.load(model).predict(structures[:2]).energy.shape == (2,)


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


def test_no_crystal_is_lost_where_names_of_files_are_equal(tmp_path):
    structures, _ = make_emt_property(5, random_state=0)
    for name, structure in zip(
        ("a/x", "b/x", "c/m 1", "c/m_1", "c/m_1_2"), structures, strict=True
    ):
        path = tmp_path / "in" / f"{name}.cif"
        path.parent.mkdir(parents=True, exist_ok=True)
        structure.to(str(path))
    assert main(["convert", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 0
    names = sorted(path.stem for path in (tmp_path / "out").iterdir())
    assert names == ["a_x", "b_x", "c_m_1", "c_m_1_2", "m_1_2"]


@pytest.mark.parametrize("suffix", [".extxyz", ".parquet"])
def test_audit_and_convert(folder, tmp_path, suffix):
    source, converted = str(folder / "*.cif"), tmp_path / f"crystals{suffix}"
    assert main(["convert", source, "-o", str(converted)]) == 0
    levels = tmp_path / "levels.csv"
    assert main(["audit", str(converted), source, "-o", str(levels)]) == 0
    assert set(pd.read_csv(levels)["level"]) <= {"id", "structure"}


def test_audit_by_ids(folder, tmp_path):
    # 1. tables of different crystals with ids that both have
    for name, rows in {"before": (0, 1), "after": (2, 1)}.items():
        table = pd.DataFrame({"file": [f"alloy{row}.cif" for row in rows], "material": ["a", "b"]})
        table.to_csv(folder / f"{name}.csv", index=False)
    sources, levels = [str(folder / f"{name}.csv") for name in ("before", "after")], tmp_path / "l"
    assert main(["audit", *sources, "--id-column", "material", "-o", str(levels)]) == 0
    assert pd.read_csv(levels, index_col="id")["level"].tolist() == ["id", "id"]
    assert main(["audit", *sources, "-o", str(levels)]) == 0
    assert set(pd.read_csv(levels)["level"]) <= {"structure", "prototype", "composition", "none"}
    # 2. a file that bears the id of a crystal of a model
    names = [f"mp-{number}" for number in range(30_000)]
    name = names[np.isin(text_digests(names), read_leak_keys("gnnpre-1").ids).argmax()]
    (tmp_path / f"{name}.cif").write_bytes((folder / "alloy0.cif").read_bytes())
    assert main(["audit", "gnnpre-1", str(tmp_path / "*.cif"), "-o", str(levels)]) == 0
    table = pd.read_csv(levels, index_col="id")
    assert table.loc[name, "level"] == "id"
    assert table.filter(like="trained_on").loc[name].any()


def test_ids_of_a_parquet_file(tmp_path, capsys):
    structures, y = make_emt_property(2, random_state=0)
    crystals = Crystals.from_structures(structures, ids=["x", "y"], info={"material": [7, 8]})
    path, output = tmp_path / "crystals.parquet", tmp_path / "out"
    to_parquet(path, crystals, targets={"K": y})
    for column, names in {"material": ["7", "8"], "immutable_id": ["x", "y"]}.items():
        assert main(["convert", str(path), "--id-column", column, "-o", str(output)]) == 0
        assert {file.stem for file in output.iterdir()} >= set(names)
    for option, message in {
        "--id-column": "no such column; it has",
        "--structure-column": "has columns of LeMat",
    }.items():
        assert main(["convert", str(path), option, "name", "-o", str(output)]) == 2
        assert message in capsys.readouterr().err


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
    # A model that started from one of the package has learnt those crystals, too.
    tuned = str(output / "model.gnnpre")
    assert main(["info", tuned]) == 0
    assert re.search(r"^pretrained +gnnpre-1-small$", capsys.readouterr().out, re.MULTILINE)
    training = [*training[:-1], tuned, "--strategy", "full"]
    assert main(["train", source, *training, "-o", str(tmp_path / "again")]) == 0
    error = capsys.readouterr().err
    assert f"{tuned} went on from gnnpre-1-small, which was pre-trained on" in error
    assert hint in error


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
