"""Options of ``gnnpre train`` and ``gnnpre pretrain``: parameters of the library, all of them."""

import json
from inspect import signature

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from joblib.externals.loky import get_reusable_executor

from gnnpre import Pretrainer, PropertyClassifier, PropertyEnsemble, PropertyRegressor
from gnnpre.cli import main
from gnnpre.cli._main import COMMANDS
from gnnpre.cli._pretrain import command as pretrain
from gnnpre.cli._train import command as train
from gnnpre.datasets import make_emt_frames, make_emt_property, to_extxyz, to_parquet
from gnnpre.estimators import load_estimator
from gnnpre.graphs import Crystals, FrameLabels, StructureToGraph

FAST = ["--max-epochs", "1", "--cv", "2"]
SMALL = ["--backbone", "torchmdnet", "--hidden-channels", "8", "--n-layers", "1"]
# Options of the command itself; backbone names one.
OF_THE_COMMAND = {"source", "target", "task", "target_form", "ensemble", "unit", "cv"}
OF_THE_COMMAND |= {
    "groups",
    "predict",
    "output",
    "config",
    "backbone",
    "hidden_channels",
    "n_layers",
    "cutoff",
}
OF_THE_COMMAND |= {"structure_column", "id_column", "n_jobs", "objective", "help"}
# No option: objects, and parameters that other commands or options decide.
NO_OPTION = {"callbacks", "pretraining", "embedding_layer", "embedding_pooling", "resume"}
NO_OPTION |= {"verbose", "target", "backbone", "objective", "checkpoint_epochs", "members", "cv"}
# Defaults that differ: a command line has a seed, so that a run can be repeated.
OTHER_DEFAULTS = {"random_state": 0}


@pytest.fixture(scope="module")
def crystals():
    return make_emt_property(24, random_state=0, max_atoms=4)


@pytest.fixture(scope="module")
def table(crystals, tmp_path_factory):
    path = tmp_path_factory.mktemp("cifs")
    structures, y = crystals
    for number, structure in enumerate(structures):
        structure.to(str(path / f"alloy{number}.cif"))
    rows = pd.DataFrame({"file": [f"alloy{n}.cif" for n in range(24)], "K": y, "below": y - 1e3})
    cells = [s.lattice.matrix / s.volume ** (1 / 3) for s in structures]
    rows["tensor"] = [json.dumps((3 * np.eye(3) + cell.T @ cell).tolist()) for cell in cells]
    rows["counts"] = [json.dumps([float(n) for n in range(len(s))]) for s in structures]
    rows.loc[4, ["tensor", "counts"]] = None
    rows["stable"] = [None if n == 4 else n % 2 == 0 for n in range(24)]
    rows["phase"] = [None if n == 4 else 225 - n % 2 for n in range(24)]
    rows["code"] = [None if n == 4 else ("001", "1", "010")[n % 3] for n in range(24)]
    rows["parity"] = [f"{'even' if n % 2 == 0 else n % 3}" for n in range(24)]
    rows.to_csv(path / "labels.csv", index=False)
    return str(path / "labels.csv")


@pytest.mark.parametrize(
    ("command", "estimators"),
    [
        (train, [PropertyRegressor, PropertyClassifier, PropertyEnsemble]),
        (pretrain, [Pretrainer]),
    ],
)
def test_options_are_parameters_with_their_names_and_defaults(command, estimators):
    options = {p.name: p.default for p in command.params if p.name not in OF_THE_COMMAND}
    parameters = {}
    for estimator in reversed(estimators):
        parameters |= {name: p.default for name, p in signature(estimator).parameters.items()}
    if command is pretrain:
        parameters["max_epochs"] = 30
    parameters |= OTHER_DEFAULTS
    assert set(parameters) - NO_OPTION == set(options)
    for name, default in options.items():
        # click has other marks of options without a default.
        default = default if isinstance(default, (bool, int, float, str, tuple)) else None
        assert default == parameters[name], name


def run(command, output):
    assert main([*command, "-o", str(output)]) == 0
    return load_estimator(output / "model.gnnpre"), json.loads(
        (output / "metrics.json").read_text()
    )


