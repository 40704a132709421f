"""Columns that writers store beside the crystals: ids, info and targets."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from gnnpre._row_order import warn_of_other_order

from ..graphs import Crystals, FrameLabels, as_column

__all__ = ["as_mapping", "check_labels_of", "written_columns"]


def check_labels_of(crystals: Crystals, labels: Any) -> None:
    """Check that labels are those of the crystals, or None."""
    if labels is None:
        return
    if not isinstance(labels, FrameLabels):
        raise TypeError(
            f"labels must be FrameLabels or None; got {type(labels).__name__}. Pass other columns "
            "as targets=."
        )
    if not np.array_equal(labels.n_atoms, crystals.n_atoms):
        raise ValueError(
            f"labels are of {len(labels)} frames and crystals of {len(crystals)}, or the numbers "
            "of atoms differ; pass labels of the same crystals, in the same order."
        )


def written_columns(
    crystals: Crystals,
    labels: FrameLabels | None,
    targets: Any,
    id_name: str,
    is_reserved: Callable[[str], bool],
    derived: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """Return ids, info columns and targets, checked for length and names.

    Parameters
    ----------
    crystals : Crystals
        The crystals, with ``ids`` and ``info``.
    labels : FrameLabels or None
        Labels with ``info``.
    targets : Series, DataFrame, mapping or None
        Columns of targets.
    id_name : str
        Name of the column of ids.
    is_reserved : callable
        Returns whether a name means something else in the format.
    derived : collection of str
        Columns of info that the format derives from the structures: they are left out.

    Returns
    -------
    dict of ndarray of shape (n,)
        The columns. Of two with one name, that of the crystals goes before that of the labels.

    Raises
    ------
    TypeError, ValueError
        If targets are not a table, a name is reserved, a length differs, or a target has the name
        of a column with other values.

    Warns
    -----
    DataQualityWarning
        If targets have the index of the crystals in another order.
    """
    columns = {} if crystals.ids is None else {id_name: crystals.ids}
    info = {} if labels is None else labels.info
    tables = [
        {name: values for name, values in table.items() if name not in derived}
        for table in (crystals.info, info)
    ]
    warn_of_other_order(crystals, targets=targets)
    named = as_mapping(targets)
    for table in (*tables, named):
        for name, values in table.items():
            if is_reserved(name):
                raise ValueError(
                    f"A column is named {name!r}, which means something else in this format: "
                    "rename it."
                )
            array = as_column(f"Column {name!r}", values, len(crystals))
            # The first of equal names wins: ids, then columns of crystals, then of labels.
            if table is named and name in columns and not _are_equal(columns[name], array):
                raise ValueError(
                    f"Column {name!r} is in targets and in the ids or info of the crystals, with "
                    "other values: drop one of the two."
                )
            columns.setdefault(name, array)
    return columns


def _are_equal(first: np.ndarray, second: np.ndarray) -> bool:
    """Return whether two columns have the same values, missing ones included."""
    pairs = zip(first.tolist(), second.tolist(), strict=True)
    return all(a == b or (a != a and b != b) for a, b in pairs)


def as_mapping(targets: Any) -> Mapping[str, Any]:
    """Return the columns of targets by name."""
    if targets is None:
        return {}
    if hasattr(targets, "to_frame"):  # a Series
        targets = targets.to_frame()
    if not (isinstance(targets, Mapping) or hasattr(targets, "columns")):
        raise TypeError(
            f"targets must be a Series, DataFrame or dict of arrays; got {type(targets).__name__}."
        )
    # A table of polars yields its columns, and not their names.
    return {str(name): targets[name] for name in getattr(targets, "columns", targets)}
