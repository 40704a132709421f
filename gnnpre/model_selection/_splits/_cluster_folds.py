"""Cross-validation by clusters in the space of fingerprints or embeddings."""

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler

from gnnpre._validation import check_number
from gnnpre.fingerprints import EAD

from ._group_folds import GroupFolds

__all__ = ["FingerprintClusterKFold"]

# Clusters to a fold by default: enough to even out folds, few enough that clusters are apart.
CLUSTERS_PER_FOLD = 5
# Of a feature, relative to the largest in its column.
DIGITS = 6
# Columns that are smaller than this part of the largest hold noise.
SMALLEST_COLUMN = 1e-10


class FingerprintClusterKFold(GroupFolds):
    """Folds of clusters: the environments of test atoms are far from those in training crystals.

    Crystals become rows of a table, its columns are standardised, k-means finds clusters, and no
    cluster is split. The score is that of extrapolation to another region of materials.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    fingerprint : transformer, optional
        From crystals to a table, one row each: a fingerprint with ``pooling``, or
        ``FrozenEstimator(pretrainer)`` for the embeddings of a fitted model. It is cloned and
        fitted on all crystals, without targets. By default ``EAD(pooling="mean")``.
    n_clusters : int, optional
        Number of clusters, at least ``n_splits``; five a fold by default. With as many clusters
        as folds, folds lie furthest apart and differ most in size.
    shuffle : bool, default=False
        Spread clusters of equal size over the folds at random.
    random_state : int, optional
        Seed of k-means and of the shuffle. Without it k-means starts from the same seed each
        time, and only ``shuffle`` differs from call to call.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    TypeError
        If the fingerprint is not a transformer, or a Pretrainer that is not frozen.

    Examples
    --------
    >>> from gnnpre import EAD
    >>> from gnnpre.datasets import make_emt_frames
    >>> from gnnpre.model_selection import FingerprintClusterKFold
    >>> structures, labels = make_emt_frames(20, random_state=0)
    >>> folds = FingerprintClusterKFold(3, fingerprint=EAD(L=0, pooling="mean"))
    >>> sum(len(test) for _, test in folds.split(structures, labels))
    20
    """

    _groups_are = "clusters of distinct fingerprints"

    def __init__(
        self,
        n_splits: int = 5,
        *,
        fingerprint: Any = None,
        n_clusters: int | None = None,
        shuffle: bool = False,
        random_state: int | None = None,
    ) -> None:
        super().__init__(n_splits, shuffle=shuffle, random_state=random_state)
        if n_clusters is not None:
            check_number("n_clusters", n_clusters, integer=True, low=n_splits, low_included=True)
        if fingerprint is not None:
            _check_transformer(fingerprint)
        self.fingerprint = fingerprint
        self.n_clusters = n_clusters

    def _labels(self, X: Any) -> np.ndarray:
        # Rows that differ by rounding, as those of a supercell do, are one: equal crystals never
        # part, and k-means, which warns of more clusters than distinct rows, gets no noise.
        table = _rounded(self._table(X))
        distinct, row_of = np.unique(table, axis=0, return_inverse=True)
        scaler = StandardScaler().set_output(transform="default").fit(table)
        rows = scaler.transform(distinct)
        n_clusters = min(self.n_clusters or CLUSTERS_PER_FOLD * self.n_splits, len(distinct))
        seed = 0 if self.random_state is None else self.random_state
        weights = np.bincount(row_of.ravel())
        clusters = KMeans(n_clusters, n_init=10, random_state=seed)
        clusters.fit(rows, sample_weight=weights)
        return clusters.labels_[row_of.ravel()]

    def _table(self, X: Any) -> np.ndarray:
        """Return a row of finite numbers for each crystal."""
        # 1. the table
        chosen = EAD(pooling="mean") if self.fingerprint is None else clone(self.fingerprint)
        table = chosen.fit_transform(X) if hasattr(chosen, "fit_transform") else _fit(chosen, X)
        if hasattr(table, "iloc"):
            table = table.to_numpy()
        # 2. it comes from any transformer: check its form, length and values
        if not isinstance(table, np.ndarray) or table.ndim != 2:
            shape = getattr(table, "shape", None)
            raise ValueError(
                f"fingerprint={chosen!r} returned {type(table).__name__}"
                f"{'' if shape is None else f' of shape {shape}'}; expected a table with one row "
                'for each crystal. Fingerprints return one with pooling="mean".'
            )
        if len(table) != len(X):
            raise ValueError(
                f"fingerprint={chosen!r} returned {len(table)} rows for the {len(X)} crystals of "
                "X; expected one row for each crystal, in the same order."
            )
        bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
        if len(bad):
            raise ValueError(
                f"fingerprint={chosen!r} returned NaN or infinity for crystal {bad[0]} of X; "
                "expected finite numbers. Leave that crystal out or use another fingerprint."
            )
        return table.astype(np.float64)


def _fit(transformer: Any, X: Any) -> Any:
    return transformer.fit(X, None).transform(X)  # FrozenEstimator.fit wants a y


def _rounded(table: np.ndarray) -> np.ndarray:
    """Round each column to the digits that are reliable in float32, and noise about 0 to 0."""
    largest = np.abs(table).max(axis=0, initial=0.0)
    # Features that symmetry makes 0 come out as 1e-30: standardised, they would weigh as any other.
    unit = np.maximum(largest, SMALLEST_COLUMN * largest.max(initial=0.0))
    return (table / np.where(unit > 0, unit, 1.0)).round(DIGITS)


def _check_transformer(fingerprint: Any) -> None:
    from gnnpre.estimators import Pretrainer

    if isinstance(fingerprint, type) or not hasattr(fingerprint, "transform"):
        raise TypeError(
            f"fingerprint={fingerprint!r} has no method transform; expected a transformer from "
            'crystals to a table, such as EAD(pooling="mean").'
        )
    if isinstance(fingerprint, Pretrainer):
        raise TypeError(
            "fingerprint is a bare Pretrainer, which every split would train anew; expected a "
            "fitted one, frozen: pass sklearn.frozen.FrozenEstimator(pretrainer)."
        )
