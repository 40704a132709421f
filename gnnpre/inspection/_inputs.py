"""Inputs of displays: networks inside of pipelines, columns of labels, pairs of numbers."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from gnnpre._labels import as_floats, column_names

__all__ = ["as_pairs", "find_network", "fitted_network", "target_column", "unwrap"]

#: Fitted attributes under which searches and scikit-learn's wrappers hold an estimator that
#: predicts as they do; FrozenEstimator's comes last, since searches have one with that name, too.
SAME_PREDICTIONS = ("best_estimator_", "estimator")


def unwrap(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return the last step of a pipeline and X before that step; searches are looked into.

    Anything else is returned as it is.
    """
    while True:
        inside = [name for name in SAME_PREDICTIONS if hasattr(estimator, name)]
        if hasattr(estimator, "steps"):
            if X is not None and len(estimator.steps) > 1:
                X = estimator[:-1].transform(X)
            estimator = estimator.steps[-1][1]
        elif inside:
            estimator = getattr(estimator, inside[0])
        else:
            return estimator, X


def find_network(estimator: Any, X: Any = None) -> tuple[Any, Any]:
    """Return the estimator with a network, None if there is none, and X as it gets it.

    Pipelines, searches, ``FrozenEstimator`` and ``TransformedTargetRegressor`` are looked into.
    """
    inner, X = unwrap(estimator, X)
    if hasattr(inner, "regressor_"):
        return find_network(inner.regressor_, X)
    return (inner if hasattr(type(inner), "history_") else None), X


def fitted_network(estimator: Any, display: str, X: Any = None) -> tuple[Any, Any]:
    """Return the network of :func:`find_network`, or raise an error.

    Raises
    ------
    TypeError
        If there is no network.
    sklearn.exceptions.NotFittedError
        If the network is not fitted.
    """
    network, X = find_network(estimator, X)
    if network is None:
        raise TypeError(
            f"estimator is {estimator!r}; {display} expects a fitted Pretrainer, "
            "PropertyRegressor or PropertyClassifier, or a Pipeline or search around one."
        )
    check_is_fitted(network, "net_")
    return network, X


def target_column(y: Any, target: Any) -> Any:
    """Return one column of ``y``, which ``target`` names or numbers; one column needs no name.

    Raises
    ------
    ValueError
        If ``y`` has several columns and ``target`` is none of them.
    """
    names = column_names(y)
    values = as_floats("y", y)
    if values.ndim == 1:
        return values
    n_columns = values.shape[1]
    labels = list(range(n_columns)) if names is None else names
    if target is None and n_columns == 1:
        return values[:, 0]
    if isinstance(target, int) and not isinstance(target, bool) and 0 <= target < n_columns:
        return values[:, target]
    if target in labels:
        return values[:, labels.index(target)]
    raise ValueError(
        f"target={target!r}; y has {n_columns} columns, of which a plot shows one: expected one of "
        f"{labels}."
    )


def as_pairs(y_true: Any, *predicted: Any, names: tuple[str, ...] = ("y_pred",)) -> list[Any]:
    """Return labels and arrays of predictions, without the rows that have no label.

    Raises
    ------
    ValueError
        If lengths differ, a prediction is missing, or no row has a label.
    """
    true = as_floats("y_true", y_true, n_dims=(1,))
    labelled = ~np.isnan(true)
    if not labelled.any():
        raise ValueError("y_true has no value in any row: there is nothing to compare.")
    columns = [true[labelled]]
    for name, values in zip(names, predicted, strict=True):
        numbers = as_floats(name, values, n_dims=(1,))
        if len(numbers) != len(true):
            raise ValueError(f"{name} has {len(numbers)} rows, but y_true has {len(true)}.")
        if np.isnan(numbers[labelled]).any():
            row = int(np.flatnonzero(labelled & np.isnan(numbers))[0])
            raise ValueError(f"{name} is missing (NaN) in row {row}, which has a label.")
        columns.append(numbers[labelled])
    return columns
