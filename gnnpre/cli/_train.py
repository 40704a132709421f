"""``gnnpre train``: a model of a property from structures and labels."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from gnnpre._atomic import write_file

from ._cross_validation import (
    Folds,
    check_column_names,
    cross_validate,
    make_folds,
    takes_one_column,
)
from ._inputs import refuse_inputs
from ._labels import Labelled, as_classes, as_numbers, read_labelled
from ._networks import check_pretrained, make_backbone, network_options
from ._options import (
    config_option,
    device_option,
    output_option,
    reading_options,
    seed_option,
    source_argument,
    take_reading,
)
from ._out_of_fold_report import note_leaks, report_files, write_reports
from ._parameters import finetuning_options, parameters_of, training_options
from ._predict import write_predictions
from ._reading import Source, read_source
from ._trainings import Training, fit_each
from ._types import SectionCommand, SectionOption
from ._writing import check_folder, prepare_folder, write_table

__all__ = ["command"]

FORMS = ("crystal", "atom", "vector", "tensor")
RESULTS = ("model.gnnpre", "metrics.json", "predictions.csv", "new_predictions.csv")
# Of a training that a later one may not write: model.gnnpre and metrics.json are replaced.
TABLES_AND_PAGES = (".csv", ".html")


@click.command("train", cls=SectionCommand)
@source_argument
@click.option(
    "--target", multiple=True, required=True, help="Column with a property to learn; repeatable."
)
@click.option(
    "--task",
    type=click.Choice(["regression", "classification"]),
    default="regression",
    show_default=True,
    help="Numbers or classes.",
)
@click.option(
    "--target-form",
    type=click.Choice(FORMS),
    default="crystal",
    show_default=True,
    help="Whether it is a number of a crystal, or lists: of atoms, vectors or tensors.",
)
@click.option("--ensemble", is_flag=True, help="Blend networks and kernel machines.")
@click.option("--unit", default="", help="Unit of the property, for progress and report.")
@click.option("--cv", type=int, default=5, show_default=True, help="Folds; 0 for none.")
@click.option("--groups", help="Column: crystals of one group stay in one fold.")
@click.option(
    "--predict", metavar="SOURCE", help="Crystals to predict in the end, for new_predictions.csv."
)
@output_option("gnnpre-model", "Folder of the results.")
@config_option
@seed_option
@device_option
@network_options(default="cgcnn")
@click.option(
    "--cutoff",
    type=float,
    cls=SectionOption,
    section="Model",
    help="Cutoff of the graphs, in Å (default: 6); not with --pretrained.",
)
@finetuning_options
@training_options(max_epochs=100, ema_decay=0.99)
@reading_options("Processes that read files, and trainings at once; -1 for all cores.")
def command(
    source: str,
    target: Sequence[str],
    unit: str,
    cutoff: float | None,
    cv: int,
    groups: str | None,
    predict: str | None,
    output: str,
    **options: Any,
) -> int:
    """Train a model of a property of SOURCE, and estimate its errors by cross-validation.

    Writes model.gnnpre, metrics.json and, with --cv, predictions.csv and report.html, with the
    prediction of each crystal by a model that has not seen it. A row without a label is left out.
    With --predict the model is used at once: new_predictions.csv has its predictions.
    """
    # 1. Read, and check everything that can be checked before training.
    reading = take_reading(options)
    form = options.pop("target_form")
    task, seed = options["task"], options["random_state"]
    estimator = _estimator(options, form)
    _check_targets(estimator, target)
    if cv:
        check_column_names(target)
    check_pretrained(estimator.pretrained)
    data = read_labelled(source, target, form, groups, reading)
    if form == "crystal" and task == "regression":
        data = as_numbers(data)
    if task == "classification":
        data = as_classes(data)
    new = None if predict is None else _read_new(predict, reading)
    check_folder(output)
    refuse_inputs(output, [*_result_files(Path(output), target), *_earlier_files(Path(output))])
    if options["checkpoint_dir"] is not None:
        check_folder(options["checkpoint_dir"], "--checkpoint-dir")
    folds = make_folds(data.y, data.groups, task == "classification", cv, seed)
    X = _graphs(data.crystals, cutoff, estimator)
    notes = note_leaks(estimator, source) if cv else []
    trainings = _trainings(X, data, folds, takes_one_column(estimator))
    models = fit_each(estimator, trainings, len(folds) + 1, unit, reading["n_jobs"])
    # 2. Cross-validate. The first file is written after a training: wrong options leave nothing.
    metrics: dict[str, Any] = {"target": list(target), "n": len(data.y)}
    table = None
    if cv:
        table, metrics["cross_validation"] = cross_validate(models, X, data.y, folds)
        table.index = data.ids
        table.index.name = "id"
        _remove_earlier(output)
        write_table(table, str(prepare_folder(output) / "predictions.csv"))
    # 3. The model of all crystals.
    (estimator,) = models
    if table is None:
        _remove_earlier(output)
    folder = prepare_folder(output)
    estimator.save(folder / "model.gnnpre")
    if hasattr(estimator, "errors_"):
        metrics["ensemble"] = {"weights": estimator.weights_, "errors": estimator.errors_}
    write_file(folder / "metrics.json", json.dumps(metrics, indent=1))
    click.echo(f"Wrote {folder / 'model.gnnpre'}.", err=True)
    # 4. Predict and report.
    if new is not None:
        write_predictions(estimator, new, str(folder / "new_predictions.csv"))
    if table is not None and form == "crystal":
        write_reports(folder, estimator, X, table, target, unit, cv, notes)
    _print_metrics(metrics)
    return 1 if data.n_skipped or (new is not None and new.n_skipped) else 0


def _result_files(folder: Path, target: Sequence[str]) -> list[Path]:
    """Return all files that a training may write to its folder, with any options."""
    return [*(folder / name for name in RESULTS), *report_files(folder, target)]


def _earlier_files(folder: Path) -> list[Path]:
    """Return the tables and reports of an earlier training, whose metrics.json is in a folder."""
    try:
        target = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["target"]
        files = [file for file in _result_files(folder, target) if file.suffix in TABLES_AND_PAGES]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # the folder of something else
    return [file for file in files if file.is_file()]


def _remove_earlier(output: str) -> None:
    """Remove the tables and reports of an earlier training: they are of another model."""
    for file in _earlier_files(Path(output)):
        file.unlink()
        click.echo(f"Removed {file} of an earlier training.", err=True)


def _trainings(X: Any, data: Labelled, folds: Folds, one_column: bool) -> Iterator[Training]:
    """Yield what to fit: each fold, and then all crystals."""
    y = data.y.iloc[:, 0] if one_column else data.y
    for number, (train, _) in enumerate(folds, start=1):
        # The validation part inside a fold holds whole groups, too.
        groups = None if data.groups is None else data.groups.iloc[train]
        yield Training(f"fold {number} of {len(folds)}", X[train], y.iloc[train], groups)
    yield Training("final model", X, y, data.groups)


def _read_new(source: str, reading: dict[str, Any]) -> Source:
    """Read the crystals of ``--predict``; of a table only the ids and structures."""
    try:
        return read_source(source, **reading)
    except (ValueError, OSError) as error:
        raise click.UsageError(f"--predict: {error}") from error


def _estimator(options: dict[str, Any], form: str) -> Any:
    """Return the estimator that the options describe; errors name options that it lacks."""
    from gnnpre.estimators import PropertyClassifier, PropertyEnsemble, PropertyRegressor

    task, ensemble = options.pop("task"), options.pop("ensemble")
    if form != "crystal" and (ensemble or task == "classification"):
        asked = "--ensemble" if ensemble else "--task classification"
        raise click.UsageError(f"{asked} learns numbers of crystals: leave --target-form out.")
    if ensemble and task == "classification":
        raise click.UsageError("--ensemble belongs to --task regression.")
    options["epoch_scoring"] = list(options["epoch_scoring"]) or None
    options["verbose"] = 1
    backbone = make_backbone(options)
    if ensemble:
        if backbone is not None:
            raise click.UsageError(
                "--backbone with --ensemble: its network is the one of --pretrained, or the "
                "default one."
            )
        return PropertyEnsemble(**parameters_of(PropertyEnsemble, options, "--ensemble"))
    # A killed training goes on if it is started again.
    options["resume"] = options["checkpoint_dir"] is not None
    if task == "classification":
        return PropertyClassifier(
            backbone, **parameters_of(PropertyClassifier, options, "--task classification")
        )
    options["target"] = form
    return PropertyRegressor(
        backbone, **parameters_of(PropertyRegressor, options, "--task regression")
    )


def _check_targets(estimator: Any, target: Sequence[str]) -> None:
    if len(set(target)) < len(target):
        raise click.UsageError(f"--target {' --target '.join(target)}: name each column once.")
    if takes_one_column(estimator) and len(target) > 1:
        raise click.UsageError(
            f"{type(estimator).__name__} learns one property: pass one --target."
        )


def _graphs(X: Any, cutoff: float | None, estimator: Any) -> Any:
    """Return the crystals, as graphs where the user chose the cutoff."""
    if cutoff is None:
        return X
    if estimator.pretrained is not None:
        raise click.UsageError("--cutoff and --pretrained: a pre-trained model has its own cutoff.")
    from gnnpre.graphs import StructureToGraph

    return StructureToGraph(cutoff=cutoff).fit_transform(X)


def _print_metrics(metrics: dict[str, Any]) -> None:
    for name, value in metrics.get("cross_validation", {}).items():
        click.echo(f"{name}\t{value:.6g}")
