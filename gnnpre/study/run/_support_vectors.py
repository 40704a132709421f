"""A support vector machine on tables of features, chosen by inner validation."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, QuantileTransformer, StandardScaler
from sklearn.svm import SVR

__all__ = ["SupportVectors"]

COSTS = (1.0, 4.0, 16.0, 64.0)
#: Times the inverse of the number of features: squared distances of normal ones grow with it.
WIDTHS = (0.1, 0.3, 1.0)
EPSILON = 0.02
N_FOLDS, N_QUANTILES = 3, 100
#: Crystals that the search is limited to: a fit takes time by the square of their number.
MOST_SEARCHED = 1000
CACHE = 500  # MB, for kernels
ROUNDING = 1e-9


class SupportVectors(RegressorMixin, BaseEstimator):
    """Support vector regression whose C, gamma and target transformation are chosen by folds.

    Features are mapped to normal ones by their quantiles, block by block of equal weight. The
    target is standardised, or its logarithm where no label is negative.

    Parameters
    ----------
    blocks : list of int
        Numbers of columns of the tables that stand side by side.
    random_state : int
        Seed of the folds, and of the crystals that the search is limited to.
    """

    def __init__(self, blocks: list[int], *, random_state: int = 0) -> None:
        self.blocks = blocks
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: np.ndarray) -> "SupportVectors":
        """Choose the hyper-parameters and fit the machine to all rows."""
        # 1. features of equal range, and blocks of equal weight
        n_quantiles = min(N_QUANTILES, len(y))
        mapping = QuantileTransformer(n_quantiles=n_quantiles, output_distribution="normal")
        self.features_ = make_pipeline(_Rounding(self.blocks), mapping, _BlockScaler(self.blocks))
        table = self.features_.fit_transform(X)
        # 2. the search, on some of the rows of a large set
        rows = np.random.default_rng(self.random_state).permutation(len(y))[:MOST_SEARCHED]
        machine = TransformedTargetRegressor(SVR(epsilon=EPSILON, cache_size=CACHE))
        grid = {
            "regressor__C": COSTS,
            "regressor__gamma": WIDTHS,  # the rows of the table are scaled to unit mean square
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


class _Rounding(TransformerMixin, BaseEstimator):
    """Rounds each block relative to its largest number.

    Some features vanish by symmetry but for rounding errors, which quantiles would spread over the
    whole range.
    """

    def __init__(self, blocks: list[int]) -> None:
        self.blocks = blocks

    def fit(self, X: np.ndarray, y: Any = None) -> "_Rounding":
        """Determine the largest number of each block."""
        ends = np.cumsum(self.blocks)[:-1]
        largest = [np.abs(block).max() or 1.0 for block in np.split(X, ends, axis=1)]
        self.steps_ = ROUNDING * np.repeat(largest, self.blocks)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Round the columns."""
        rounded: np.ndarray = np.round(X / self.steps_) * self.steps_
        return rounded


class _BlockScaler(TransformerMixin, BaseEstimator):
    """Divides each block by the square root of its width and of the number of blocks.

    The squared norm of a row of normal features is one on average, whatever their number, and a
    table of few columns counts as much as one of many.
    """

    def __init__(self, blocks: list[int]) -> None:
        self.blocks = blocks

    def fit(self, X: np.ndarray, y: Any = None) -> "_BlockScaler":
        """Compute the factor of each column."""
        widths = np.repeat(self.blocks, self.blocks)
        self.factors_ = 1.0 / np.sqrt(widths * len(self.blocks))
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Scale the columns."""
        scaled: np.ndarray = X * self.factors_
        return scaled


def _target_transformations(y: np.ndarray) -> list[Any]:
    plain = StandardScaler()
    if y.min() < 0 or not y.any():
        return [plain]
    # Relative to the typical label, whatever the unit is.
    typical = float(np.median(y[y > 0]))
    logarithm = FunctionTransformer(
        _to_logarithm, _from_logarithm, kw_args={"unit": typical}, inv_kw_args={"unit": typical}
    )
    return [plain, make_pipeline(logarithm, StandardScaler())]


def _to_logarithm(y: np.ndarray, unit: float) -> np.ndarray:
    logarithm: np.ndarray = np.log1p(y / unit)
    return logarithm


def _from_logarithm(values: np.ndarray, unit: float) -> np.ndarray:
    y: np.ndarray = unit * np.expm1(values)
    return y
