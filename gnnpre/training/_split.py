"""The inner split into training and validation."""

import copy
from numbers import Real
from typing import Any

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, PredefinedSplit, ShuffleSplit

from gnnpre._labels import label_codes
from gnnpre._warnings import TrainingWarning, warn_user

__all__ = ["split_train_valid"]


def split_train_valid(
    n: int, validation: Any, groups: Any, seed: int, name: str = "validation_fraction"
) -> tuple[np.ndarray, np.ndarray]:
    """Split n crystals: indices to train on, and to validate on (perhaps none).

    ``validation`` is a part of the crystals, 0 for none, or a splitter whose first split is taken.
    Crystals of one group stay together. ``name`` is the user's word for it. Where too few are there
    to split, none is held out to validate on, with a warning; for other purposes it is an error.
    """
    if groups is not None:
        groups = label_codes("groups", groups, n_rows=n)
    if hasattr(validation, "split") and not isinstance(validation, str):
        return _split_by(validation, n, groups, seed, name)
    _check_fraction(validation, name)
    if validation == 0:
        return np.arange(n), np.empty(0, dtype=np.int64)
    # Groups are held out whole, so what counts is how many there are.
    units = n if groups is None else len(np.unique(groups))
    if units - np.ceil(units * validation) < 1 or units * validation < 1:
        _report_too_few(units, "crystals" if groups is None else "groups", validation, name)
        return np.arange(n), np.empty(0, dtype=np.int64)
    splitter_class = ShuffleSplit if groups is None else GroupShuffleSplit
    splitter = splitter_class(n_splits=1, test_size=float(validation), random_state=seed)
    # Sorted rows: a store reads its blocks in order.
    train, valid = next(splitter.split(_placeholder(n), None, groups))
    return np.sort(train), np.sort(valid)


def _report_too_few(n: int, noun: str, fraction: float, name: str) -> None:
    """Warn that none of n crystals or groups is held out, or raise if the model needs them."""
    problem = f"{n} {noun} are too few to hold out {name}={fraction}"
    if name != "validation_fraction":
        raise ValueError(
            f"{problem}: expected at least one {noun.removesuffix('s')} to hold out and one to "
            f"train on. Set {name} nearer to 0.5, set {name}=0, or pass more {noun}."
        )
    warn_user(
        f"{problem}: the model is trained on all of them, and none is held out.", TrainingWarning
    )


def _split_by(
    splitter: Any, n: int, groups: np.ndarray | None, seed: int, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Take the first split of a splitter, seeded where it is not: never by global states."""
    _check_length(splitter, n, name)
    splitter = copy.deepcopy(splitter)
    if getattr(splitter, "random_state", 0) is None:
        splitter.random_state = seed
    try:
        train, valid = next(iter(splitter.split(_placeholder(n), None, groups)))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name}={splitter!r} cannot split {n} crystals "
            f"{'without' if groups is None else 'with'} groups, and without y: {error}"
        ) from error
    train, valid = _rows_of(train, n, name), _rows_of(valid, n, name)
    if len(train) == 0:
        raise ValueError(f"{name}={splitter!r} leaves no crystal to train on.")
    both = np.intersect1d(train, valid)
    if len(both):
        raise ValueError(
            f"{name}={splitter!r} has {len(both)} crystals on both sides of the split, the first "
            f"of them row {both[0]}: errors on them say nothing of new crystals. Leave them out of "
            "one side."
        )
    return train, valid


def _check_length(splitter: Any, n: int, name: str) -> None:
    """Raise ValueError if a predefined split is not one of n crystals."""
    if isinstance(splitter, PredefinedSplit) and len(splitter.test_fold) != n:
        # It never looks at X: crystals beyond its rows would be neither trained nor validated on.
        raise ValueError(
            f"{name} is a PredefinedSplit of {len(splitter.test_fold)} rows; there are {n} "
            "crystals to split. It needs an entry for each of them: validation_fraction splits "
            "those that calibration_fraction leaves, and in a cross-validation those of a fold."
        )


def _rows_of(indices: Any, n: int, name: str) -> np.ndarray:
    """Return the rows of one side of a split, ascending, from indices or a mask."""
    rows = np.asarray(indices)
    if rows.dtype == bool and rows.shape == (n,):
        return np.flatnonzero(rows)
    outside = rows[(rows < 0) | (rows >= n)]
    if len(outside):
        raise ValueError(
            f"The splitter {name} returns row {outside[0]}; expected rows from 0 to {n - 1}, of "
            f"the {n} crystals to split."
        )
    return np.sort(rows)


def _placeholder(n: int) -> np.ndarray:
    """Return an X of n rows, which splitters count, in no memory."""
    return np.broadcast_to(0.0, (n, 1))


def _check_fraction(validation: Any, name: str) -> None:
    number = isinstance(validation, Real) and not isinstance(validation, bool)
    if not number or not 0 <= validation < 1:
        raise ValueError(
            f"{name}={validation!r}; expected a number from 0 (none) to below 1, or a "
            "scikit-learn splitter."
        )
