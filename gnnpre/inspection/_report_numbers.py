"""Sections of a report about a property that is a number."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing

from gnnpre.datasets import reduced_formula
from gnnpre.graphs import Crystals

from ._calibration import LEVELS, CalibrationDisplay, graphs_once
from ._element_errors import ErrorByElementDisplay, errors_by_element
from ._embedding_map import EmbeddingMapDisplay
from ._inputs import as_pairs, column_like, find_network, predictions, target_column, unwrap
from ._page import Plot, Section
from ._parity import MAX_POINTS, ParityDisplay
from ._periodic_table import MIN_CRYSTALS
from ._svg import draw
from ._table import MISSING, Entry, Table, number

__all__ = ["Evaluation", "embedding_plot", "formula_of", "number_sections"]

#: Crystals with the largest errors that a report names.
N_WORST = 15
#: More points make the file of the page large.
MAX_MAP = 2000


@dataclass
class Evaluation:
    """The arguments of a report that its sections are made from."""

    estimator: Any
    X: Any
    y: Any
    crystals: Crystals
    names: list[str]
    y_pred: Any
    target: Any
    unit: str


@dataclass
class Numbers:
    """Labels and predictions of the labelled crystals, with intervals where there are some."""

    true: np.ndarray
    predicted: np.ndarray
    rows: np.ndarray
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None
    confidence: float | None = None


def number_sections(evaluation: Evaluation) -> list[Section]:
    """Return the sections: errors, plots, and the crystals with the largest errors."""
    numbers = _predict(evaluation)
    calibration = _calibration_plot(evaluation)
    plots = [_parity_plot(evaluation, numbers), *([calibration] if calibration else [])]
    return [
        Section("Errors", tables=[_error_table(evaluation, numbers)], plots=plots),
        Section("Errors by element", plots=[_element_plot(evaluation, numbers)]),
        Section("Largest errors", tables=[_worst_table(evaluation, numbers)]),
        *embedding_plot(evaluation, target_column(evaluation.y, evaluation.target)),
        *_member_table(evaluation),
    ]


def _predict(evaluation: Evaluation) -> Numbers:
    true = target_column(evaluation.y, evaluation.target)
    every_row = np.arange(len(true))
    if evaluation.y_pred is not None:
        predicted = column_like(evaluation.y, evaluation.y_pred, evaluation.target)
        return Numbers(*as_pairs(true, predicted, every_row, names=("y_pred", "rows")))
    predicted = column_like(
        evaluation.y, predictions(evaluation.estimator, evaluation.X), evaluation.target
    )
    levels = _confidences(evaluation)
    if not levels:
        return Numbers(*as_pairs(true, predicted, every_row, names=("y_pred", "rows")))
    predictor, X = unwrap(evaluation.estimator, evaluation.X)
    lower, upper = (
        column_like(evaluation.y, end, evaluation.target)
        for end in predictor.predict_interval(X, levels[-1])
    )
    names = ("y_pred", "rows", "lower", "upper")
    labels, values, rows, low, high = as_pairs(
        true, predicted, every_row, lower, upper, names=names
    )
    return Numbers(labels, values, rows, low, high, confidence=levels[-1])


def _confidences(evaluation: Evaluation) -> list[float]:
    """Return the confidences that the estimator has intervals for; none without calibration."""
    predictor, X = unwrap(evaluation.estimator, evaluation.X)
    # A regressor that was fitted without calibration has an empty dict.
    if not hasattr(predictor, "predict_interval") or not getattr(predictor, "uncertainty_", True):
        return []
    levels = []
    for level in LEVELS:
        try:
            predictor.predict_interval(X[:1], level)
        except ValueError:  # too few crystals were held out for this confidence
            break
        levels.append(level)
    return levels


def _error_table(evaluation: Evaluation, numbers: Numbers) -> Table:
    errors = np.abs(numbers.true - numbers.predicted)
    spread = np.square(numbers.true - numbers.true.mean()).sum()
    r2 = 1.0 - np.square(errors).sum() / spread if spread > 0 else None
    half = 1.96 * errors.std(ddof=1) / np.sqrt(len(errors)) if len(errors) > 1 else None
    constant = np.abs(numbers.true - np.median(numbers.true)).mean()
    unit = f" {evaluation.unit}" if evaluation.unit else ""
    rows = [
        ("mean absolute error", number(errors.mean()) + unit),
        ("its 95 % interval", MISSING if half is None else f"± {number(half, 2)}{unit}"),
        ("root mean squared error", number(np.sqrt(np.square(errors).mean())) + unit),
        ("median absolute error", number(np.median(errors)) + unit),
        ("mean of prediction - label", number((numbers.predicted - numbers.true).mean()) + unit),
        ("mean absolute error of the median label", number(constant) + unit),
        ("R²", number(r2)),
        ("labelled crystals", f"{len(errors):,}"),
    ]
    notes = [
        "The interval is 1.96 standard errors, as if crystals were independent. The error of the "
        "median label is that of a model which predicts the same number for all of them."
    ]
    return Table(
        "Errors", ["", "value"], [[Entry(name), Entry(text)] for name, text in rows], notes
    )


def _parity_plot(evaluation: Evaluation, numbers: Numbers) -> Plot:
    display = ParityDisplay(
        numbers.true,
        numbers.predicted,
        lower=numbers.lower,
        upper=numbers.upper,
        unit=evaluation.unit,
    )
    svg = draw(
        "report-parity",
        "Predictions against labels",
        (4.6, 4.8),
        lambda figure: display.plot(figure.subplots()),
    )
    caption = "Predictions against labels."
    if len(numbers.true) > MAX_POINTS:
        caption = "Predictions against labels; colours count crystals, on a logarithmic scale."
    if numbers.confidence is not None:
        caption += f" Intervals have a confidence of {100 * numbers.confidence:.0f} %."
    return Plot(svg, caption)


def _calibration_plot(evaluation: Evaluation) -> Plot | None:
    levels = [] if evaluation.y_pred is not None else _confidences(evaluation)
    if not levels:
        return None
    predictor, X = unwrap(evaluation.estimator, evaluation.X)
    draw_on = partial(
        CalibrationDisplay.from_estimator,
        predictor,
        graphs_once(predictor, X),
        evaluation.y,
        confidences=levels,
        target=evaluation.target,
    )
    svg = draw(
        "report-calibration",
        "Fraction of labels within intervals against their confidence",
        (4.2, 4.2),
        lambda figure: draw_on(ax=figure.subplots()),
    )
    return Plot(
        svg,
        "Fraction of labels within prediction intervals. Below the diagonal intervals are too "
        "narrow; 95 % of the points of calibrated intervals lie in the grey band.",
    )


def _element_plot(evaluation: Evaluation, numbers: Numbers) -> Plot:
    crystals = evaluation.crystals[numbers.rows.astype(int)]
    errors, counts = errors_by_element(crystals, numbers.true, numbers.predicted)
    display = ErrorByElementDisplay(errors, counts, unit=evaluation.unit)
    svg = draw(
        "report-elements",
        "Mean absolute error by element",
        (7.6, 4.3),
        lambda figure: display.plot(figure.subplots()),
    )
    return Plot(
        svg,
        "Mean absolute error of the crystals that contain an element. Grey: in fewer than "
        f"{MIN_CRYSTALS} crystals. Colours end at the 95th percentile.",
    )


def _worst_table(evaluation: Evaluation, numbers: Numbers) -> Table:
    errors = numbers.predicted - numbers.true
    worst = np.argsort(-np.abs(errors), kind="stable")[:N_WORST]
    rows = [
        [
            Entry(evaluation.names[row]),
            Entry(formula_of(evaluation.crystals, row)),
            Entry(number(numbers.true[index])),
            Entry(number(numbers.predicted[index])),
            Entry(f"{'+' if errors[index] > 0 else ''}{number(errors[index])}"),
        ]
        for index, row in zip(worst, numbers.rows[worst].astype(int), strict=True)
    ]
    unit = f" ({evaluation.unit})" if evaluation.unit else ""
    header = ["crystal", "formula", f"label{unit}", f"prediction{unit}", f"error{unit}"]
    return Table("Largest errors", header, rows)


def formula_of(crystals: Crystals, row: int) -> str:
    """Return the reduced formula of one crystal."""
    first, last = crystals.offsets[row : row + 2]
    return reduced_formula(crystals.atomic_numbers[first:last])


def embedding_plot(evaluation: Evaluation, values: Any) -> list[Section]:
    """Return a section with the map of embeddings, none for an estimator without a network."""
    network, X = find_network(evaluation.estimator, evaluation.X)
    if network is None or len(evaluation.crystals) < 3:
        return []
    rows = np.arange(len(evaluation.crystals))
    if len(rows) > MAX_MAP:
        rows = np.sort(np.random.default_rng(0).choice(rows, MAX_MAP, replace=False))
    crystals = evaluation.crystals[rows]
    # By position, whatever container the steps before the network return.
    inputs = crystals if X is evaluation.X else _safe_indexing(X, rows)
    draw_on = partial(
        EmbeddingMapDisplay.from_estimator,
        network,
        inputs,
        np.asarray(values)[rows],
        value_label=evaluation.unit or "label",
    )
    svg = draw(
        "report-map",
        "Principal components of the embeddings",
        (6.0, 4.6),
        lambda figure: draw_on(ax=figure.subplots()),
    )
    caption = "Embeddings by the network, coloured by the label."
    if len(rows) < len(evaluation.crystals):
        caption += f" {MAX_MAP:,} crystals, drawn at random."
    return [Section("Map of the crystals", plots=[Plot(svg, caption)])]


def _member_table(evaluation: Evaluation) -> list[Section]:
    """Return a section with the members of an ensemble, none for anything else."""
    predictor, _ = unwrap(evaluation.estimator, None)
    if not hasattr(predictor, "weights_") or not hasattr(predictor, "errors_"):
        return []
    rows = [
        [Entry(name), Entry(number(predictor.weights_.get(name), 3)), Entry(number(error))]
        for name, error in predictor.errors_.items()
    ]
    header = ["", "weight", "mean absolute error out of fold"]
    return [Section("Members of the ensemble", tables=[Table("Members", header, rows)])]
