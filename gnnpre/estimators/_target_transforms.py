"""Transformations of a target that make it easier to learn, and their inverses."""

import numpy as np

__all__ = ["TRANSFORMS", "TargetTransform"]

TRANSFORMS = ("identity", "log")


class TargetTransform:
    """Standardised target, or standardised signed logarithm of it.

    Parameters
    ----------
    name : {"identity", "log"}
        The function before the standardisation. ``"log"`` is
        ``sign(y) * log1p(abs(y) / median(abs(y)))``: linear near zero, logarithmic far from it,
        and independent of the unit of ``y``.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def fit(self, y: np.ndarray) -> "TargetTransform":
        """Learn the scales from ``y`` (n,)."""
        y = np.asarray(y, dtype=np.float64)
        median = np.median(np.abs(y))
        # More than half of the values may be zero, as many band gaps are.
        self._unit = median if median > 0 else np.abs(y).max() or 1.0
        curved = self._curve(y)
        self._mean, self._std = curved.mean(), curved.std() or 1.0
        self.center_value = float(y[0]) if np.ptp(y) == 0 else float(self.inverse(np.zeros(1))[0])
        return self

    def forward(self, y: np.ndarray) -> np.ndarray:
        """Return the transformed target."""
        return (self._curve(y) - self._mean) / self._std

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """Return the target from its transformed values."""
        curved = z * self._std + self._mean
        if self.name == "identity":
            return curved
        return np.sign(curved) * np.expm1(np.abs(curved)) * self._unit

    def slope(self, z: np.ndarray) -> np.ndarray:
        """Return the derivative of :meth:`inverse`, which carries standard deviations over."""
        if self.name == "identity":
            return np.full(len(z), self._std)
        return np.exp(np.abs(z * self._std + self._mean)) * self._unit * self._std

    def _curve(self, y: np.ndarray) -> np.ndarray:
        if self.name == "identity":
            return np.asarray(y, dtype=np.float64)
        return np.sign(y) * np.log1p(np.abs(y) / self._unit)
