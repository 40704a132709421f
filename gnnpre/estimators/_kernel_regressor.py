"""A Gaussian process on a table of features, tuned by itself."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.linalg import cho_solve
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from gnnpre._labels import as_floats, flatten_column
from gnnpre._validation import check_number

from ._inputs import check_sample_weight
from ._kernel_features import KernelFeatures
from ._target_transforms import TRANSFORMS, TargetTransform

__all__ = ["KernelRegressor"]

# A Matérn kernel of this order is once differentiable: properties change smoothly, but not
# analytically, with composition and structure.
SMOOTHNESS = 1.5
LENGTH_SCALES = (1e-2, 1e3)
NOISE_LEVELS = (1e-6, 2.0)


class KernelRegressor(RegressorMixin, BaseEstimator):
    """Gaussian process regression on a table, with nothing left to tune.

    Each feature is mapped to a normal distribution by its quantiles, so that no heavy-tailed
    descriptor dominates the distances. The length scale, the amplitude and the noise maximise the
    marginal likelihood of a Matérn kernel of order 3/2 [1]_, on at most `max_tuning` rows. The
    transformation of the target is the one with the smaller mean absolute error in leave-one-out
    predictions, which a Gaussian process has in closed form. The final fit is exact up to
    `max_exact` rows; beyond, it uses a random subset of this size.

    Parameters
    ----------
    transforms : sequence of {"identity", "log"}, default=("identity", "log")
        Transformations of the target to choose from. ``"log"`` is
        ``sign(y) * log1p(abs(y) / median(abs(y)))``.
    blocks : sequence of int, optional
        Numbers of neighbouring features that belong together, such as the columns of an embedding
        and of a composition table. Each block contributes equally to the distance, whatever its
        number of columns. By default all features are one block.
    max_tuning : int, default=800
        Most rows that the hyper-parameters are fitted to.
    max_exact : int, default=6000
        Most rows of the final fit, whose time grows with the cube of the rows and memory with the
        square (6,000 rows: 290 MB).
    random_state : int, RandomState instance or None, default=None
        Draws the subsets.

    Attributes
    ----------
    processes_ : list
        One process for each target: transformation, kernel and training rows.
    transforms_ : list of str
        The transformation that was chosen for each target.
    n_features_in_ : int
        Number of features.

    References
    ----------
    .. [1] C. E. Rasmussen and C. K. I. Williams, "Gaussian Processes for Machine Learning", MIT
       Press (2006), equations 2.25, 2.26, 4.17, 5.8 and 5.12.

    Examples
    --------
    >>> import numpy as np
    >>> from gnnpre.estimators import KernelRegressor
    >>> X = np.linspace(0, 6, 40)[:, None]
    >>> model = KernelRegressor(random_state=0).fit(X, np.sin(X[:, 0]))
    >>> model.predict([[1.5]]).round(2)
    array([1.])
    """

    def __init__(
        self,
        *,
        transforms: Sequence[str] = ("identity", "log"),
        blocks: Sequence[int] | None = None,
        max_tuning: int = 800,
        max_exact: int = 6000,
        random_state: Any = None,
    ) -> None:
        self.transforms = transforms
        self.blocks = blocks
        self.max_tuning = max_tuning
        self.max_exact = max_exact
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "KernelRegressor":
        """Fit one Gaussian process for each target.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Features.
        y : array-like of shape (n,) or (n, m)
            Targets in any unit. With several, NaN marks a missing one.
        sample_weight : array-like of shape (n,), optional
            Weights; the variance of the noise of a row is inversely proportional to its weight.

        Returns
        -------
        KernelRegressor
            This estimator.

        Raises
        ------
        ValueError
            If a parameter is out of range, a feature is not finite, or a target has no value.
        """
        self._check_parameters()
        X = validate_data(self, X, dtype=np.float64)
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None.")
        y, weights = self._check_targets(X, y, sample_weight)
        random = check_random_state(self.random_state)
        self.features_ = KernelFeatures(self.blocks).fit(X)
        table = self.features_.transform(X)
        self.processes_ = [
            _fit_process(table, column, weights, self, random) for column in np.atleast_2d(y.T)
        ]
        self.transforms_ = [process.transform.name for process in self.processes_]
        self._one_dimensional = y.ndim == 1
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict the targets.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Features.
        return_std : bool, default=False
            Also return standard deviations, in the unit of the target. Under the transformation
            ``"log"`` they are those of its linearisation at the prediction.

        Returns
        -------
        ndarray of shape (n,) or (n, m), or a pair of them
            Predictions, and their standard deviations.
        """
        check_is_fitted(self, "processes_")
        X = validate_data(self, X, dtype=np.float64, reset=False)
        table = self.features_.transform(X)
        columns = [process.predict(table) for process in self.processes_]
        mean = np.stack([mean for mean, _ in columns], axis=1)
        std = np.stack([std for _, std in columns], axis=1)
        if self._one_dimensional:
            mean, std = mean[:, 0], std[:, 0]
        return (mean, std) if return_std else mean

    def _check_parameters(self) -> None:
        check_number("max_tuning", self.max_tuning, integer=True)
        check_number("max_exact", self.max_exact, integer=True)
        names = [self.transforms] if isinstance(self.transforms, str) else self.transforms
        if (
            not isinstance(names, (list, tuple))
            or not names
            or (any(not isinstance(name, str) or name not in TRANSFORMS for name in names))
        ):
            raise ValueError(
                f"transforms={self.transforms!r}; expected one or more of {sorted(TRANSFORMS)}."
            )

    def _check_targets(self, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Any]:
        y = as_floats("y", flatten_column("y", y), n_rows=len(X))
        if y.ndim == 1 or y.shape[1] == 1:
            missing = np.flatnonzero(np.isnan(y))
            if len(missing):
                raise ValueError(
                    f"y is missing (NaN) in {len(missing)} of {len(y)} rows, the first of them "
                    f"{missing[0]}: leave these rows out."
                )
        elif np.isnan(y).all(axis=0).any():
            column = int(np.isnan(y).all(axis=0).argmax())
            raise ValueError(f"y has no value in column {column}: leave this column out.")
        weights = np.ones(len(X))
        if sample_weight is not None:
            weights = check_sample_weight(sample_weight, len(X))
        return y, weights / weights[weights > 0].mean()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class _Process:
    """A fitted Gaussian process with the transformation of its target."""

    def __init__(self, transform: TargetTransform, regressor: Any, noise: float) -> None:
        self.transform = transform
        self.regressor = regressor
        self.noise = noise

    def predict(self, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return means and standard deviations in the unit of the target, each ``(n,)``."""
        if self.regressor is None:  # the target is constant
            return np.full(len(table), self.transform.center_value), np.zeros(len(table))
        means, deviations = [], []
        for start in range(0, len(table), 1000):  # the kernel with all training rows is in memory
            mean, std = self.regressor.predict(table[start : start + 1000], return_std=True)
            means.append(mean)
            deviations.append(np.sqrt(std**2 + self.noise))
        mean, std = np.concatenate(means), np.concatenate(deviations)
        return self.transform.inverse(mean), std * self.transform.slope(mean)


def _fit_process(
    table: np.ndarray, y: np.ndarray, weights: np.ndarray, config: KernelRegressor, random: Any
) -> _Process:
    """Choose the transformation, tune the kernel on a subset, and fit to all rows."""
    rows = np.flatnonzero(np.isfinite(y) & (weights > 0))
    names = [config.transforms] if isinstance(config.transforms, str) else config.transforms
    if np.ptp(y[rows]) == 0:
        return _Process(TargetTransform("identity").fit(y[rows]), None, 0.0)
    tuning = _subset(rows, config.max_tuning, random)
    candidates: list[tuple[float, int, TargetTransform, Any]] = []
    for name in dict.fromkeys(names):
        transform = TargetTransform(name).fit(y[rows])
        tuned = _tune(table[tuning], transform.forward(y[tuning]), random)
        predicted = transform.inverse(_leave_one_out(tuned))
        error = np.average(np.abs(predicted - y[tuning]), weights=weights[tuning])
        candidates.append((error, len(candidates), transform, tuned))
    _, _, transform, tuned = min(candidates, key=lambda candidate: candidate[:2])
    noise = float(np.exp(tuned.kernel_.k2.theta[0]))
    exact = _subset(rows, config.max_exact, random)
    regressor = GaussianProcessRegressor(
        tuned.kernel_.k1, alpha=noise / weights[exact], optimizer=None
    )
    regressor.fit(table[exact], transform.forward(y[exact]))
    return _Process(transform, regressor, noise)


def _subset(rows: np.ndarray, size: int, random: Any) -> np.ndarray:
    return rows if len(rows) <= size else np.sort(random.choice(rows, size, replace=False))


def _tune(table: np.ndarray, z: np.ndarray, random: Any) -> GaussianProcessRegressor:
    """Maximise the marginal likelihood over amplitude, length scale and noise."""
    # The median distance is where the kernel is neither all ones nor the identity.
    pairs = random.randint(len(table), size=(2, 500))
    distances = np.linalg.norm(table[pairs[0]] - table[pairs[1]], axis=1)
    distances = distances[distances > 0]
    start = float(np.median(distances)) if len(distances) else 1.0
    bounds = (LENGTH_SCALES[0] * start, LENGTH_SCALES[1] * start)
    kernel = ConstantKernel(1.0, (1e-3, 1e4)) * Matern(start, bounds, nu=SMOOTHNESS)
    noise = WhiteKernel(0.1, NOISE_LEVELS)
    with warnings.catch_warnings():
        # A length scale at its bound means that a target does not depend on the features, or
        # depends linearly: neither is an error.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianProcessRegressor(kernel + noise).fit(table, z)


def _leave_one_out(process: GaussianProcessRegressor) -> np.ndarray:
    """Return the prediction for each training row from all the others, ``(n,)``."""
    inverse = cho_solve((process.L_, True), np.eye(len(process.L_)))
    residual = process.alpha_ / np.diag(inverse)  # equation 5.12
    predicted: np.ndarray = process.y_train_ - residual
    return predicted
