"""A kernel classifier on a table of features, tuned by itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.utils.validation import check_is_fitted

from gnnpre._labels import label_codes
from gnnpre._prefixes import add_prefix, select_prefix
from gnnpre._validation import as_random_state, check_number

from ._blas_threads import suitable_blas_threads
from ._inputs import check_classes, check_sample_weight, weights_in_order
from ._kernel_features import KernelFeatures, as_table
from ._target_process import MachineState

__all__ = ["KernelClassifier"]

# Widths of the Gaussian kernel relative to the median distance, and inverse regularisations.
WIDTHS = (0.3, 1.0, 3.0)
INVERSE_REGULARISATIONS = (0.1, 1.0, 10.0)
FOLDS = 3


class KernelClassifier(ClassifierMixin, BaseEstimator):
    """Logistic regression on a Gaussian kernel, with nothing left to tune.

    Features are treated as in :class:`KernelRegressor`. The kernel is expanded in its values at
    `n_landmarks` training rows [1]_; its width and the regularisation minimise the log loss in a
    stratified cross-validation, on at most `max_tuning` rows.

    Parameters
    ----------
    blocks : sequence of int, optional
        Numbers of neighbouring features that belong together and contribute equally to distances.
    resolution : float, default=0.0
        Share of the largest value of a feature below which differences are noise; values are
        rounded to it. Of features that were computed in single precision, such as embeddings,
        1e-5 is a good choice: noise would have quantiles, too.
    class_weight : {"balanced"} or dict, optional
        Weights of the classes by their labels, 1 for those that are not in it, as in
        :class:`sklearn.linear_model.LogisticRegression`.
    n_landmarks : int, default=500
        Most rows that the kernel is expanded in.
    max_tuning : int, default=2000
        Most rows of the cross-validation.
    random_state : int, RandomState instance or None, default=None
        Draws landmarks, subsets and folds.

    Attributes
    ----------
    classes_ : ndarray
        The classes.
    n_features_in_ : int
        Number of features.

    See Also
    --------
    KernelRegressor : The same for numbers.

    References
    ----------
    .. [1] C. Williams and M. Seeger, "Using the Nyström method to speed up kernel machines",
       NeurIPS (2000).

    Examples
    --------
    >>> import numpy as np
    >>> from gnnpre.estimators import KernelClassifier
    >>> X = np.linspace(-1, 1, 40)[:, None]
    >>> model = KernelClassifier(random_state=0).fit(X, np.abs(X[:, 0]) > 0.5)
    >>> model.predict([[0.0], [0.9], [-0.9]])
    array([False,  True,  True])
    """

    def __init__(
        self,
        *,
        blocks: Sequence[int] | None = None,
        resolution: float = 0.0,
        class_weight: Any = None,
        n_landmarks: int = 500,
        max_tuning: int = 2000,
        random_state: Any = None,
    ) -> None:
        self.blocks = blocks
        self.resolution = resolution
        self.class_weight = class_weight
        self.n_landmarks = n_landmarks
        self.max_tuning = max_tuning
        self.random_state = random_state

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> "KernelClassifier":
        """Fit the classifier.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Features.
        y : array-like of shape (n,)
            Class labels.
        sample_weight : array-like of shape (n,), optional
            Weights; a row of weight 0 is left out.
        groups : array-like of shape (n,), optional
            Rows of one group, such as strained copies of a crystal, are left out together when
            the hyper-parameters are tuned.

        Returns
        -------
        KernelClassifier
            This estimator.

        Raises
        ------
        ValueError
            If a parameter is out of range, a feature is not finite, there is one class only, or
            ``class_weight`` names a class that y does not have.
        """
        check_number("n_landmarks", self.n_landmarks, integer=True)
        check_number("max_tuning", self.max_tuning, integer=True)
        check_number("resolution", self.resolution, low_included=True, high=1.0)
        # 1. data
        X = as_table(self, X, reset=True)
        y = check_classes(y, len(X))
        weights = np.ones(len(X))
        if sample_weight is not None:
            weights = check_sample_weight(sample_weight, len(X))
        codes = None if groups is None else label_codes("groups", groups, n_rows=len(X))
        # Rows without a weight would be landmarks, and decide about folds by their labels.
        rows = np.flatnonzero(weights > 0)
        X, y, weights = X[rows], y[rows], weights[rows] / weights[rows].mean()
        codes = None if codes is None else codes[rows]
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            with_weight = "" if sample_weight is None else " in rows with a weight"
            raise ValueError(
                f"y has one class{with_weight}, {self.classes_[0]!r}; a classifier needs 2 at "
                "least."
            )
        ordered = weights_in_order(self.class_weight, self.classes_)
        # The regression learns codes of the classes, 0 and up.
        self._class_weight = dict(enumerate(ordered)) if isinstance(ordered, tuple) else ordered
        random = as_random_state("random_state", self.random_state)
        # 2. features on a common scale
        self.features_ = KernelFeatures(self.blocks, self.resolution).fit(X)
        table = self.features_.transform(X).astype(np.float64)
        # 3. kernel and regularisation, then a logistic regression in the space of the kernel
        with suitable_blas_threads(len(table)):
            gamma, strength = self._tune(table, labels, weights, codes, random)
            self.kernel_ = self._expansion(gamma, len(table), random).fit(table)
            self.regression_ = self._regression(strength)
            self.regression_.fit(self.kernel_.transform(table), labels, weights)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Features.

        Returns
        -------
        ndarray of shape (n, n_classes)
            Probabilities, in the order of `classes_`.
        """
        check_is_fitted(self, "regression_")
        X = as_table(self, X, reset=False)
        table = self.features_.transform(X).astype(np.float64)
        expanded = self.kernel_.transform(table)
        probabilities: np.ndarray = self.regression_.predict_proba(expanded)
        return probabilities

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Predict the logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Features.

        Returns
        -------
        ndarray of shape (n, n_classes)
            Natural logarithms, in the order of `classes_`; minus infinity of a probability of 0.
        """
        with np.errstate(divide="ignore"):
            logarithms: np.ndarray = np.log(self.predict_proba(X))
        return logarithms

    def predict(self, X: Any) -> np.ndarray:
        """Predict the most probable class.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Features.

        Returns
        -------
        ndarray of shape (n,)
            Class labels.
        """
        probabilities = self.predict_proba(X)
        labels: np.ndarray = self.classes_[probabilities.argmax(axis=1)]
        return labels

    def to_state(self) -> MachineState:
        """Return the fitted attributes, but for the classes, as JSON and arrays.

        Returns
        -------
        values : dict
            JSON-serializable values.
        arrays : dict of str to ndarray
            Arrays.
        """
        kernel, regression = self.kernel_, self.regression_
        state = {"n_features": self.n_features_in_, "gamma": float(kernel.gamma)}
        arrays = add_prefix("features", self.features_.to_state())
        arrays |= {"landmarks": kernel.components_, "normalization": kernel.normalization_}
        return state, {**arrays, "coef": regression.coef_, "intercept": regression.intercept_}

    def set_state(
        self, state: dict[str, Any], arrays: dict[str, np.ndarray], classes: np.ndarray
    ) -> None:
        """Set the fitted attributes that :meth:`to_state` returned, and the classes.

        Parameters
        ----------
        state : dict
            Its values.
        arrays : dict of str to ndarray
            Its arrays.
        classes : ndarray of shape (n_classes,)
            The classes.
        """
        self.n_features_in_, self.classes_ = int(state["n_features"]), classes
        self.features_ = KernelFeatures.from_state(select_prefix("features", arrays))
        landmarks = arrays["landmarks"]
        self.kernel_ = self._expansion(float(state["gamma"]), len(landmarks), None)
        self.kernel_.components_ = landmarks
        self.kernel_.normalization_ = arrays["normalization"]
        self.regression_ = LogisticRegression()
        self.regression_.classes_ = np.arange(len(classes))
        self.regression_.coef_ = arrays["coef"]
        self.regression_.intercept_ = arrays["intercept"]

    def _tune(
        self,
        table: np.ndarray,
        labels: np.ndarray,
        weights: np.ndarray,
        groups: np.ndarray | None,
        random: Any,
    ) -> tuple[float, float]:
        """Return the kernel coefficient and the inverse regularisation with the least log loss."""
        rows = np.arange(len(labels))
        if len(rows) > self.max_tuning:
            rows = np.sort(random.choice(rows, self.max_tuning, replace=False))
        table, labels, weights = table[rows], labels[rows], weights[rows]
        gammas = [1.0 / (2 * width**2 * _squared_distance(table, random)) for width in WIDTHS]
        groups = None if groups is None else groups[rows]
        seed = random.randint(2**31)
        folds = _folds(labels, groups, len(self.classes_), seed)
        if not folds:  # too few crystals of a class to leave some out
            return gammas[1], 1.0
        losses: dict[tuple[float, float], float] = {}
        every_class = np.arange(len(self.classes_))
        for gamma in gammas:
            for train, valid in folds:
                kernel = self._expansion(gamma, len(train), np.random.RandomState(seed))
                expanded = kernel.fit(table[train]).transform(table)
                for strength in INVERSE_REGULARISATIONS:
                    model = self._regression(strength)
                    model.fit(expanded[train], labels[train], weights[train])
                    probabilities = model.predict_proba(expanded[valid])
                    loss = log_loss(
                        labels[valid],
                        probabilities,
                        sample_weight=weights[valid],
                        labels=every_class,
                    )
                    losses[gamma, strength] = losses.get((gamma, strength), 0.0) + loss
        return min(losses, key=lambda settings: losses[settings])

    def _expansion(self, gamma: float, n_rows: int, random: Any) -> Nystroem:
        n_components = min(self.n_landmarks, n_rows)
        expansion = Nystroem("rbf", gamma=gamma, n_components=n_components, random_state=random)
        # Arrays, whatever sklearn.set_config(transform_output=...) asks of the user's transformers.
        expansion.set_output(transform="default")
        return expansion

    def _regression(self, strength: float) -> LogisticRegression:
        return LogisticRegression(C=strength, class_weight=self._class_weight, max_iter=2000)


def _folds(
    labels: np.ndarray, groups: np.ndarray | None, n_classes: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return training and validation rows of each fold; none if a fold would lack a class."""
    # Of each class as many rows, or groups of rows, as there are folds.
    units = np.arange(len(labels)) if groups is None else groups
    counts = [len(np.unique(units[labels == label])) for label in range(n_classes)]
    if min(counts) < FOLDS:
        return []
    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    splits = splitter(FOLDS, shuffle=True, random_state=seed).split(labels, labels, groups)
    folds = [(train, valid) for train, valid in splits if len(valid)]
    is_whole = all(len(np.unique(labels[train])) == n_classes for train, _ in folds)
    return folds if is_whole else []


def _squared_distance(table: np.ndarray, random: Any) -> float:
    """Return the median squared distance of pairs of rows, 1 where all rows are equal."""
    pairs = random.randint(len(table), size=(2, 500))
    squares = np.square(table[pairs[0]] - table[pairs[1]]).sum(axis=1)
    squares = squares[squares > 0]
    return float(np.median(squares)) if len(squares) else 1.0
