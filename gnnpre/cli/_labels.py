"""Crystals and their labels for ``gnnpre train``, in each form of a property."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from ._frames import read_labelled_frames
from ._reading import Source, is_matbench, read_source, refuse_option, text_of_ids

__all__ = ["Labelled", "as_classes", "as_numbers", "read_labelled"]


@dataclass(frozen=True)
class Labelled:
    """The crystals that have a label."""

    crystals: Any
    #: DataFrame of numbers of crystals; in other forms a Series of arrays.
    y: Any
    ids: np.ndarray
    groups: Any
    n_skipped: int


def read_labelled(
    source: str, target: Sequence[str], form: str, groups: str | None, reading: dict[str, Any]
) -> Labelled:
    """Read the crystals that have a value of a target.

    Parameters
    ----------
    source : str
        As in all commands; of values of atoms also files of frames with columns of atoms.
    target : sequence of str
        Columns.
    form : {"crystal", "atom", "vector", "tensor"}
        Form of the property.
    groups : str or None
        Column of the groups.
    reading : dict
        Parameters of :func:`read_source`.

    Returns
    -------
    Labelled
        The crystals.
    """
    if form != "crystal" and len(target) > 1:
        raise click.UsageError(f"--target-form {form} takes one --target.")
    if form == "atom" and not _is_table(source):
        crystals, y = _read_atom_column(source, target[0], reading)
    else:
        crystals = read_source(source, **reading)
        columns = [crystals.column(name, "--target") for name in target]
        y = crystals.table[list(target)] if form == "crystal" else _as_arrays(columns[0])
    present = _present(y, target)
    ids = crystals.ids[present]
    # True and False beside empty cells are objects until those are gone.
    y = y[present].infer_objects()
    return Labelled(
        crystals.crystals[present],
        y,
        ids,
        None if groups is None else _groups(crystals.column(groups, "--groups")[present], ids),
        crystals.n_skipped,
    )


def _groups(column: Any, ids: np.ndarray) -> Any:
    """Return a column of groups after a check that each crystal has one."""
    missing = column.isna().to_numpy()
    if missing.any():
        raise click.UsageError(
            f"--groups {column.name}: {int(missing.sum())} of {len(missing)} rows are empty, the "
            f"first of id {ids[missing][0]}; expected a group of each crystal. Fill in the cells, "
            "with an id of its own for a crystal that belongs to no group."
        )
    return column


def as_numbers(data: Labelled) -> Labelled:
    """Return crystals with their numbers, those with leading zeros too, which are read as text.

    Raises
    ------
    click.UsageError
        If a column holds other text or infinite numbers; names the crystal.
    """
    import pandas as pd

    y = data.y.copy()
    for name, column in data.y.items():
        if any(isinstance(value, (bool, np.bool_)) for value in column):
            raise click.UsageError(
                f"--target {name}: the column holds True and False. Learn them as classes with "
                "--task classification, or write 1 and 0."
            )
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)
        bad = (np.isnan(numbers) & column.notna().to_numpy()) | np.isinf(numbers)
        if bad.any():
            value = str(column[bad].iloc[0])[:40]
            raise click.UsageError(
                f"--target {name}: {int(bad.sum())} of {len(bad)} rows hold no finite number, the "
                f"first {value!r} (id {data.ids[bad][0]}). Leave such cells empty, or learn "
                "classes with --task classification."
            )
        if any(isinstance(value, str) for value in column):
            y[name] = numbers
    return replace(data, y=y)


def as_classes(data: Labelled) -> Labelled:
    """Return crystals with their classes, whole numbers as integers: gaps make decimals of them.

    Raises
    ------
    click.UsageError
        If the column holds numbers with decimals.
    """
    from pandas.api.types import is_float_dtype

    column = data.y.iloc[:, 0]
    if not is_float_dtype(column):
        return data
    values = column.to_numpy(dtype=float)
    decimal = (values != np.round(values)) | (np.abs(values) >= 2.0**53)
    if decimal.any():
        raise click.UsageError(
            f"--target {column.name}: the column holds numbers, {float(values[decimal][0])!r} for "
            f"id {data.ids[decimal][0]}; expected classes. Learn numbers with --task regression."
        )
    return replace(data, y=data.y.astype(np.int64))


def _is_table(source: str) -> bool:
    return source.lower().endswith((".csv", ".tsv")) or is_matbench(Path(source))


def _present(y: Any, target: Sequence[str]) -> np.ndarray:
    """Return which rows have a value, at least one of several, and report the others."""
    filled = y.notna().to_numpy()
    present: np.ndarray = filled.any(axis=1) if filled.ndim == 2 else filled
    names = " or ".join(target)
    if not present.any():
        raise click.UsageError(f"--target {names}: no row has a value.")
    if not present.all():
        click.echo(f"{int((~present).sum())} rows without {names} are left out.", err=True)
    return present


def _as_arrays(column: Any) -> Any:
    """Return a column of lists, or of their JSON text, as a Series of arrays; missing ones stay."""
    import pandas as pd

    arrays = [_as_array(value, column.name, row) for row, value in enumerate(column)]
    return pd.Series(arrays, index=column.index, name=column.name, dtype=object)


def _as_array(value: Any, name: str, row: int) -> np.ndarray | None:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    try:
        array = np.asarray(json.loads(value) if isinstance(value, str) else value, dtype=float)
    except (ValueError, TypeError):
        array = np.array(0.0)
    if not array.ndim:
        raise click.UsageError(
            f"--target {name}: row {row} holds {str(value)[:40]!r}; expected a list of numbers "
            "such as [0.1, -0.2], or of such lists for a tensor. For numbers of crystals leave "
            "--target-form out."
        )
    return array


def _read_atom_column(source: str, target: str, reading: dict[str, Any]) -> tuple[Source, Any]:
    """Read crystals and a column of atoms from a file of frames."""
    import pandas as pd

    structure_column, id_column = reading["structure_column"], reading["id_column"]
    refuse_option("--structure-column", structure_column, source, "frames, not a column of them")
    crystals, labels = read_labelled_frames(source, target)
    columns = getattr(labels, "atom_info", {})
    if target not in columns:
        raise click.UsageError(
            f"--target {target}: the source has no such column of atoms; it has "
            f"{', '.join(columns) or 'none'}."
        )
    # A file may have no other column than that of the atoms.
    table = pd.DataFrame(dict(labels.info), index=range(len(crystals)))
    if id_column is not None:
        crystals.ids = text_of_ids(Source(crystals, table, 0).column(id_column, "--id-column"))
    values = labels.per_atom(target)
    arrays = [None if np.isnan(row).all() else row for row in values]
    y = pd.Series(arrays, index=table.index, name=target, dtype=object)
    return Source(crystals, table, 0), y