def test_an_ensemble(table, tmp_path, capsys):
    options = ["--ensemble", "--max-epochs", "1", "--cv", "2", "--bounds", "0", "none"]
    model, metrics = run(["train", table, "--target", "K", *options], tmp_path / "out")
    assert isinstance(model, PropertyEnsemble)
    assert model.bounds == (0.0, None)
    assert metrics["ensemble"]["weights"] == model.weights_
    assert (tmp_path / "out" / "report.html").exists()
    output, errors = capsys.readouterr()
    assert "network: fold 1 of 5" in errors
    assert "fold" not in output
    file = str(tmp_path / "out" / "model.gnnpre")
    assert main(["info", file]) == 0
    assert "member fingerprint" in capsys.readouterr().out
    assert main(["embed", file, table]) == 2
    assert "PropertyEnsemble" in capsys.readouterr().err


def test_trainings_at_once_equal_those_one_by_one(table, tmp_path, capfd):
    # Workers of an earlier test would write where its output was captured.
    get_reusable_executor().shutdown(wait=True)
    command = ["train", table, "--target", "K", *FAST, *SMALL, "--unit", "GPa"]
    alone, metrics = run(command, tmp_path / "alone")
    capfd.readouterr()
    together, same = run([*command, "--n-jobs", "2"], tmp_path / "together")
    assert metrics == same
    for name in ("predictions.csv", "metrics.json"):
        texts = [(tmp_path / folder / name).read_text() for folder in ("alone", "together")]
        assert texts[0] == texts[1]
    assert alone.verbose == together.verbose
    progress = capfd.readouterr().err
    assert "3 trainings, 2 at once." in progress
    for name in ("fold 1 of 2", "fold 2 of 2", "final model"):
        assert f"{name}: epoch 1/1" in progress
    assert progress.count(" GPa)") == 3
    assert ".py:" not in progress  # warnings of the other processes show no code, either


def test_parameters_reach_the_estimator(table, tmp_path):
    options = ["--bounds", "none", "1e6", "--gradient-clip", "none", "--no-restore-best"]
    options += [
        "--schedule",
        "none",
        "--loss",
        "huber",
        "--ema-decay",
        "none",
        "--dtype",
        "float64",
    ]
    command = ["train", table, "--target", "K", "--max-epochs", "1", "--cv", "0", *options]
    model, _ = run(command, tmp_path / "out")
    expected = {"bounds": (None, 1e6), "gradient_clip": None, "restore_best": False}
    expected |= {"schedule": None, "loss": "huber", "ema_decay": None, "dtype": "float64"}
    assert {name: model.get_params()[name] for name in expected} == expected


def test_defaults_are_those_of_the_library(table, tmp_path):
    command = ["train", table, "--target", "K", "--max-epochs", "1", "--cv", "0"]
    model, _ = run(command, tmp_path / "out")
    expected = PropertyRegressor(max_epochs=1, random_state=0, verbose=1).get_params(deep=False)
    differences = {
        name
        for name, value in model.get_params(deep=False).items()
        if name != "backbone" and value != expected[name]
    }
    assert not differences


def test_values_of_atoms_from_a_table(table, tmp_path):
    options = ["--target", "counts", "--target-form", "atom", *FAST]
    model, metrics = run(["train", table, *options], tmp_path / "out")
    assert model.target == "atom"
    predictions = pd.read_csv(tmp_path / "out" / "predictions.csv", index_col="id")
    assert "alloy4" not in predictions.index
    pairs = [
        (json.loads(label), json.loads(values))
        for label, values in predictions[["counts", "counts_predicted"]].itertuples(index=False)
    ]
    differences = np.concatenate([np.subtract(label, values) for label, values in pairs])
    assert metrics["cross_validation"]["mean_absolute_error"] == pytest.approx(
        np.abs(differences).mean()
    )
    assert set(metrics["cross_validation"]) == {"mean_absolute_error", "mean_r2"}


def test_values_of_atoms_from_frames(crystals, tmp_path):
    structures, _ = crystals
    moments = [np.arange(len(s), dtype=float) for s in structures]
    moments[0][0] = np.nan
    n_atoms = [len(s) for s in structures]
    labels = FrameLabels(n_atoms, atom_info={"magmom": np.concatenate(moments)})
    to_extxyz(tmp_path / "moments.extxyz", structures, labels)
    options = ["--target", "magmom", "--target-form", "atom", "--groups", "formula", *FAST]
    model, _ = run(["train", str(tmp_path / "moments.extxyz"), *options], tmp_path / "out")
    predictions = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert json.loads(predictions["magmom"][0])[0] is None
    assert len(model.predict(structures[:1])[0]) == len(structures[0])


