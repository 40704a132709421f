"""Rows of pandas containers that belong together, but are in different orders."""

from typing import Any

import numpy as np

from ._warnings import DataQualityWarning, warn_user

__all__ = ["warn_of_other_order"]


def warn_of_other_order(X: Any, **columns: Any) -> None:
    """Warn if a pandas column has the index of X in another order: rows count, not the index.

    Parameters
    ----------
    X : object
        The crystals as the user passed them; without an index there is nothing to compare.
    **columns : object
        Arguments by name, such as ``y``; those without an index are passed over.

    Warns
    -----
    DataQualityWarning
        If the rows of an argument were shuffled or sorted, but those of X were not.
    """
    index_of_X = getattr(X, "index", None)
    if index_of_X is None or callable(index_of_X):  # a list has a method of that name
        return
    labels = list(index_of_X)
    for name, column in columns.items():
        if hasattr(column, "iloc") and len(column) == len(labels):
            _compare_order(labels, name, list(column.index))


def _compare_order(labels: list[Any], name: str, column_labels: list[Any]) -> None:
    row_of = {label: row for row, label in enumerate(labels)}
    rows = np.array([row_of.get(label, -1) for label in column_labels], dtype=np.int64)
    moved = np.flatnonzero(rows != np.arange(len(rows)))
    # Only the same labels in another order are surely a mistake.
    if not len(moved) or not np.array_equal(np.sort(rows), np.arange(len(rows))):
        return
    row = moved[0]
    warn_user(
        f"{name} has the index of X in another order, in {len(moved)} of {len(rows)} rows (row "
        f"{row} is {labels[row]!r} in X and {column_labels[row]!r} in {name}). Rows are paired by "
        f"their position, as in scikit-learn: use .loc[X.index] on {name} if they belong together "
        "by the index, or .to_numpy() if by position.",
        DataQualityWarning,
    )
