"""Scorers for several properties of which some are missing."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.metrics import get_scorer, make_scorer

from gnnpre._atom_labels import join_atom_labels
from gnnpre._labels import as_floats, columns_in_order

__all__ = ["check_complete_targets", "masked_scorer"]


def masked_scorer(metric: Any, *, greater_is_better: bool | None = None) -> Any:
    """Build a scorer that leaves missing (NaN) properties out, column by column.

    scikit-learn's own scorers raise an error on a y with gaps, and on values of atoms
    (``PropertyRegressor(target="atom")``), which are scored here atom by atom. Tensors are scored
    component by component.

    Parameters
    ----------
    metric : str, scorer or callable
        Name of a scorer of scikit-learn such as ``"neg_mean_absolute_error"`` or ``"r2"``; a
        scorer made by ``sklearn.metrics.make_scorer``; or a function from the true and predicted
        values of one property, ``(m,)`` each, to a number, such as
        ``sklearn.metrics.mean_absolute_error``. It needs to take ``sample_weight`` only if the
        scorer is called with one.
    greater_is_better : bool, optional
        For a function: False for errors, whose sign the scorer turns, as ``make_scorer`` does;
        True by default. A name or scorer has its sign already.

    Returns
    -------
    callable
        A scorer for ``scoring=``: the mean over properties of the metric on the known values.

    Raises
    ------
    ValueError
        If the name is unknown, the scorer needs more than ``predict``, or ``greater_is_better``
        comes with a name or scorer. When it scores: if a property is missing for all crystals of
        a fold.
    TypeError
        If ``metric`` is neither a name, a scorer nor a function.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyRegressor
    >>> from gnnpre.model_selection import masked_scorer
    >>> scorer = masked_scorer("neg_mean_absolute_error")
    >>> model = DummyRegressor(strategy="constant", constant=[0.0, 0.0])
    >>> model = model.fit(np.zeros((2, 1)), np.zeros((2, 2)))
    >>> scorer(model, np.zeros((2, 1)), np.array([[1.0, np.nan], [3.0, 4.0]]))
    -3.0
    """
    if isinstance(metric, str):
        metric = _scorer_by_name(metric)
    if hasattr(metric, "_score_func"):
        return _masked(metric, greater_is_better)
    if not callable(metric):
        raise TypeError(
            f"metric={metric!r}; expected the name of a scorer, such as "
            "'neg_mean_absolute_error', a scorer, or a function of true and predicted values."
        )
    sign = True if greater_is_better is None else greater_is_better
    return make_scorer(_masked_metric, greater_is_better=sign, metric=metric)


def _scorer_by_name(name: str) -> Any:
    try:
        return get_scorer(name)
    except ValueError as error:
        raise ValueError(
            f"metric={name!r} is not a scorer of scikit-learn; expected a name such as "
            "'neg_mean_absolute_error' or 'r2' (sklearn.metrics.get_scorer_names() lists all)."
        ) from error


def _masked(scorer: Any, greater_is_better: bool | None) -> Any:
    """Build the masked counterpart of a scorer of scikit-learn."""
    if greater_is_better is not None:
        raise ValueError(
            f"greater_is_better={greater_is_better} with the scorer {scorer!r}, which has a sign "
            "already. Leave it out, or pass the metric as a function."
        )
    if scorer._response_method != "predict":
        raise ValueError(
            f"metric={scorer!r} needs {scorer._response_method}; expected a scorer of predicted "
            "values, such as 'neg_mean_absolute_error' or 'r2'."
        )
    # Attributes of scikit-learn's scorers, private since 1.4: there is no public way.
    return make_scorer(
        _masked_metric,
        greater_is_better=scorer._sign > 0,
        metric=scorer._score_func,
        **scorer._kwargs,
    )


def _masked_metric(
    y_true: Any,
    y_pred: Any,
    *,
    metric: Callable[..., float],
    sample_weight: Any = None,
    **kwargs: Any,
) -> float:
    weights = None if sample_weight is None else as_floats("sample_weight", sample_weight)
    y_true = columns_in_order(y_true, getattr(y_pred, "columns", None))
    if getattr(y_pred, "dtype", None) == np.dtype(object):  # arrays of the atoms of each crystal
        n_atoms = np.array([len(values) for values in y_pred])
        true, predicted = join_atom_labels("y", y_true, n_atoms), np.concatenate(list(y_pred))
        weights = None if weights is None else np.repeat(weights, n_atoms)
    else:
        true, predicted = as_floats("y", y_true, n_dims=None), np.asarray(y_pred, dtype=float)
    if true.shape != predicted.shape:
        raise ValueError(f"y has shape {true.shape}, the predictions {predicted.shape}.")
    columns = (y.reshape(len(y), -1).T for y in (true, predicted))
    scores = [
        _score_column(metric, t, p, weights, column, kwargs)
        for column, (t, p) in enumerate(zip(*columns, strict=True))
    ]
    return float(np.mean(scores))


def _score_column(
    metric: Callable[..., float],
    true: np.ndarray,
    predicted: np.ndarray,
    weights: np.ndarray | None,
    column: int,
    kwargs: dict[str, Any],
) -> float:
    present = np.isfinite(true)
    if not present.any():
        raise ValueError(
            f"Property {column} is missing (NaN) for all {len(true)} crystals to score on: it has "
            "no score. Use folds in which each property is known."
        )
    if weights is not None:
        kwargs = {**kwargs, "sample_weight": weights[present]}
    return metric(true[present], predicted[present], **kwargs)


def check_complete_targets(scorer: Any, y: Any) -> None:
    """Raise ValueError if a scorer of scikit-learn would meet missing targets after a training."""
    function = getattr(scorer, "_score_func", None)
    if function is None or function is _masked_metric:
        return
    try:
        n_missing = int(np.isnan(as_floats("y", y)).sum())
    except (TypeError, ValueError):
        return  # classes or frames: not numbers that could be missing
    if n_missing:
        raise ValueError(
            f"y has {n_missing} missing (NaN) values, on which {scorer!r} raises an error. Pass "
            "scoring=masked_scorer('neg_mean_absolute_error') of gnnpre.model_selection, or leave "
            "scoring=None: the score of gnnpre's own estimators leaves missing values out."
        )
