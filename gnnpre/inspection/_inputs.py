"""Inputs of displays: networks inside of pipelines, columns of labels, pairs of numbers."""

from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from gnnpre._labels import as_floats, column_names

__all__ = [
    "as_pairs",
    "column_like",
    "find_network",
    "fitted_network",
    "predictions",
    "target_column",
    "unwrap",
]


def unwrap(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return the last step of a pipeline and X before that step; searches are looked into.

    Anything else is returned as it is.
    """
    while True:
        if hasattr(estimator, "steps"):
            if X is not None and len(estimator.steps) > 1:
                X = estimator[:-1].transform(X)
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif isinstance(estimator, FrozenEstimator):
            # Ensembles have an attribute of that name, too, which is not the model that they fit.
            estimator = estimator.estimator
        else:
            return estimator, X


def check_predicts(estimator: Any) -> None:
    """Check that the estimator has a method predict."""
    if not callable(getattr(estimator, "predict", None)):
        shown = f"{' '.join(repr(estimator).split()):.60}"
        raise TypeError(f"estimator is {shown}; expected a fitted estimator that predicts.")


def predictions(estimator: Any, X: Any) -> Any:
    """Return the predictions of an estimator, or raise TypeError for one that cannot predict."""
    check_predicts(estimator)
    return estimator.predict(X)


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
    values = as_floats("y", y)
    return values if values.ndim == 1 else values[:, _column_number(y, values.shape[1], target)]


def column_like(y: Any, predicted: Any, target: Any) -> np.ndarray:
    """Return the column of predictions that belongs to the column ``target`` of ``y``.

    Raises
    ------
    ValueError
        If ``y`` and the predictions differ in their columns, or no column is ``target``.
    """
    values = as_floats("y_pred", predicted)
    if values.ndim == 1:
        return values
    labels, n_columns = np.shape(y), values.shape[1]
    if len(labels) == 1:  # the user's own column of several that are predicted
        return np.asarray(values[:, _column_number(predicted, n_columns, target)])
    number = _column_number(y, labels[1], target)
    names, predicted_names = column_names(y), column_names(predicted)
    # Columns belong together by their names, where both have some.
    if names is not None and predicted_names is not None and names[number] in predicted_names:
        return np.asarray(values[:, predicted_names.index(names[number])])
    if labels[1] != n_columns:
        shown = "" if predicted_names is None else f": {', '.join(predicted_names)}"
        raise ValueError(
            f"y has {labels[1]} column{'s' if labels[1] != 1 else ''}, but {n_columns} are "
            f"predicted{shown}. Pass a y of {n_columns} columns, or with their names."
        )
    return np.asarray(values[:, number])


def _column_number(y: Any, n_columns: int, target: Any) -> int:
    """Return the number of the column that ``target`` names or, where it is not a name, numbers."""
    names = column_names(y)
    if target is None and n_columns == 1:
        return 0
    # Names come first: the columns of a table may be named by numbers in any order.
    is_number = isinstance(target, (int, np.integer)) and not isinstance(target, bool)
    if names is not None and (is_number or isinstance(target, str)) and str(target) in names:
        return names.index(str(target))
    if is_number and 0 <= target < n_columns:
        return int(target)
    raise ValueError(
        f"target={target!r}; y has {n_columns} columns, of which a plot shows one: expected one of "
        f"{list(range(n_columns)) if names is None else names}."
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
