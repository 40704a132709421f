"""How far predictions are from targets."""

import numpy as np

__all__ = ["metrics"]


def metrics(targets: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """Return mean absolute error, root mean squared error and coefficient of determination."""
    errors = predictions - targets
    spread = float(((targets - targets.mean()) ** 2).sum())
    squares = float((errors**2).sum())
    return {
        "mae": float(np.abs(errors).mean()),
        "rmse": float(np.sqrt((errors**2).mean())),
        "r2": 1.0 - squares / spread if spread else float("nan"),
    }