@pytest.mark.parametrize("is_ours", [True, False])
def test_values_of_atoms_from_parquet(crystals, tmp_path, is_ours):
    structures, _ = crystals
    numbers = np.concatenate([np.arange(len(s), dtype=float) for s in structures])
    codes = [f"c{number}" for number in range(len(structures))]
    columns = {"batch": np.arange(len(structures)) // 2, "code": codes}
    labels = FrameLabels([len(s) for s in structures], atom_info={"magmom": numbers}, info=columns)
    path = tmp_path / "moments.parquet"
    to_parquet(path, structures, labels)
    if not is_ours:  # the metadata of our files name the columns of atoms
        pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    command = ["train", str(path), "--target", "magmom", "--target-form", "atom", *SMALL, *FAST]
    run([*command, "--groups", "batch", "--id-column", "code"], tmp_path / "out")
    predictions = pd.read_csv(tmp_path / "out" / "predictions.csv", index_col="id")
    assert predictions.index.tolist() == codes
    # Crystals of one group are in one fold.
    assert (predictions["fold"].groupby(columns["batch"]).nunique() == 1).all()
    assert json.loads(predictions["magmom"].iloc[0]) == list(range(len(structures[0])))


@pytest.mark.parametrize("option", ["--structure-column", "--id-column"])
def test_columns_that_are_not_read_are_refused(tmp_path, capsys, option):
    path = tmp_path / "frames.extxyz"
    to_extxyz(path, *make_emt_frames(4, random_state=0))
    column = [option, "formula"]
    pretrain = ["pretrain", str(path), "--objective", "forces", "-o", str(tmp_path / "m.gnnpre")]
    assert main([*pretrain, *column]) == 2
    assert f"{option} formula: " in capsys.readouterr().err
    if option == "--structure-column":
        command = ["train", str(path), "--target", "magmom", "--target-form", "atom"]
        assert main([*command, *column, "-o", str(tmp_path / "out")]) == 2
        assert f"{option} formula: " in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".extxyz", ".parquet"])
