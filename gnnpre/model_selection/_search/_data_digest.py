"""What tells the data of one search from those of another."""

from typing import Any

import joblib
import numpy as np

__all__ = ["data_fingerprint"]


def data_fingerprint(X: Any, y: Any, splits: list[Any], scoring: Any) -> str:
    """Name the data, splits and scoring of a search."""
    name = scoring if isinstance(scoring, str) else getattr(scoring, "__qualname__", repr(scoring))
    labels = np.asarray(y) if isinstance(y, (list, tuple)) else y
    digest: str = joblib.hash((_coordinates(X), labels, splits, name))
    return digest


def _coordinates(X: Any) -> Any:
    """Give what tells structures apart, whose own pickle changes when they are used."""
    is_objects = isinstance(X, np.ndarray) and X.dtype == object
    if not (is_objects or isinstance(X, (list, tuple)) or hasattr(X, "iloc")):
        return X
    parts = [_coordinates_of_one(item) for item in (X.ravel() if is_objects else X)]
    try:
        return np.concatenate(parts)
    except (TypeError, ValueError):
        return len(parts)


def _coordinates_of_one(item: Any) -> np.ndarray:
    # Only attributes that cache nothing are read.
    if hasattr(item, "sites"):
        return np.ravel([site.frac_coords for site in item.sites])
    return np.ravel(item.arrays["positions"] if hasattr(item, "arrays") else item)
