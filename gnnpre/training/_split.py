"""The inner split into training and validation."""

import warnings
from numbers import Real
from typing import Any

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit

__all__ = ["split_train_valid"]


def split_train_valid(
    n: int, validation: Any, groups: Any, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split n crystals: indices to train on, and to validate on (perhaps none).

    ``validation`` is a part of the crystals, 0 for none, or a splitter whose first split is taken.
    Crystals of one group stay together.
    """
    if groups is not None:
        groups = _check_groups(groups, n)
    if hasattr(validation, "split") and not isinstance(validation, str):
        train, valid = next(iter(validation.split(np.zeros((n, 1)), None, groups)))
        return np.sort(train), np.sort(valid)
    _check_fraction(validation)
    if validation == 0:
        return np.arange(n), np.empty(0, dtype=np.int64)
    units = n if groups is None else len(np.unique(groups))
    if units * validation < 1 or units < 2:
        what = "crystals" if groups is None else "groups"
        warnings.warn(
            f"{units} {what} are too few to hold out validation_fraction={validation}: the model "
            "is trained on all of them, without validation.",
            UserWarning,
            stacklevel=2,
        )
        return np.arange(n), np.empty(0, dtype=np.int64)
    kind = ShuffleSplit if groups is None else GroupShuffleSplit
    splitter = kind(n_splits=1, test_size=float(validation), random_state=seed)
    train, valid = next(splitter.split(np.zeros((n, 1)), None, groups))
    return np.sort(train), np.sort(valid)


def _check_groups(groups: Any, n: int) -> np.ndarray:
    array = np.asarray(groups)
    if array.shape != (n,):
        raise ValueError(f"groups has shape {array.shape}; X has {n} crystals: expected ({n},).")
    return array


def _check_fraction(validation: Any) -> None:
    number = isinstance(validation, Real) and not isinstance(validation, bool)
    if not number or not 0 <= validation < 1:
        raise ValueError(
            f"validation_fraction={validation!r}; expected a number from 0 (none) to below 1, or a "
            "scikit-learn splitter."
        )
