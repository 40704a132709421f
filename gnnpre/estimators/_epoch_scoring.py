"""Scores of the user's choice after each epoch, on the inner validation set."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer, get_scorer_names

from gnnpre.objectives import ClassTargets
from gnnpre.training import ScoreEpoch

__all__ = ["check_epoch_scoring", "score_callbacks"]

Scorer = Callable[..., float]


def check_epoch_scoring(epoch_scoring: Any) -> dict[str, Scorer]:
    """Return scorers by name, from ``epoch_scoring`` in any of its forms.

    Raises
    ------
    TypeError
        If it is neither a name, a callable, a list of these, nor a dict.
    ValueError
        If scikit-learn has no scorer of a name, or two have the same name.
    """
    if epoch_scoring is None:
        return {}
    if isinstance(epoch_scoring, Mapping):
        items = list(epoch_scoring.items())
    else:
        # A list names each column by its scorer.
        single = isinstance(epoch_scoring, str) or callable(epoch_scoring)
        scorers = [epoch_scoring] if single else epoch_scoring
        if not isinstance(scorers, (list, tuple)):
            raise TypeError(
                f"epoch_scoring is of type {type(epoch_scoring).__name__}; expected the name of a "
                "scorer of scikit-learn, a callable (estimator, X, y), or a list or dict of these."
            )
        items = [(_name(scorer), scorer) for scorer in scorers]
    names = [name for name, _ in items]
    if len(set(names)) < len(names):
        raise ValueError(
            f"epoch_scoring has scorers of the same name, {names}: pass a dict from names to them."
        )
    return {name: _scorer(name, scorer) for name, scorer in items}


def _name(scorer: Any) -> Any:
    if isinstance(scorer, str):
        return scorer
    # The scorers of make_scorer have no name, but their function has.
    function = getattr(scorer, "_score_func", scorer)
    return getattr(function, "__name__", type(scorer).__name__)


def _scorer(name: Any, scorer: Any) -> Scorer:
    if not isinstance(name, str) or not name or name == "loss":
        raise ValueError(
            f"epoch_scoring names a scorer {name!r}; expected a text that is not 'loss', since the "
            "column of history_ is 'valid_' and this name."
        )
    if callable(scorer):
        return scorer
    if not isinstance(scorer, str) or scorer not in get_scorer_names():
        raise ValueError(
            f"epoch_scoring has {scorer!r}; expected a callable (estimator, X, y) or a name of "
            "sklearn.metrics.get_scorer_names(), such as 'neg_mean_absolute_error' or 'r2'."
        )
    result: Scorer = get_scorer(scorer)
    return result


def score_callbacks(epoch_scoring: Any, objective: Any, classes: Any = None) -> list[Any]:
    """Return the callback that records the scores, or none where none are asked for.

    Parameters
    ----------
    epoch_scoring : object
        The user's parameter.
    objective : PropertyTargets or ClassTargets
        How labels are learnt; a classifier's scorers see classes and probabilities.
    classes : ndarray, optional
        Labels of the classes, in the order of their codes.

    Returns
    -------
    list of skorch.callbacks.Callback
        One, or none.
    """
    scorers = check_epoch_scoring(epoch_scoring)
    if not scorers:
        return []

    def score(predicted: Any, labels: Any) -> dict[str, float]:
        # Scorers of scikit-learn call an estimator: one that has the predictions already.
        if isinstance(objective, ClassTargets):
            codes = np.asarray(labels).astype(int)
            labels = codes if classes is None else np.asarray(classes)[codes]
            estimator: Any = _PredictedClasses(predicted, classes)
        else:
            labels, predicted = _flat(labels, predicted)
            estimator = _PredictedNumbers(predicted)
        rows = np.arange(len(labels))
        return {name: _call(name, s, estimator, rows, labels) for name, s in scorers.items()}

    return [("epoch_scoring", ScoreEpoch(score))]


def _flat(labels: Any, predicted: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and predictions as scorers take them: ``(n,)`` or ``(n, k)``."""
    if isinstance(labels, list) or np.asarray(labels, dtype=object).ndim == 1:
        # Values of atoms: one array for each crystal, and NaN where an atom has no value.
        true, values = (np.concatenate([np.ravel(row) for row in x]) for x in (labels, predicted))
        labelled = np.isfinite(true.astype(float))
        return true[labelled], values[labelled]
    # Tensors become components; one property is a column inside.
    true, values = (
        np.asarray(x, dtype=float).reshape(len(labels), -1) for x in (labels, predicted)
    )
    return (true[:, 0], values[:, 0]) if true.shape[1] == 1 else (true, values)


def _call(name: str, scorer: Scorer, estimator: Any, X: np.ndarray, y: np.ndarray) -> float:
    try:
        return float(scorer(estimator, X, y))
    except Exception as error:  # the scorer is the user's own function
        hint = ""
        if y.dtype.kind == "f" and np.isnan(y).any():
            hint = (
                " Some labels are missing (NaN): gnnpre.model_selection.masked_scorer makes a "
                "scorer that leaves them out."
            )
        raise ValueError(f"epoch_scoring: the scorer {name!r} failed ({error}).{hint}") from error


class _PredictedNumbers(RegressorMixin, BaseEstimator):
    """Regressor that looks predictions up; X holds the numbers of rows."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def predict(self, X: Any) -> Any:
        """Return the predictions of some rows."""
        return self.values[X]

    def __sklearn_is_fitted__(self) -> bool:
        return True


class _PredictedClasses(ClassifierMixin, BaseEstimator):
    """Classifier that looks probabilities up; X holds the numbers of rows."""

    def __init__(self, values: Any, classes: Any) -> None:
        self.values = values
        self.classes = classes

    @property
    def classes_(self) -> np.ndarray:
        """Labels of the classes, in the order of the probabilities."""
        n_classes = self.values.shape[1]
        return np.arange(n_classes) if self.classes is None else np.asarray(self.classes)

    def predict_proba(self, X: Any) -> Any:
        """Return the probabilities of some rows."""
        # Rounded to single precision they need not sum to one as exactly as scorers expect.
        values = self.values[X].astype(float)
        return values / values.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> Any:
        """Return the most probable classes of some rows."""
        return self.classes_[self.values[X].argmax(axis=1)]

    def __sklearn_is_fitted__(self) -> bool:
        return True
