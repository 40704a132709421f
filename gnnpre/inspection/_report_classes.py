"""Sections of a report about a property that is a class."""

from typing import Any

import numpy as np

from gnnpre._labels import as_labels

from ._inputs import predictions
from ._page import Section
from ._report_numbers import Evaluation, embedding_plot, formula_of
from ._table import Entry, Table, number

__all__ = ["class_sections"]

N_WORST = 15


def class_sections(evaluation: Evaluation) -> list[Section]:
    """Return the sections: accuracies, confusion matrix, and the surest wrong predictions."""
    true = as_labels("y", evaluation.y)
    probabilities = None
    if evaluation.y_pred is not None:
        predicted = as_labels("y_pred", evaluation.y_pred, n_rows=len(true))
    else:
        predicted = np.asarray(predictions(evaluation.estimator, evaluation.X))
        if hasattr(evaluation.estimator, "predict_proba"):
            probabilities = np.asarray(evaluation.estimator.predict_proba(evaluation.X))
    true, predicted = _as_texts(true, predicted)
    classes = np.unique(np.concatenate([true, predicted]))
    _check_common(evaluation.estimator, true, predicted)
    sections = [
        Section("Errors", tables=[_score_table(true, predicted)]),
        Section("Confusion", tables=[_confusion_table(true, predicted, classes)]),
    ]
    if probabilities is not None:
        sections.append(
            Section("Surest errors", tables=[_worst(evaluation, true, predicted, probabilities)])
        )
    return [*sections, *embedding_plot(evaluation, true)]


def _as_texts(true: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and predictions as text that is equal where they are."""
    # In one array True and 1.0 become what 1 is, whose texts would differ.
    both = np.concatenate([true, predicted]).astype(str)
    return both[: len(true)], both[len(true) :]


def _check_common(estimator: Any, true: np.ndarray, predicted: np.ndarray) -> None:
    """Check that the labels are those of the classes that are predicted."""
    classes = np.asarray(getattr(estimator, "classes_", predicted))
    if not set(true) & {*predicted, *classes.astype(str)}:
        raise ValueError(
            f"y has labels such as {str(true[0])!r}, none of which is predicted: classes are "
            f"{np.unique(classes).tolist()[:10]}. Pass labels of the same names as in fit."
        )


def _score_table(true: np.ndarray, predicted: np.ndarray) -> Table:
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

    _, counts = np.unique(true, return_counts=True)
    rows = [
        ("accuracy", accuracy_score(true, predicted)),
        ("balanced accuracy", balanced_accuracy_score(true, predicted)),
        ("F1, averaged over classes", f1_score(true, predicted, average="macro", zero_division=0)),
        ("accuracy of the most frequent class", counts.max() / len(true)),
    ]
    entries = [[Entry(name), Entry(f"{value:.4f}")] for name, value in rows]
    return Table("Errors", ["", "value"], [*entries, [Entry("crystals"), Entry(f"{len(true):,}")]])


def _confusion_table(true: np.ndarray, predicted: np.ndarray, classes: np.ndarray) -> Table:
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(true, predicted, labels=classes)
    rows = [
        [Entry(str(label)), *(Entry(f"{n:,}", best=i == j) for j, n in enumerate(row))]
        for i, (label, row) in enumerate(zip(classes, counts, strict=True))
    ]
    header = ["label \\ prediction", *map(str, classes)]
    return Table("Confusion", header, rows, ["Rows: labels; columns: predictions; bold: right."])


def _worst(
    evaluation: Evaluation, true: np.ndarray, predicted: np.ndarray, probabilities: Any
) -> Table:
    sureness = probabilities.max(axis=1)
    wrong = np.flatnonzero(true != predicted)
    worst = wrong[np.argsort(-sureness[wrong], kind="stable")][:N_WORST]
    rows = [
        [
            Entry(evaluation.names[row]),
            Entry(formula_of(evaluation.crystals, row)),
            Entry(str(true[row])),
            Entry(str(predicted[row])),
            Entry(number(float(sureness[row]), 3)),
        ]
        for row in worst
    ]
    header = ["crystal", "formula", "label", "prediction", "probability"]
    notes = [] if rows else ["All predictions are right."]
    return Table("Surest errors", header, rows, notes)
