"""Cross-validation of ``gnnpre train``: out-of-fold predictions and their errors."""

import json
from collections.abc import Iterator
from typing import Any

import click

__all__ = ["as_json", "check_folds", "cross_validate", "takes_one_column"]


def takes_one_column(estimator: Any) -> bool:
    """Return whether an estimator learns one number for each crystal: classes, and ensembles."""
    return "target" not in estimator.get_params(deep=False)


def check_folds(cv: int, y: Any, groups: Any, estimator: Any) -> None:
    """Raise before any work is done if the crystals cannot be split into ``cv`` folds."""
    from sklearn.base import is_classifier

    if cv == 0:
        return
    if cv < 2:
        raise click.UsageError(f"--cv {cv}: expected 2 folds or more, or 0 for none.")
    if groups is not None:
        n, counted = groups.nunique(), "groups"
    elif is_classifier(estimator):
        counts = y.iloc[:, 0].value_counts()
        n, counted = int(counts.min()), f"crystals of class {counts.idxmin()!r}"
    else:
        n, counted = len(y), "crystals with a label"
    if cv > n:
        raise click.UsageError(f"--cv {cv}: there are {n} {counted}; expected {n} folds or fewer.")


def cross_validate(
    estimator: Any, X: Any, y: Any, groups: Any, cv: int
) -> tuple[Any, dict[str, float]]:
    """Return a table with the prediction of each crystal by the fold that left it out, and errors.

    Parameters
    ----------
    estimator : estimator
        Regressor or classifier, which is cloned for each fold.
    X : Crystals or CrystalGraphs of shape (n,)
        The crystals.
    y : DataFrame of shape (n, k), or Series of shape (n,)
        Their labels; of a classifier in one column. A Series holds arrays: values of atoms,
        vectors or tensors.
    groups : Series of shape (n,) or None
        Groups that stay in one fold.
    cv : int
        Number of folds.

    Returns
    -------
    table : DataFrame
        Columns ``NAME``, ``NAME_predicted`` and ``fold``; arrays as JSON.
    errors : dict of str to float
        Errors by name, beside those of a constant; of several targets with their names.
    """
    import numpy as np
    import pandas as pd
    from sklearn.base import is_classifier

    if y.ndim == 1:
        return _cross_validate_arrays(estimator, X, y, groups, cv)
    classes = is_classifier(estimator)
    labels = y.iloc[:, 0] if takes_one_column(estimator) else y
    predicted = pd.DataFrame(index=y.index, columns=y.columns, dtype=object)
    constant, folds = predicted.copy(), np.empty(len(y), dtype=int)
    for fold, train, test, model in _fits(estimator, X, labels, groups, cv):
        predicted.iloc[test] = np.asarray(model.predict(X[test])).reshape(len(test), -1)
        # The constant with the least error: the median minimises absolute errors.
        best = y.iloc[train].mode().iloc[0] if classes else y.iloc[train].median()
        constant.iloc[test] = np.tile(best.to_numpy(dtype=object), (len(test), 1))
        folds[test] = fold
    table = pd.concat([y, predicted.add_suffix("_predicted")], axis=1)
    # Each prediction stands beside its label.
    table = table[[name + end for name in y.columns for end in ("", "_predicted")]].infer_objects()
    table["fold"] = folds
    return table, _errors(y, predicted, constant, classes)


def _fits(estimator: Any, X: Any, labels: Any, groups: Any, cv: int) -> Iterator[Any]:
    """Yield the number of each fold, its training and test rows, and the model that was fitted."""
    import numpy as np
    from sklearn.base import clone, is_classifier

    from gnnpre._progress_label import progress_label

    splitter = _splitter(is_classifier(estimator), groups, cv, estimator.random_state)
    for fold, (train, test) in enumerate(splitter.split(np.zeros(len(labels)), labels, groups)):
        click.echo(f"Fold {fold + 1} of {cv}: {len(train)} crystals.", err=True)
        # The validation part inside a fold holds whole groups, too.
        inner = None if groups is None else groups.iloc[train]
        with progress_label(f"fold {fold + 1} of {cv}"):
            model = clone(estimator).fit(X[train], labels.iloc[train], groups=inner)
        yield fold, train, test, model


def _cross_validate_arrays(
    estimator: Any, X: Any, y: Any, groups: Any, cv: int
) -> tuple[Any, dict[str, float]]:
    """Do the same for labels that are arrays, whose errors are over all their numbers."""
    import numpy as np
    import pandas as pd

    predicted: dict[int, np.ndarray] = {}
    folds, scores = np.empty(len(y), dtype=int), []
    for fold, _, test, model in _fits(estimator, X, y, groups, cv):
        predicted |= zip(test.tolist(), model.predict(X[test]), strict=True)
        scores.append(model.score(X[test], y.iloc[test]))
        folds[test] = fold
    differences = np.concatenate([np.ravel(label - predicted[row]) for row, label in enumerate(y)])
    errors = {
        "mean_absolute_error": float(np.nanmean(np.abs(differences))),
        "mean_r2": float(np.mean(scores)),
    }
    columns = {
        y.name: [as_json(label) for label in y],
        f"{y.name}_predicted": [as_json(predicted[row]) for row in range(len(y))],
    }
    return pd.DataFrame({**columns, "fold": folds}, index=y.index), errors


def as_json(array: Any) -> str:
    """Return an array as JSON, null where a number is missing."""
    return json.dumps(array.tolist()).replace("NaN", "null")


def _splitter(classes: bool, groups: Any, cv: int, random_state: Any) -> Any:
    from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

    if groups is not None:
        return GroupKFold(cv)
    splitter = StratifiedKFold if classes else KFold
    return splitter(cv, shuffle=True, random_state=random_state)


def _errors(y: Any, predicted: Any, constant: Any, classes: bool) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, mean_absolute_error, r2_score

    errors: dict[str, float] = {}
    for name in y.columns:
        # Rows without a label count in no error.
        rows = y[name].notna()
        true, values, guess = (table.loc[rows, name].tolist() for table in (y, predicted, constant))
        if classes:
            scores = {
                "accuracy": accuracy_score(true, values),
                "accuracy_of_most_frequent_class": accuracy_score(true, guess),
            }
        else:
            scores = {
                "mean_absolute_error": mean_absolute_error(true, values),
                "mean_absolute_error_of_median": mean_absolute_error(true, guess),
                "r2": r2_score(true, values),
            }
        # Several targets: the name of each begins the names of its errors.
        start = f"{name} " if len(y.columns) > 1 else ""
        errors |= {f"{start}{key}": float(value) for key, value in scores.items()}
    return errors
