"""Bounds of a property, such as 0 for a band gap: predictions are clipped, labels checked.

Clipping never makes a prediction worse: a label lies within the bounds, so that the nearest
value within them is at least as close to it. A link function such as softplus would reach the
bound only asymptotically, while many labels, such as the gaps of metals, lie right on it.
"""

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnpre._labels import rows_text

__all__ = ["Bounds", "check_bounds", "refuse_labels_outside"]


@dataclass(frozen=True)
class Bounds:
    """Least and largest value, infinite where there is none."""

    low: float = -np.inf
    high: float = np.inf

    @classmethod
    def of(cls, bounds: Any) -> "Bounds":
        """Return checked bounds, of a pair or None."""
        check_bounds("bounds", bounds)
        if bounds is None:
            return cls()
        low, high = bounds
        return cls(-np.inf if low is None else float(low), np.inf if high is None else float(high))

    def clip(self, values: Any) -> Any:
        """Return values (Tensor or ndarray) within the bounds; NaN stays NaN."""
        if self.low == -np.inf and self.high == np.inf:
            return values
        if isinstance(values, Tensor):
            return torch.clamp(values, self.low, self.high)
        return np.clip(values, self.low, self.high)


def check_bounds(name: str, bounds: Any) -> None:
    """Check that bounds are None or a pair of numbers or None, the first below the second."""
    if bounds is None:
        return
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
        raise ValueError(
            f"{name}={bounds!r}; expected a pair of the least and the largest value, with None for "
            "no bound, such as (0, None)."
        )
    for value in bounds:
        # True would pass as 1.
        is_number = isinstance(value, Real) and not isinstance(value, (bool, np.bool_))
        if value is not None and not (is_number and np.isfinite(value)):
            raise ValueError(f"{name}={bounds!r}; expected finite numbers, or None for no bound.")
    low, high = bounds
    if low is not None and high is not None and low >= high:
        raise ValueError(f"{name}={bounds!r}; expected the first to be below the second.")


def refuse_labels_outside(
    values: np.ndarray, bounds: Any, y: Any, rows: np.ndarray | None = None
) -> None:
    """Raise ValueError for labels outside of the bounds, which no prediction could reach.

    Parameters
    ----------
    values : ndarray of shape (n, ...)
        Labels, NaN where missing.
    bounds : pair or None
        The bounds.
    y : object
        The labels as the user passed them, whose index names the rows.
    rows : ndarray of int of shape (n,), optional
        Row of ``y`` of each label, if that is not its position.
    """
    limits = Bounds.of(bounds)
    outside = (values < limits.low) | (values > limits.high)
    if outside.any():
        outside_rows = np.unique(np.nonzero(outside)[0] if rows is None else rows[outside])
        raise ValueError(
            f"y is {values[outside][0]:g} at {rows_text(outside_rows, y)}, outside of "
            f"bounds={tuple(bounds)!r} in {len(outside_rows)} rows: correct these labels, or widen "
            "the bounds."
        )
