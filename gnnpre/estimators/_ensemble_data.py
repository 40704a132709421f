"""Data of an ensemble: crystals that count, with checked labels, and their folds."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold, KFold

from gnnpre._label_numbers import check_magnitude
from gnnpre._labels import as_floats, flatten_column, label_codes
from gnnpre.graphs import CrystalGraphs, as_crystals
from gnnpre.objectives import refuse_labels_outside

from ._inputs import check_sample_weight
from ._outlier_check import warn_of_outlying_labels

__all__ = ["EnsembleData", "Fold", "checked_data", "make_folds"]

# Rows that a model is trained on, and rows that are left out.
Fold = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class EnsembleData:
    """Crystals with their labels.

    Parameters
    ----------
    crystals : Crystals or CrystalGraphs of shape (n,)
        The crystals.
    y : ndarray of shape (n,)
        Their property, without a gap.
    weights : ndarray of shape (n,)
        Weights of the crystals, none of them zero.
    groups : ndarray of int of shape (n,) or None
        Groups that folds keep together.
    """

    crystals: Any
    y: np.ndarray
    weights: np.ndarray
    groups: np.ndarray | None

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: np.ndarray) -> "EnsembleData":
        """Return the data of some rows."""
        groups = None if self.groups is None else self.groups[rows]
        return EnsembleData(self.crystals[rows], self.y[rows], self.weights[rows], groups)


def checked_data(X: Any, y: Any, groups: Any, sample_weight: Any, bounds: Any) -> EnsembleData:
    """Check the arguments of ``fit``, and return the crystals that have a weight.

    Parameters
    ----------
    X : container of n structures, Crystals or CrystalGraphs
        The crystals.
    y : array-like of shape (n,)
        Their property.
    groups : array-like of shape (n,) or None
        Groups that folds keep together.
    sample_weight : array-like of shape (n,) or None
        Weights of the crystals.
    bounds : tuple of (float or None, float or None), or None
        Least and largest possible value.

    Returns
    -------
    EnsembleData
        The data.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as expected, or a value of y is missing or out of bounds.

    Warns
    -----
    DataQualityWarning
        If a value of y is far from all others.
    """
    # Graphs stay as they are, since networks are trained with their settings.
    crystals = X if isinstance(X, CrystalGraphs) else as_crystals(X)
    values = as_floats("y", flatten_column("y", y), n_rows=len(crystals), n_dims=(1,))
    check_magnitude("y", values)
    missing = np.flatnonzero(np.isnan(values))
    if len(missing):
        raise ValueError(
            f"y is missing in {len(missing)} of {len(values)} rows, the first of them "
            f"{missing[0]}: leave these crystals out."
        )
    refuse_labels_outside(values, bounds, y)
    weights = np.ones(len(values))
    if sample_weight is not None:
        weights = check_sample_weight(sample_weight, len(values))
    codes = None if groups is None else label_codes("groups", groups, n_rows=len(values))
    warn_of_outlying_labels(np.where(weights > 0, values, np.nan), y)
    data = EnsembleData(crystals, values, weights, codes)
    # A crystal of no weight is as good as not there, in folds too.
    return data if weights.all() else data[np.flatnonzero(weights)]


def make_folds(data: EnsembleData, n_folds: int, random: np.random.RandomState) -> list[Fold]:
    """Split data into folds, by groups where there are some.

    Parameters
    ----------
    data : EnsembleData
        The data.
    n_folds : int
        Number of folds.
    random : RandomState
        Shuffles the crystals.

    Returns
    -------
    list of Fold
        The folds.

    Raises
    ------
    ValueError
        If there are too few crystals or groups.
    """
    if len(data) < 2 * n_folds:
        raise ValueError(
            f"X has {len(data)} crystals of a weight; an ensemble with cv={n_folds} needs "
            f"{2 * n_folds} at least. Lower cv, or use PropertyRegressor."
        )
    if data.groups is None:
        splitter: Any = KFold(n_folds, shuffle=True, random_state=random.randint(2**31))
    else:
        n_groups = len(np.unique(data.groups))
        if n_groups < n_folds:
            raise ValueError(f"groups has {n_groups} groups; cv={n_folds} folds need as many.")
        splitter = GroupKFold(n_folds)
    return list(splitter.split(np.zeros(len(data)), groups=data.groups))
