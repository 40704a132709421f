"""A Gaussian process on a table of features, tuned by itself."""

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from gnnpre._label_numbers import check_magnitude
from gnnpre._labels import as_floats, flatten_column, label_codes
from gnnpre._prefixes import add_prefix, select_prefix
from gnnpre._validation import as_random_state, check_number
from gnnpre.objectives import Bounds, refuse_labels_outside

from ._blas_threads import suitable_blas_threads
from ._inputs import check_sample_weight
from ._kernel_features import KernelFeatures, as_table
from ._target_process import MachineState, TargetProcess, fit_column, labelled_rows
from ._target_transforms import TRANSFORMS

__all__ = ["KernelRegressor"]

# Rows up to which left-out predictions are of machines that are tuned without them, and folds.
FEW_ROWS, N_FOLDS = 150, 5
# Labels of each target that every fold leaves to the others, if it is to be tuned without them.
LEAST_LABELS = 4


class KernelRegressor(RegressorMixin, BaseEstimator):
    """Gaussian process regression on a table, with nothing left to tune.

    Each feature is mapped to a normal distribution by its quantiles, so that no heavy-tailed
    descriptor dominates the distances; constant features are left out. The length scale of each
    block of features in a Matérn kernel of order 3/2, the noise and the transformation of the
    target are those of the least mean absolute error of left-out rows, which a Gaussian process
    predicts in closed form [1]_, on at most `max_tuning` rows. The noise has Student's t
    distribution, so that outliers do not pull. The final fit is exact up to `max_exact` rows;
    beyond, all rows are projected on the kernels at `n_landmarks` of them, as in Nyström's method.

    Parameters
    ----------
    transforms : sequence of {"identity", "log"}, default=("identity", "log")
        Transformations of the target to choose from. ``"log"`` is
        ``sign(y) * log1p(abs(y) / median(abs(y)))``.
    blocks : sequence of int, optional
        Numbers of neighbouring features that belong together, such as the columns of an embedding
        and of a composition table. Each block has a length scale of its own. By default all
        features are one block.
    resolution : float, default=0.0
        Share of the largest value of a feature below which differences are noise; values are
        rounded to it. Of features that were computed in single precision, such as embeddings,
        1e-5 is a good choice: noise would have quantiles, too.
    max_tuning : int, default=500
        Maximum number of rows that the hyper-parameters are fitted to.
    max_exact : int, default=3000
        Maximum number of rows of an exact fit, whose time grows with the cube of the rows and
        memory with the square (3,000 rows: 72 MB).
    n_landmarks : int, default=1500
        Most landmarks of a fit to more rows, whose time grows with the rows and with the square of
        the landmarks.
    bounds : tuple of (float or None, float or None), optional
        Least and largest possible target, such as ``(0, None)``: predictions are clipped, and
        targets out of bounds are an error.
    random_state : int, RandomState instance or None, default=None
        Draws the rows for tuning and the landmarks.

    Attributes
    ----------
    processes_ : list
        One process for each target: transformation, kernel and conditioned process.
    transforms_ : list of str
        The transformation that was chosen for each target.
    n_features_in_ : int
        Number of features.

    References
    ----------
    .. [1] C. E. Rasmussen and C. K. I. Williams, "Gaussian Processes for Machine Learning", MIT
       Press (2006), equations 2.25, 2.26, 4.17, 5.12 and 8.26.

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
        resolution: float = 0.0,
        max_tuning: int = 500,
        max_exact: int = 3000,
        n_landmarks: int = 1500,
        bounds: Any = None,
        random_state: Any = None,
    ) -> None:
        self.transforms = transforms
        self.blocks = blocks
        self.resolution = resolution
        self.max_tuning = max_tuning
        self.max_exact = max_exact
        self.n_landmarks = n_landmarks
        self.bounds = bounds
        self.random_state = random_state

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> "KernelRegressor":
        """Fit one Gaussian process for each target.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Features.
        y : array-like of shape (n,) or (n, m)
            Targets in any unit. With several, NaN marks a missing one.
        sample_weight : array-like of shape (n,), optional
            Weights; the variance of the noise of a row is inversely proportional to its weight,
            and a row of weight 0 is left out.
        groups : array-like of shape (n,), optional
            Rows of one group, such as strained copies of a crystal, are left out together when
            the hyper-parameters are tuned.

        Returns
        -------
        KernelRegressor
            This estimator.

        Raises
        ------
        ValueError
            If a parameter is out of range, a feature is not finite, or a target has no value.
        """
        self._fit(X, y, sample_weight, groups)
        return self

    def fit_leave_out(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fit, and predict each row from others, which shows how large errors on new rows are.

        Up to 150 rows these are predictions of five more processes, each tuned and fitted without
        a fifth of the rows: the hyper-parameters of so few rows fit their left-out errors too
        well. With more rows, the process of all rows predicts each from all others in closed form.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Features.
        y : array-like of shape (n,) or (n, m)
            Targets.
        sample_weight : array-like of shape (n,), optional
            Weights.
        groups : array-like of shape (n,), optional
            Rows of one group are left out together.

        Returns
        -------
        mean, std : ndarray of shape (n,) or (n, m)
            Predictions and standard deviations, NaN where a target is missing.
        """
        table, values, weights, codes = self._fit(X, y, sample_weight, groups)
        random = as_random_state("random_state", self.random_state)
        folds = _folds(values, weights, codes, random)
        columns = np.atleast_2d(values.T)
        if folds is None:
            with suitable_blas_threads(len(table)):
                predictions = [
                    process.left_out(table, column, weights, codes)
                    for process, column in zip(self.processes_, columns, strict=True)
                ]
        else:
            predictions = [
                self._predict_folds(table, column, weights, codes, folds, random)
                for column in columns
            ]
        return self._like_y(predictions)

    def _predict_folds(
        self,
        table: np.ndarray,
        y: np.ndarray,
        weights: np.ndarray,
        groups: np.ndarray,
        folds: np.ndarray,
        random: np.random.RandomState,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predict each fold by a process that is tuned and fitted without it."""
        mean, std = np.empty(len(y)), np.empty(len(y))
        for fold in range(folds.max() + 1):
            train, test = folds != fold, folds == fold
            rows = table[train], y[train], weights[train], groups[train]
            process = fit_column(*rows, self, self.features_.sizes, random)
            mean[test], std[test] = process.predict(table[test])
        is_missing = np.isnan(y)
        mean[is_missing], std[is_missing] = np.nan, np.nan
        return mean, std

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict the targets.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Features.
        return_std : bool, default=False
            Also return standard deviations, in the unit of the target. Under the transformation
            ``"log"`` they are those of its linearisation at the prediction; with ``bounds`` those
            before a prediction is clipped, which are at least as large.

        Returns
        -------
        ndarray of shape (n,) or (n, m), or a pair of them
            Predictions, and their standard deviations.
        """
        check_is_fitted(self, "processes_")
        X = as_table(self, X, reset=False)
        table = self.features_.transform(X)
        mean, std = self._like_y([process.predict(table) for process in self.processes_])
        return (mean, std) if return_std else mean

    def _fit(self, X: Any, y: Any, sample_weight: Any, groups: Any) -> tuple[np.ndarray, ...]:
        """Fit, and return mapped features, targets, weights and codes of groups."""
        self._check_parameters()
        self._bounds = Bounds.of(self.bounds)
        X = as_table(self, X, reset=True)
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None.")
        y, weights = self._check_targets(X, y, sample_weight)
        codes = np.arange(len(X))
        if groups is not None:
            codes = label_codes("groups", groups, n_rows=len(X))
        random = as_random_state("random_state", self.random_state)
        self.features_ = KernelFeatures(self.blocks, self.resolution).fit(X[weights > 0])
        table = self.features_.transform(X)
        # Each target has a process of its own: lengths and noise differ.
        self.processes_ = [
            fit_column(table, column, weights, codes, self, self.features_.sizes, random)
            for column in np.atleast_2d(y.T)
        ]
        self.transforms_ = [process.transform.name for process in self.processes_]
        self._one_dimensional = y.ndim == 1
        return table, y, weights, codes

    def _like_y(
        self, columns: list[tuple[np.ndarray, np.ndarray]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return means, clipped to the bounds, and deviations, in the shape of the targets."""
        means, deviations = zip(*columns, strict=True)
        mean, std = self._bounds.clip(np.stack(means, axis=1)), np.stack(deviations, axis=1)
        return (mean[:, 0], std[:, 0]) if self._one_dimensional else (mean, std)

    def _check_parameters(self) -> None:
        for name in ("max_tuning", "max_exact", "n_landmarks"):
            check_number(name, getattr(self, name), integer=True)
        check_number("resolution", self.resolution, low_included=True, high=1.0)
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
        labels_of_user = y
        y = as_floats("y", flatten_column("y", y), n_rows=len(X))
        check_magnitude("y", y)
        refuse_labels_outside(y, self.bounds, labels_of_user)
        if y.ndim == 1 or y.shape[1] == 1:
            missing = np.flatnonzero(np.isnan(y))
            if len(missing):
                raise ValueError(
                    f"y is missing (NaN) in {len(missing)} of {len(y)} rows, the first of them "
                    f"{missing[0]}: leave these rows out."
                )
        weights = np.ones(len(X))
        if sample_weight is not None:
            weights = check_sample_weight(sample_weight, len(X))
        empty = np.isnan(y[weights > 0]).all(axis=0)
        if y.ndim == 2 and empty.any():
            of_weight = "" if weights.all() else " in a row of a weight"
            raise ValueError(
                f"y has no value in column {int(empty.argmax())}{of_weight}: leave this column out."
            )
        # Weights of mean 1: the noise that is tuned then means the same with and without weights.
        return y, weights / weights[weights > 0].mean()

    def to_state(self) -> MachineState:
        """Return the fitted attributes as JSON and arrays.

        Returns
        -------
        values : dict
            JSON-serializable values.
        arrays : dict of str to ndarray
            Arrays.
        """
        state: dict[str, Any] = {
            "n_features": self.n_features_in_,
            "one_dimensional": self._one_dimensional,
            # Those of the fit, whatever the parameter is by now; JSON has no infinite numbers.
            "bounds": [b if np.isfinite(b) else None for b in astuple(self._bounds)],
            "processes": [],
        }
        arrays = add_prefix("features", self.features_.to_state())
        for number, process in enumerate(self.processes_):
            column, column_arrays = process.to_state()
            state["processes"].append(column)
            arrays |= add_prefix(f"{number}", column_arrays)
        return state, arrays

    def set_state(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Set the fitted attributes that :meth:`to_state` returned.

        Parameters
        ----------
        state : dict
            Its values.
        arrays : dict of str to ndarray
            Its arrays.
        """
        self.n_features_in_ = int(state["n_features"])
        self._one_dimensional = bool(state["one_dimensional"])
        self._bounds = Bounds.of(state["bounds"])
        self.features_ = KernelFeatures.from_state(select_prefix("features", arrays))
        self.processes_ = [
            TargetProcess.from_state(column, select_prefix(f"{number}", arrays))
            for number, column in enumerate(state["processes"])
        ]
        self.transforms_ = [process.transform.name for process in self.processes_]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _folds(
    y: np.ndarray, weights: np.ndarray, groups: np.ndarray, random: np.random.RandomState
) -> np.ndarray | None:
    """Return the fold of each row, whole groups each; None if rows are many, or too few."""
    n_groups = int(groups.max()) + 1
    if len(y) > FEW_ROWS or n_groups < 2:
        return None
    order = random.permutation(n_groups)
    folds: np.ndarray = (order % min(N_FOLDS, n_groups))[groups]
    for column in np.atleast_2d(y.T):
        labelled = np.bincount(folds[labelled_rows(column, weights)], minlength=folds.max() + 1)
        if labelled.sum() - labelled.max() < LEAST_LABELS:
            return None
    return folds
