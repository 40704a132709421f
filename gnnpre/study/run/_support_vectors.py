"""A support vector machine on tables of features, chosen by inner validation."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.feature_selection import VarianceThreshold
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, QuantileTransformer, StandardScaler
from sklearn.svm import SVR

__all__ = ["SupportVectors"]

COSTS = (1.0, 3.0, 10.0, 30.0)
#: Times the inverse of the number of features: squared distances of normal ones grow with it.
WIDTHS = (0.1, 0.2, 0.4)
EPSILON = 0.02
N_FOLDS, N_QUANTILES = 3, 100
#: Crystals that the search is limited to: a fit takes time by the square of their number.
MOST_SEARCHED = 800
CACHE = 500  # MB, for kernels


class SupportVectors(RegressorMixin, BaseEstimator):
    """Support vector regression whose C, gamma and target transformation are chosen by folds.

    Features are mapped to normal ones by their quantiles: those with heavy tails would otherwise
    decide the distances. The target is standardised, as it is or after ``sign(y) log1p(|y|)`` in
    units of its median.

    Parameters
    ----------
    random_state : int
        Seed of the folds, and of the crystals that the search is limited to.
    """

    def __init__(self, random_state: int = 0) -> None:
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: np.ndarray) -> "SupportVectors":
        """Choose the hyper-parameters and fit the machine to all rows."""
        # 1. features of equal range; one that never changes would throw a test row far off
        n_quantiles = max(2, min(N_QUANTILES, len(y) // 2))
        mapping = QuantileTransformer(n_quantiles=n_quantiles, output_distribution="normal")
        self.features_ = make_pipeline(VarianceThreshold(), mapping)
        table = self.features_.fit_transform(X)
        # 2. the search, on some of the rows of a large set
        rows = np.random.default_rng(self.random_state).permutation(len(y))[:MOST_SEARCHED]
        machine = TransformedTargetRegressor(SVR(epsilon=EPSILON, cache_size=CACHE))
        grid = {
            "regressor__C": COSTS,
            "regressor__gamma": [width / table.shape[1] for width in WIDTHS],
            "transformer": _target_transformations(y),
        }
        folds = KFold(min(N_FOLDS, len(rows)), shuffle=True, random_state=self.random_state)
        search = GridSearchCV(
            machine, grid, cv=folds, scoring="neg_mean_absolute_error", refit=False
        ).fit(table[rows], y[rows])
        # 3. the machine, on all rows
        self.chosen_ = search.best_params_
        self.machine_ = clone(machine).set_params(**self.chosen_).fit(table, y)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Predict the target of rows."""
        return np.asarray(self.machine_.predict(self.features_.transform(X)))


def _target_transformations(y: np.ndarray) -> list[Any]:
    """Return the target's standardisation, alone and after a logarithm."""
    # Relative to the typical label, whatever the unit is.
    sizes = np.abs(y[y != 0])
    unit = {"unit": float(np.median(sizes)) if len(sizes) else 1.0}
    logarithm = FunctionTransformer(_to_logarithm, _from_logarithm, kw_args=unit, inv_kw_args=unit)
    return [StandardScaler(), make_pipeline(logarithm, StandardScaler())]


def _to_logarithm(y: np.ndarray, unit: float) -> np.ndarray:
    logarithm: np.ndarray = np.sign(y) * np.log1p(np.abs(y) / unit)
    return logarithm


def _from_logarithm(values: np.ndarray, unit: float) -> np.ndarray:
    y: np.ndarray = unit * np.sign(values) * np.expm1(np.abs(values))
    return y