def test_energies_of_frames(tmp_path, capsys, suffix):
    frames, labels = make_emt_frames(12, random_state=0)
    path = tmp_path / f"frames{suffix}"
    (to_parquet if suffix == ".parquet" else to_extxyz)(path, frames, labels)
    command = ["train", str(path), *FAST]
    assert main([*command, "--target", "gap", "-o", str(tmp_path / "no")]) == 2
    error = capsys.readouterr().err
    assert "no such column" in error
    assert "energy" in error
    assert "chemical_formula_reduced" not in error
    run([*command, "--target", "energy", *SMALL], tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    np.testing.assert_allclose(table["energy"], labels.energy, rtol=1e-6)


def test_help_fits_each_command(capsys):
    texts = {}
    for name in COMMANDS:
        assert main([name, "--help"]) == 0
        texts[name] = " ".join(capsys.readouterr().out.split())
        if "--config" in texts[name]:
            assert "max_epochs =" not in texts[name]
            assert "--n-jobs" in texts[name]
    assert "Steps, at most. [default: 500]" in texts["relax"]
    assert "[default: relax-cell]" in texts["relax"]
    assert "[default: match]" in texts["audit"]
    assert "[default: (cgcnn, or that of --pretrained)]" in texts["train"]
    cutoff = signature(StructureToGraph).parameters["cutoff"].default
    assert f"Cutoff of the graphs, in Å (default: {cutoff:g})" in texts["train"]
    assert main(["study", "run", "--help"]) == 0
    assert "required without --estimate" in " ".join(capsys.readouterr().out.split())


def test_tensors_from_a_table(table, tmp_path):
    options = ["--target", "tensor", "--target-form", "tensor", *SMALL, *FAST]
    model, _ = run(["train", table, *options], tmp_path / "out")
    assert model.target == "tensor"
    predictions = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert np.shape(json.loads(predictions["tensor_predicted"][0])) == (3, 3)
    assert not (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "below", "--bounds", "0", "none"], "bounds"),
        (["--target", "K", "--bounds", "low", "high"], "'low' is not a valid float"),
        (["--target", "K", "--ensemble", "--loss", "mse"], "--loss is not a parameter"),
        (["--target", "K", "--ensemble", "--backbone", "schnet"], "--backbone with --ensemble"),
        (["--target", "K", "--target", "below", "--ensemble"], "one --target"),
        (["--target", "K", "--ensemble", "--task", "classification"], "--task regression"),
        (["--target", "K", "--ensemble", "--target-form", "atom"], "leave --target-form out"),
        (["--target", "K", "--target-form", "atom"], "row 0 holds"),
        (["--target", "counts", "--target", "K", "--target-form", "atom"], "one --target"),
        (["--target", "tensor", "--target-form", "tensor", "--backbone", "cgcnn"], "vectors"),
        (["--target", "K", "--class-weight", "balanced"], "--class-weight is not a parameter"),
        (
            ["--target", "K", "--task", "classification", "--loss", "mse"],
            "--loss is not a parameter",
        ),
        (["--target", "K", "--strategy", "fast"], "strategy='fast'"),
        (["--target", "stable"], "--target stable: the column holds True and False. Learn them as"),
        (
            ["--target", "stable", "--task", "classification", "--groups", "parity"],
            "--groups parity: without the groups of fold 1 of 2 all crystals are of class False;",
        ),
        (["--target", "K", "--output", "-"], "--output -: tables alone go to stdout"),
    ],
)
def test_nonsense(table, tmp_path, capsys, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    assert main(["train", table, *FAST, *options]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("column", "classes"),
    [("stable", [False, True]), ("phase", [224, 225]), ("code", ["001", "010", "1"])],
)
def test_classes_beside_empty_cells_stay_as_they_are(table, tmp_path, capsys, column, classes):
    output = tmp_path / "out"
    options = ["--target", column, "--task", "classification", *SMALL, *FAST, "-o", str(output)]
    assert main(["train", table, *options]) == 0
    assert f"1 rows without {column} are left out." in capsys.readouterr().err
    types = {f"{column}_predicted": str} if column == "code" else None
    predictions = pd.read_csv(output / "predictions.csv", dtype=types)
    assert set(predictions[f"{column}_predicted"]) <= set(classes)
    assert load_estimator(output / "model.gnnpre").classes_.tolist() == classes


def test_numbers_with_leading_zeros_are_numbers_for_a_regression(table, tmp_path):
    output = tmp_path / "out"
    options = ["--target", "code", *SMALL, *FAST, "-o", str(output)]
    assert main(["train", table, *options]) == 0
    assert set(pd.read_csv(output / "predictions.csv")["code"]) == {1, 10}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("max_epochs = 2.5", "'2.5' is not a valid integer"),
        ("max_epochs = true", "'True' is not a valid integer"),
        ("bounds = 0", "bounds takes a list of 2 values"),
    ],
)
def test_values_of_a_config_are_checked_as_on_the_command_line(
    table, tmp_path, capsys, line, message
):
    (tmp_path / "c.toml").write_text(f"{line}\n")
    options = ["--target", "K", "--config", str(tmp_path / "c.toml"), "-o", str(tmp_path / "out")]
    assert main(["train", table, *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["convert", "pretrain"])
def test_crystals_and_models_are_no_output_for_stdout(
    table, tmp_path, capsys, monkeypatch, command
):
    monkeypatch.chdir(tmp_path)
    assert main([command, table, "-o", "-"]) == 2
    assert "--output -: tables alone go to stdout" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_config_is_read_whole_or_not_at_all(tmp_path, capsys):
    """A part of it would leave options out without a word."""
    config = tmp_path / "long.toml"
    config.write_text("max_epochs = 3\n" + "# remark\n" * 150_000 + "cv = 0\n")
    assert main(["train", "cifs", "--target", "y", "--config", str(config)]) == 2
    assert "has over 1048576 characters" in capsys.readouterr().err


def test_pretraining_goes_on_from_a_model(force_field, tmp_path):
    frames, labels = make_emt_frames(12, random_state=1)
    to_extxyz(tmp_path / "frames.extxyz", Crystals.from_structures(frames), labels)
    options = ["--objective", "forces", "--pretrained", force_field, "--learning-rate", "1e-30"]
    command = ["pretrain", str(tmp_path / "frames.extxyz"), *options, "--max-epochs", "1"]
    assert main([*command, "-o", str(tmp_path / "tuned.gnnpre")]) == 0
    before, after = Pretrainer.load(force_field), Pretrainer.load(tmp_path / "tuned.gnnpre")
    assert after.graph_settings_ == before.graph_settings_
    expected = before.predict(frames).forces
    np.testing.assert_allclose(after.predict(frames).forces, expected, atol=1e-5)
