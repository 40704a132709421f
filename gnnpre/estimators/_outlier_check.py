"""A check of properties for values in another unit, or placeholders such as -9999."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from gnnpre._labels import rows_text
from gnnpre._warnings import DataQualityWarning, warn_user

__all__ = ["labels_checked", "warn_of_outlying_labels"]

_CHECKED: ContextVar[bool] = ContextVar("checked", default=False)

# Quartiles of fewer labels say little: even of 20 band gaps drawn from 93,854, one draw in 700 has
# most gaps near zero and one far from them.
LEAST_LABELS = 20
# Distance from the median in interquartile ranges; 64 is the largest in the sets of MatBench that
# were looked at (refractive indices of dielectric).
LARGEST_DISTANCE = 100


@contextmanager
def labels_checked() -> Iterator[None]:
    """Warn of no labels inside the block, whose rows are some of those that were checked before."""
    token = _CHECKED.set(True)
    try:
        yield
    finally:
        _CHECKED.reset(token)


def warn_of_outlying_labels(values: np.ndarray, y: Any) -> None:
    """Warn of values so far from all others that the loss is about them alone.

    Parameters
    ----------
    values : ndarray of shape (n,) or (n, k)
        The properties, NaN where missing.
    y : object
        The same as the user passed them, whose index names the rows.

    Warns
    -----
    DataQualityWarning
        If a value is more than 100 interquartile ranges from the median of its column.
    """
    # The objective refuses other shapes, when it is clear how many crystals X has.
    if _CHECKED.get() or values.ndim not in (1, 2) or values.size == 0:
        return
    for number, column in enumerate(values.reshape(len(values), -1).T):
        present = column[~np.isnan(column)]
        if len(present) < LEAST_LABELS:
            continue
        low, median, high = np.quantile(present, [0.25, 0.5, 0.75])
        distance = np.abs(column - median)
        rows = np.flatnonzero(distance > LARGEST_DISTANCE * (high - low))
        if high == low or not len(rows):  # a property that most crystals lack, such as a moment
            continue
        which = "y" if values.ndim == 1 else f"y, in column {number},"
        warn_user(
            f"{which} is {column[rows[0]]:g} at {rows_text(rows[:1], y)}, while half of all values "
            f"are from {low:g} to {high:g}: {len(rows)} of {len(present)} are more than "
            f"{LARGEST_DISTANCE} times that range from the median. Is it in another unit, or a "
            "placeholder for a missing value? If the property spans orders of magnitude, learn "
            "its logarithm (TransformedTargetRegressor).",
            DataQualityWarning,
        )
