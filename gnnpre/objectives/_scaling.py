"""Means and spreads in float64 that neither overflow nor vanish, whatever the unit."""

from typing import Any

import numpy as np

__all__ = ["RunningMeanSquare", "mean_and_spread", "root_mean_square"]

# A spread below so many roundings of the values is that of a constant.
ROUNDINGS = 16


def root_mean_square(values: np.ndarray) -> np.ndarray:
    """Return the root mean square over the first axis; 0 where there are no values."""
    if len(values) == 0:
        return np.zeros(values.shape[1:])
    largest = np.abs(values).max(axis=0)
    # Squares of 1e-200 are 0, and those of 1e200 infinite: divide by the largest value first.
    divisor = np.where(largest > 0, largest, 1.0)
    result: np.ndarray = divisor * np.sqrt(((values / divisor) ** 2).mean(axis=0))
    return np.where(largest > 0, result, 0.0)


class RunningMeanSquare:
    """Root mean square over the first axis of values that come chunk by chunk."""

    def __init__(self) -> None:
        self._count = 0
        self._sizes: list[np.ndarray] = []

    def add(self, values: np.ndarray) -> None:
        """Take the next values, ``(m, ...)``."""
        self._count += len(values)
        # Roots, so that squares neither overflow nor vanish when they are added up.
        self._sizes.append(root_mean_square(values) * np.sqrt(len(values)))

    def root(self) -> Any:
        """Return the root mean square; 0 where there were no values."""
        if not self._count:
            return 0.0
        if len(self._sizes) == 1:
            return self._sizes[0] / np.sqrt(self._count)
        sizes = np.stack(self._sizes)
        return root_mean_square(sizes) * np.sqrt(len(sizes) / self._count)


def mean_and_spread(
    values: np.ndarray, sizes: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation over the first axis, exactly 0 for a constant.

    Parameters
    ----------
    values : ndarray of shape (n, ...)
        Finite numbers.
    sizes : ndarray of shape (n,), optional
        Sizes that the values are proportional to, such as numbers of atoms: the mean is that of
        ``values / sizes``, and the spread that of ``values - mean * sizes``.

    Returns
    -------
    mean, spread : ndarray
        One entry for each column.
    """
    divisor = np.ones(len(values)) if sizes is None else np.asarray(sizes, dtype=np.float64)
    divisor = divisor.reshape(-1, *[1] * (values.ndim - 1))
    per_size = values / divisor
    # The mean of what is close to the first value loses no digits to a large offset.
    first = per_size[0]
    mean = first + (per_size - first).mean(axis=0)
    residual = values - mean * divisor
    spread = root_mean_square(residual - residual.mean(axis=0))
    if sizes is None:
        return mean, spread
    # Products with sizes are rounded: what is proportional to them leaves a little behind.
    noise = ROUNDINGS * np.finfo(np.float64).eps * np.abs(values).max(axis=0)
    return mean, np.where(spread > noise, spread, 0.0)
