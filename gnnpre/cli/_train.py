"""``gnnpre train``: a model of a property from structures and labels."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from gnnpre._atomic import write_file

from ._cross_validation import check_folds, cross_validate
from ._networks import make_backbone, network_options
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
@click.option(
    "--target", multiple=True, required=True, help="Column with a property to learn; repeatable."
)
@click.option("--task", type=click.Choice(["regression", "classification"]), default="regression")
@click.option("--unit", default="", help="Unit of the property, for the report.")
@click.option("--pretrained", help="Model to start from: gnnpre-1, or a file.")
@click.option("--strategy", default="auto", show_default=True, help="How it is fine-tuned.")
@network_options(backbone=None)
@click.option("--cutoff", type=float, help="Of the graphs, in Å; not with --pretrained.")
@click.option("--pooling", default="mean", show_default=True, help="mean; sum for extensive ones.")
@click.option("--calibration-fraction", type=float, default=0.0, help="For intervals, e.g. 0.1.")
@click.option("--cv", type=int, default=5, show_default=True, help="Folds; 0 for none.")
@click.option("--groups", help="Column: crystals of one group stay in one fold.")
@click.option(
    "--epoch-scoring", multiple=True, help="Scorer of scikit-learn after each epoch; repeatable."
)
@training_options(max_epochs=100)
@source_options
@seed_option
@device_option
@output_option("gnnpre-model", "Folder of the results.")
@config_option
def command(
    source: str,
    target: Sequence[str],
    unit: str,
    cutoff: float | None,
    cv: int,
    groups: str | None,
    output: str,
    **options: Any,
) -> int:
    """Train a model of a property of SOURCE, and estimate its errors by cross-validation.

    Writes model.gnnpre, metrics.json and, with --cv, predictions.csv and report.html, with the
    prediction of each crystal by a model that has not seen it. A row without a label is left out.
    """
    # 1. Read, and check everything that can be checked before training.
    reading = {key: options.pop(key) for key in ("structure_column", "id_column", "n_jobs")}
    estimator = _estimator(options)
    crystals = read_source(source, **reading)
    labelled = _labelled(crystals, target)
    check_folder(output)
    X, y = crystals.crystals[labelled], crystals.table[list(target)][labelled]
    group_labels = None if groups is None else crystals.column(groups, "--groups")[labelled]
    classes = not hasattr(estimator, "calibration_fraction")
    if classes and len(target) > 1:
        raise click.UsageError("--task classification takes one --target.")
    check_folds(cv, y, group_labels, classes)
    X = _graphs(X, cutoff, estimator)
    # 2. Cross-validate. The first file is written after a training: wrong options leave nothing.
    metrics: dict[str, Any] = {"target": list(target), "n": len(y)}
    table = None
    if cv:
        table, metrics["cross_validation"] = cross_validate(estimator, X, y, group_labels, cv)
        table.index = crystals.ids[labelled]
        table.index.name = "id"
        write_table(table, str(prepare_folder(output) / "predictions.csv"))
    # 3. Train on everything.
    click.echo(f"Training on all {len(y)} crystals.", err=True)
    estimator.fit(X, y.iloc[:, 0] if classes else y, groups=group_labels)
    folder = prepare_folder(output)
    estimator.save(folder / "model.gnnpre")
    write_file(folder / "metrics.json", json.dumps(metrics, indent=1))
    click.echo(f"Wrote {folder / 'model.gnnpre'}.", err=True)
    # 4. Report.
    if table is not None:
        _write_reports(folder, estimator, X, table, target, unit, cv)
    _print_metrics(metrics)
    return 1 if crystals.n_skipped else 0


def _labelled(source: Source, target: Sequence[str]) -> Any:
    columns = [source.column(name, "--target").notna().to_numpy() for name in target]
    present = columns[0] if len(columns) == 1 else sum(columns) > 0
    names = " or ".join(target)
    if not present.any():
        raise click.UsageError(f"--target {names}: no row has a value.")
    if not present.all():
        click.echo(f"{int((~present).sum())} rows without {names} are left out.", err=True)
    return present


def _estimator(options: dict[str, Any]) -> Any:
    from gnnpre.estimators import PropertyClassifier, PropertyRegressor

    options["epoch_scoring"] = list(options["epoch_scoring"]) or None
    backbone = make_backbone(options)
    if options.pop("task") == "regression":
        return PropertyRegressor(backbone, verbose=1, **options)
    if options.pop("calibration_fraction"):
        raise click.UsageError("--calibration-fraction belongs to --task regression.")
    return PropertyClassifier(backbone, verbose=1, **options)


def _graphs(X: Any, cutoff: float | None, estimator: Any) -> Any:
    """Return the crystals, as graphs where the user chose the cutoff."""
    if cutoff is None:
        return X
    if estimator.pretrained is not None:
        raise click.UsageError("--cutoff and --pretrained: a pre-trained model has its own cutoff.")
    from gnnpre.graphs import StructureToGraph

    return StructureToGraph(cutoff=cutoff).fit_transform(X)


def _write_reports(
    folder: Path, estimator: Any, X: Any, table: Any, target: Sequence[str], unit: str, cv: int
) -> None:
    """Write a page about the out-of-fold predictions of each target."""
    from gnnpre.inspection import report

    notes = [
        f"Each crystal was predicted by one of {cv} models that had not seen it (folds of a "
        "cross-validation); model.gnnpre was then trained on all crystals."
    ]
    # Names of columns may hold characters that file systems refuse.
    safe = [re.sub(r"[^\w.+-]", "_", name) for name in target]
    for number, name in enumerate(target):
        unique = safe[number] if safe.count(safe[number]) == 1 else f"{safe[number]}_{number + 1}"
        stem = "report" if len(target) == 1 else f"report_{unique}"
        path = report(
            estimator,
            X,
            table[name],
            folder / f"{stem}.html",
            y_pred=table[f"{name}_predicted"],
            ids=table.index,
            unit=unit,
            title=f"{name}: report",
            notes=notes,
        )
        click.echo(f"Wrote {path}.", err=True)


def _print_metrics(metrics: dict[str, Any]) -> None:
    for name, value in metrics.get("cross_validation", {}).items():
        click.echo(f"{name}\t{value:.6g}")
