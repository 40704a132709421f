"""``gnnpre train``: a model of a property from structures and labels."""

import json
from typing import Any

import click

from gnnpre._atomic import write_file

from ._options import (
    config_option,
    device_option,
    output_option,
    seed_option,
    source_argument,
    source_options,
    training_options,
)
from ._reading import Source, read_source
from ._writing import check_folder, prepare_folder, write_table

__all__ = ["command"]


@click.command("train")
@source_argument
@click.option("--target", required=True, help="Column with the property to learn.")
@click.option("--task", type=click.Choice(["regression", "classification"]), default="regression")
@click.option("--pretrained", help="Model to start from: gnnpre-1, or a file.")
@click.option("--strategy", default="full", show_default=True, help="How it is fine-tuned.")
@click.option("--pooling", default="mean", show_default=True, help="mean; sum for extensive ones.")
@click.option("--calibration-fraction", type=float, default=0.0, help="For intervals, e.g. 0.1.")
@click.option("--cv", type=int, default=5, show_default=True, help="Folds; 0 for none.")
@click.option("--groups", help="Column: crystals of one group stay in one fold.")
@training_options(max_epochs=100)
@source_options
@seed_option
@device_option
@output_option("gnnpre-model", "Folder of the results.")
@config_option
def command(
    source: str, target: str, cv: int, groups: str | None, output: str, **options: Any
) -> int:
    """Train a model of a property of SOURCE, and estimate its errors by cross-validation.

    Writes model.gnnpre, metrics.json and, with --cv, predictions.csv with the prediction of each
    crystal by a model that has not seen it. A row without a label is left out.
    """
    reading = {key: options.pop(key) for key in ("structure_column", "id_column", "n_jobs")}
    crystals = read_source(source, **reading)
    labelled = _labelled(crystals, target)
    check_folder(output)
    X, y = crystals.crystals[labelled], crystals.column(target, "--target")[labelled]
    group_labels = None if groups is None else crystals.column(groups, "--groups")[labelled]
    estimator = _estimator(options)
    metrics: dict[str, Any] = {"target": target, "n": len(y)}
    if cv:
        table, metrics["cross_validation"] = _cross_validate(estimator, X, y, group_labels, cv)
        table.index = crystals.ids[labelled]
        table.index.name = "id"
        # The first file is written when a training has succeeded: wrong options leave nothing.
        write_table(table, str(prepare_folder(output) / "predictions.csv"))
    click.echo(f"Training on all {len(y)} crystals.", err=True)
    estimator.fit(X, y, groups=group_labels)
    folder = prepare_folder(output)
    estimator.save(folder / "model.gnnpre")
    write_file(folder / "metrics.json", json.dumps(metrics, indent=1))
    click.echo(f"Wrote {folder / 'model.gnnpre'}.", err=True)
    _print_metrics(metrics)
    return 1 if crystals.n_skipped else 0


def _labelled(source: Source, target: str) -> Any:
    labels = source.column(target, "--target")
    present = labels.notna().to_numpy()
    if not present.any():
        raise click.UsageError(f"--target {target}: no row has a value.")
    if not present.all():
        click.echo(f"{int((~present).sum())} rows without {target} are left out.", err=True)
    return present


def _estimator(options: dict[str, Any]) -> Any:
    from gnnpre.estimators import PropertyClassifier, PropertyRegressor

    if options.pop("task") == "regression":
        return PropertyRegressor(verbose=1, **options)
    if options.pop("calibration_fraction"):
        raise click.UsageError("--calibration-fraction belongs to --task regression.")
    return PropertyClassifier(verbose=1, **options)


def _cross_validate(estimator: Any, X: Any, y: Any, groups: Any, cv: int) -> tuple[Any, Any]:
    """Return the prediction of each crystal by the fold that left it out, and the errors."""
    import numpy as np
    import pandas as pd
    from sklearn.base import clone, is_classifier
    from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

    if groups is not None:
        splitter: Any = GroupKFold(cv)
    elif is_classifier(estimator):
        splitter = StratifiedKFold(cv, shuffle=True, random_state=estimator.random_state)
    else:
        splitter = KFold(cv, shuffle=True, random_state=estimator.random_state)
    # object: classes may be of any type.
    predicted, baseline = np.empty(len(y), dtype=object), np.empty(len(y), dtype=object)
    folds = np.empty(len(y), dtype=int)
    for fold, (train, test) in enumerate(splitter.split(np.zeros(len(y)), y, groups)):
        click.echo(f"Fold {fold + 1} of {cv}: {len(train)} crystals.", err=True)
        inner = None if groups is None else groups.iloc[train]
        model = clone(estimator).fit(X[train], y.iloc[train], groups=inner)
        predicted[test] = model.predict(X[test])
        baseline[test] = _constant(y.iloc[train], is_classifier(estimator))
        folds[test] = fold
    table = pd.DataFrame({"true": y.to_numpy(), "predicted": predicted, "fold": folds})
    table = table.infer_objects()
    return table, _errors(table, baseline, is_classifier(estimator))


def _constant(y: Any, classes: bool) -> Any:
    return y.mode().iloc[0] if classes else y.median()


def _errors(table: Any, baseline: Any, classes: bool) -> dict[str, Any]:
    from sklearn.metrics import accuracy_score, mean_absolute_error, r2_score

    true = table["true"]
    if classes:
        return {
            "accuracy": float(accuracy_score(true, table["predicted"])),
            "accuracy_of_most_frequent_class": float((true == baseline).mean()),
        }
    return {
        "mean_absolute_error": float(mean_absolute_error(true, table["predicted"])),
        "mean_absolute_error_of_median": float(mean_absolute_error(true, baseline)),
        "r2": float(r2_score(true, table["predicted"])),
    }


def _print_metrics(metrics: dict[str, Any]) -> None:
    for name, value in metrics.get("cross_validation", {}).items():
        click.echo(f"{name}\t{value:.6g}")
