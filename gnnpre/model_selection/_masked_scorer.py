"""Scorers for several properties of which some are missing."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.metrics import make_scorer

__all__ = ["masked_scorer"]


def masked_scorer(metric: Callable[..., float], *, greater_is_better: bool = True) -> Any:
    """Make a scorer that leaves missing (NaN) properties out, column by column.

    scikit-learn's own scorers refuse a y with gaps.

    Parameters
    ----------
    metric : callable
        From true and predicted values of one property, ``(m,)`` each, to a number, such as
        ``sklearn.metrics.mean_absolute_error``; it takes ``sample_weight`` too where a scorer is
        given one.
    greater_is_better : bool
        False for errors, whose sign turns then, as in scikit-learn's scorers.

    Returns
    -------
    callable
        A scorer for ``scoring=``: the mean over properties of the metric on what is known.

    Raises
    ------
    ValueError
        When it scores: if a property is missing for all crystals of a fold.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyRegressor
    >>> from sklearn.metrics import mean_absolute_error
    >>> from gnnpre.model_selection import masked_scorer
    >>> scorer = masked_scorer(mean_absolute_error, greater_is_better=False)
    >>> model = DummyRegressor(strategy="constant", constant=[0.0, 0.0])
    >>> model = model.fit(np.zeros((2, 1)), np.zeros((2, 2)))
    >>> scorer(model, np.zeros((2, 1)), np.array([[1.0, np.nan], [3.0, 4.0]]))
    -3.0
    """
    return make_scorer(_masked_metric, greater_is_better=greater_is_better, metric=metric)


def _masked_metric(
    y_true: Any, y_pred: Any, *, metric: Callable[..., float], sample_weight: Any = None
) -> float:
    true, predicted = (np.asarray(y, dtype=float) for y in (y_true, y_pred))
    if true.shape != predicted.shape:
        raise ValueError(f"y has shape {true.shape}, the predictions {predicted.shape}.")
    columns = (y.reshape(len(y), -1).T for y in (true, predicted))
    scores = [
        _score(metric, t, p, sample_weight, column)
        for column, (t, p) in enumerate(zip(*columns, strict=True))
    ]
    return float(np.mean(scores))


def _score(
    metric: Callable[..., float],
    true: np.ndarray,
    predicted: np.ndarray,
    sample_weight: Any,
    column: int,
) -> float:
    known = np.isfinite(true)
    if not known.any():
        raise ValueError(
            f"Property {column} is missing (NaN) for all {len(true)} crystals to score on: it has "
            "no score. Use folds in which each property is known."
        )
    if sample_weight is None:
        return metric(true[known], predicted[known])
    weights = np.asarray(sample_weight)[known]
    return metric(true[known], predicted[known], sample_weight=weights)
