"""A support vector machine on a table, tuned on its training rows."""

import itertools
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.feature_selection import VarianceThreshold
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer
from sklearn.svm import SVR

__all__ = ["SupportVectors"]

#: Values to choose from by inner cross-validation. The kernel's gamma is per feature.
COSTS = (1.0, 3.0, 10.0, 30.0)
GAMMA = (0.1, 0.2, 0.4)
#: Width of the tube without loss, in standard deviations of the transformed target.
EPSILON = 0.02
#: Most rows that the inner cross-validation uses; its time grows with their square.
MAX_TUNING = 800
N_QUANTILES = 100
N_FOLDS = 5


class TargetScaler:
    """Standardise a target, after ``sign(y) * log1p(abs(y) / median(abs(y)))`` if ``log``."""

    def __init__(self, log: bool) -> None:
        self.log = log

    def fit(self, y: np.ndarray) -> "TargetScaler":
        """Learn the scales of a target (n,)."""
        # Relative to the target, so that its unit does not matter.
        sizes = np.abs(y[y != 0])
        self.unit_ = float(np.median(sizes)) if len(sizes) else 1.0
        values = self._compress(y)
        self.mean_ = float(values.mean())
        self.std_ = float(values.std()) or 1.0
        return self

    def transform(self, y: np.ndarray) -> np.ndarray:
        """Return the standardised target."""
        return (self._compress(y) - self.mean_) / self.std_

    def inverse_transform(self, z: np.ndarray) -> np.ndarray:
        """Return the target in its unit."""
        values = z * self.std_ + self.mean_
        if not self.log:
            return values * self.unit_
        return np.sign(values) * np.expm1(np.abs(values)) * self.unit_

    def _compress(self, y: np.ndarray) -> np.ndarray:
        relative = y / self.unit_
        return np.sign(relative) * np.log1p(np.abs(relative)) if self.log else relative


class SupportVectors(RegressorMixin, BaseEstimator):
    """Support vector regression whose C, gamma and target transformation are chosen in ``fit``.

    Each feature is mapped to a normal distribution by its quantiles: descriptors with heavy tails
    would otherwise decide the distances (jdft2d: 43 instead of 39 meV/atom).

    Parameters
    ----------
    random_state : int
        Seed of the rows and folds of the inner cross-validation.
    """

    def __init__(self, random_state: int = 0) -> None:
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: np.ndarray) -> "SupportVectors":
        """Choose the settings on a subset of the rows, then fit all.

        Parameters
        ----------
        X : ndarray of shape (n, d)
            Features.
        y : ndarray of shape (n,)
            Targets in any unit.
        """
        # A feature that is constant in training would throw a test row that differs far off.
        n_quantiles = max(2, min(N_QUANTILES, len(X) // 2))
        mapping = QuantileTransformer(n_quantiles=n_quantiles, output_distribution="normal")
        self.features_ = make_pipeline(VarianceThreshold(), mapping).fit(X)
        mapped = self.features_.transform(X)
        order = np.random.default_rng(self.random_state).permutation(len(y))[:MAX_TUNING]
        self.chosen_ = _choose(mapped[order], y[order], self.random_state)
        self.scaler_ = TargetScaler(self.chosen_["log"]).fit(y)
        gamma = self.chosen_["gamma"] / mapped.shape[1]
        self.svr_ = SVR(C=self.chosen_["C"], gamma=gamma, epsilon=EPSILON, cache_size=500)
        self.svr_.fit(mapped, self.scaler_.transform(y))
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Predict targets (n,)."""
        z = self.svr_.predict(self.features_.transform(X))
        return np.asarray(self.scaler_.inverse_transform(z))


def _choose(mapped: np.ndarray, y: np.ndarray, seed: int) -> dict[str, Any]:
    """Return the settings with the least mean absolute error in an inner cross-validation."""
    distances = cdist(mapped, mapped, "sqeuclidean") / mapped.shape[1]  # (n, n)
    kernels = {gamma: np.exp(-gamma * distances) for gamma in GAMMA}
    errors: dict[tuple[bool, float, float], list[float]] = {}
    folds = KFold(min(N_FOLDS, len(y)), shuffle=True, random_state=seed)
    for train, test in folds.split(y):
        for log, C, gamma in itertools.product((False, True), COSTS, GAMMA):
            scaler = TargetScaler(log).fit(y[train])
            svr = SVR(kernel="precomputed", C=C, epsilon=EPSILON)
            svr.fit(kernels[gamma][np.ix_(train, train)], scaler.transform(y[train]))
            z = svr.predict(kernels[gamma][np.ix_(test, train)])
            error = np.abs(scaler.inverse_transform(z) - y[test]).mean()
            errors.setdefault((log, C, gamma), []).append(float(error))
    log, C, gamma = min(errors, key=lambda setting: np.mean(errors[setting]))
    return {"log": log, "C": C, "gamma": gamma}
