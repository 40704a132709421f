"""Transformations of a target that make it easier to learn, and their inverses."""

from typing import Any

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

    def to_state(self) -> dict[str, Any]:
        """Return the fitted scales, JSON-serializable."""
        scales = {"unit": self._unit, "mean": self._mean, "std": self._std}
        scales["center_value"] = self.center_value
        return {"name": self.name, **{name: float(value) for name, value in scales.items()}}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "TargetTransform":
        """Return the fitted transformation that :meth:`to_state` described."""
        if state["name"] not in TRANSFORMS:
            raise ValueError(f"{state['name']!r} is not a transformation of a target")
        transform = cls(state["name"])
        transform._unit, transform._mean = float(state["unit"]), float(state["mean"])
        transform._std, transform.center_value = float(state["std"]), float(state["center_value"])
        return transform
