"""Cross-validation of ``gnnpre train``: out-of-fold predictions and their errors."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import click

__all__ = [
    "Folds",
    "as_json",
    "check_column_names",
    "cross_validate",
    "make_folds",
    "takes_one_column",
]

Folds = list[tuple[Any, Any]]


def check_column_names(target: Sequence[str]) -> None:
    """Raise if a target has the name that another column of predictions.csv has."""
    used = {"id", "fold", *(f"{name}_predicted" for name in target)}
    clashing = [name for name in target if name in used]
    if clashing:
        raise click.UsageError(
            f"--target {clashing[0]}: predictions.csv has a column {clashing[0]!r} beside the "
            "labels. Rename the column of SOURCE, or leave the table out with --cv 0."
        )


def takes_one_column(estimator: Any) -> bool:
    """Return whether an estimator learns one number for each crystal: classes, and ensembles."""
    return "target" not in estimator.get_params(deep=False)


def make_folds(y: Any, groups: Any, classes: bool, cv: int, random_state: Any) -> Folds:
    """Return training and test rows of each fold; classes are in all folds, groups in one.

    Parameters
    ----------
    y : DataFrame or Series of shape (n,)
        Labels; classes in one column.
    groups : Series of shape (n,) or None
        Groups that stay in one fold.
    classes : bool
        Whether labels are classes.
    cv : int
        Number of folds; 0 for an empty list.
    random_state : int
        Seed.

    Raises
    ------
    click.UsageError
        If there are fewer crystals, groups, or crystals of a class.
    """
    import numpy as np
    from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

    if cv == 0:
        return []
    _check_folds(cv, y, groups, classes)
    if groups is not None:
        folds = list(GroupKFold(cv).split(np.zeros(len(y)), y, groups))
        if classes:
            _check_classes_of_folds(folds, y.iloc[:, 0], groups.name)
        return folds
    splitter = StratifiedKFold if classes else KFold
    labels = y.iloc[:, 0] if classes else None
    return list(splitter(cv, shuffle=True, random_state=random_state).split(y, labels))


def _check_folds(cv: int, y: Any, groups: Any, classes: bool) -> None:
    """Raise if the crystals cannot be split into so many folds."""
    if cv < 2:
        raise click.UsageError(f"--cv {cv}: expected 2 folds or more, or 0 for none.")
    if groups is not None:
        n, counted = groups.nunique(), "groups"
    elif classes:
        counts = y.iloc[:, 0].value_counts()
        rarest = counts.idxmin()
        label = rarest.item() if hasattr(rarest, "item") else rarest
        n, counted = int(counts.min()), f"crystals of class {label!r}"
    else:
        n, counted = len(y), "crystals with a label"
    if cv > n:
        raise click.UsageError(f"--cv {cv}: there are {n} {counted}; expected {n} folds or fewer.")


def _check_classes_of_folds(folds: Folds, labels: Any, groups: str) -> None:
    """Raise if the crystals outside of a fold are all of one class."""
    for number, (train, _) in enumerate(folds, start=1):
        if labels.iloc[train].nunique() < 2:
            raise click.UsageError(
                f"--groups {groups}: without the groups of fold {number} of {len(folds)} all "
                f"crystals are of class {labels.iloc[train[0]]!s}; a classifier needs two. Choose "
                "another number of folds by --cv, or coarser or finer groups."
            )


def cross_validate(
    models: Iterator[Any], X: Any, y: Any, folds: Folds
) -> tuple[Any, dict[str, float]]:
    """Return a table with the prediction of each crystal by the fold that left it out, and errors.

    Parameters
    ----------
    models : iterator of estimators
        Fitted to the training rows of one fold after the other; others that follow are left.
    X : Crystals or CrystalGraphs of shape (n,)
        The crystals.
    y : DataFrame of shape (n, k), or Series of shape (n,)
        Their labels; of a classifier in one column. A Series holds arrays: values of atoms,
        vectors or tensors.
    folds : list of (ndarray, ndarray)
        Training and test rows of each fold.

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
        return _cross_validate_arrays(models, X, y, folds)
    classes = False
    predicted = pd.DataFrame(index=y.index, columns=y.columns, dtype=object)
    constant, numbers = predicted.copy(), np.empty(len(y), dtype=int)
    for fold, ((train, test), model) in enumerate(zip(folds, models)):  # noqa: B905  one is left
        classes = is_classifier(model)
        predicted.iloc[test] = np.asarray(model.predict(X[test])).reshape(len(test), -1)
        # The constant with the least error: the median minimises absolute errors.
        best = y.iloc[train].mode().iloc[0] if classes else y.iloc[train].median()
        constant.iloc[test] = np.tile(best.to_numpy(dtype=object), (len(test), 1))
        numbers[test] = fold
    table = pd.concat([y, predicted.add_suffix("_predicted")], axis=1)
    # Each prediction stands beside its label.
    table = table[[name + end for name in y.columns for end in ("", "_predicted")]].infer_objects()
    table["fold"] = numbers
    return table, _errors(y, predicted, constant, classes)


def _cross_validate_arrays(
    models: Iterator[Any], X: Any, y: Any, folds: Folds
) -> tuple[Any, dict[str, float]]:
    """Do the same for labels that are arrays, whose errors are over all their numbers."""
    import numpy as np
    import pandas as pd

    predicted: dict[int, np.ndarray] = {}
    numbers, scores = np.empty(len(y), dtype=int), []
    for fold, ((_, test), model) in enumerate(zip(folds, models)):  # noqa: B905  one is left
        predicted |= zip(test.tolist(), model.predict(X[test]), strict=True)
        scores.append(model.score(X[test], y.iloc[test]))
        numbers[test] = fold
    differences = np.concatenate([np.ravel(label - predicted[row]) for row, label in enumerate(y)])
    errors = {
        "mean_absolute_error": float(np.nanmean(np.abs(differences))),
        "mean_r2": float(np.mean(scores)),
    }
    columns = {
        y.name: [as_json(label) for label in y],
        f"{y.name}_predicted": [as_json(predicted[row]) for row in range(len(y))],
    }
    return pd.DataFrame({**columns, "fold": numbers}, index=y.index), errors


def as_json(array: Any) -> str:
    """Return an array as JSON, null where a number is missing."""
    return json.dumps(array.tolist()).replace("NaN", "null")


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
