"""``gnnpre predict``: properties, or energies and forces, of new crystals."""

from typing import Any

import click

from ._cross_validation import as_json
from ._options import config_option, output_option, source_argument, source_options
from ._reading import Source, read_source
from ._writing import check_table, write_table

__all__ = ["command", "write_predictions"]


@click.command("predict")
@click.argument("model")
@source_argument
@click.option("--return-std", is_flag=True, help="Also standard deviations (calibrated models).")
@click.option("--confidence", type=float, help="Also an interval of this confidence, e.g. 0.9.")
@source_options
@output_option("-", "CSV or Parquet file, or - for stdout. A force field writes .extxyz.")
@config_option
def command(
    model: str,
    source: str,
    return_std: bool,
    confidence: float | None,
    output: str,
    **reading: Any,
) -> int:
    """Predict with the file MODEL for the crystals of SOURCE.

    Models of properties write a table; values of atoms are lists there, or a column of --output
    FILE.extxyz. Pre-trained force fields write energies (eV per cell), or with --output FILE.extxyz
    frames with energies, forces (eV/Å) and stress (eV/Å^3).
    """
    from gnnpre.estimators import load_estimator

    check_table(output, ".extxyz", ".xyz")
    estimator = load_estimator(model)
    crystals = read_source(source, **reading)
    if output.endswith((".extxyz", ".xyz")):
        _write_frames(estimator, crystals, output)
    else:
        write_predictions(estimator, crystals, output, return_std, confidence)
    return 1 if crystals.n_skipped else 0


def write_predictions(
    estimator: Any,
    source: Source,
    output: str,
    return_std: bool = False,
    confidence: float | None = None,
) -> None:
    """Write a table with the predictions of an estimator for the crystals of a source."""
    table = _table(estimator, source.crystals, return_std, confidence)
    table.index = source.ids
    table.index.name = "id"
    write_table(table, output)


def _table(estimator: Any, X: Any, std: bool, confidence: float | None) -> Any:
    import numpy as np
    import pandas as pd

    from gnnpre.graphs import FrameLabels

    if (std or confidence is not None) and not hasattr(estimator, "predict_interval"):
        raise click.UsageError(
            "--return-std and --confidence need a PropertyRegressor or PropertyEnsemble; MODEL is "
            f"a {type(estimator).__name__}."
        )
    columns: dict[str, Any] = {}
    values = estimator.predict(X, return_std=True) if std else estimator.predict(X)
    values, deviations = values if std else (values, None)
    if isinstance(values, FrameLabels):
        return pd.DataFrame({"energy_eV": values.energy})
    if not isinstance(values, (np.ndarray, pd.DataFrame)):  # mixtures and displacements
        raise click.UsageError("MODEL predicts no table; write --output FILE.extxyz, or use embed.")
    # A model that knows the names of its properties predicts a DataFrame.
    _add(columns, "predicted" if isinstance(values, pd.DataFrame) else "prediction", values)
    if std:
        _add(columns, "std", deviations)
    if confidence is not None:
        lower, upper = estimator.predict_interval(X, confidence)
        _add(columns, "lower", lower)
        _add(columns, "upper", upper)
    if hasattr(estimator, "predict_proba"):
        for label, column in zip(estimator.classes_, estimator.predict_proba(X).T, strict=True):
            columns[f"probability_{label}"] = np.asarray(column)
    return pd.DataFrame(columns)


def _add(columns: dict[str, Any], name: str, values: Any) -> None:
    """Add one column, or one for each property or component of a tensor."""
    if hasattr(values, "columns"):
        columns.update({f"{target}_{name}": values[target].to_numpy() for target in values})
    elif values.ndim == 1 and values.dtype.kind == "O" and hasattr(values[0], "tolist"):
        columns[name] = [as_json(row) for row in values]  # values of atoms
    elif values.ndim == 1:
        columns[name] = values
    else:
        table = values.reshape(len(values), -1)
        columns.update({f"{name}_{number}": column for number, column in enumerate(table.T)})


def _write_frames(estimator: Any, source: Any, output: str) -> None:
    from gnnpre.datasets import to_extxyz
    from gnnpre.graphs import FrameLabels

    labels = estimator.predict(source.crystals)
    if str(getattr(labels, "dtype", "")) == "object":  # arrays of the atoms of each crystal
        labels = FrameLabels(source.crystals.n_atoms, atom_info={"prediction": list(labels)})
    if not isinstance(labels, FrameLabels):
        raise click.UsageError(
            f"--output {output}: MODEL predicts no energies and forces, nor values of atoms; write "
            "a .csv file."
        )
    to_extxyz(output, source.crystals, labels)
    click.echo(f"Wrote {len(labels)} frames to {output}.", err=True)
