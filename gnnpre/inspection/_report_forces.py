"""Sections of a report about a force field."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from gnnpre.graphs import Crystals, FrameLabels

from ._inputs import predictions
from ._page import Plot, Section
from ._parity import ParityDisplay
from ._report_numbers import N_WORST, formula_of
from ._svg import draw
from ._table import Entry, Table, number

__all__ = ["force_sections"]


class Comparison(NamedTuple):
    """Labels and predictions of one quantity, flat, and where each comes from."""

    name: str
    unit: str
    true: np.ndarray
    predicted: np.ndarray
    frames: np.ndarray


def force_sections(
    estimator: Any, X: Any, y: FrameLabels, crystals: Crystals, names: list[str]
) -> list[Section]:
    """Return the sections: errors of energies, forces and stresses, and the worst frames."""
    predicted = predictions(estimator, X)
    if not isinstance(predicted, FrameLabels):
        raise TypeError(
            f"y is FrameLabels, but {type(estimator).__name__} predicts "
            f"{type(predicted).__name__}: expected a Pretrainer with the objective ForceField."
        )
    comparisons = list(_comparisons(y, predicted))
    if not comparisons:
        raise ValueError("y has neither energies nor forces nor stresses to compare with.")
    plots = [_parity(comparison) for comparison in comparisons]
    return [
        Section("Errors", tables=[_error_table(comparisons)], plots=plots),
        Section("Largest errors", tables=[_worst_table(comparisons, crystals, names)]),
    ]


def _comparisons(y: FrameLabels, predicted: FrameLabels) -> Iterator[Comparison]:
    """Yield the quantities that have labels."""
    frames = np.arange(len(y))
    n_atoms = np.asarray(y.n_atoms)
    quantities = [
        ("energy", "eV/atom", y.energy / n_atoms, predicted.energy / n_atoms, frames),
        ("forces", "eV/Å", y.forces, predicted.forces, np.repeat(frames, n_atoms)),
        ("stress", "eV/Å³", y.stress, predicted.stress, frames),
    ]
    for name, unit, true, values, rows in quantities:
        true, values = np.asarray(true), np.asarray(values)
        # One entry for each component, with the number of its frame.
        rows = np.broadcast_to(rows.reshape(-1, *[1] * (true.ndim - 1)), true.shape)
        # A model that has not learnt stress predicts none.
        labelled = np.isfinite(true) & np.isfinite(values)
        if labelled.any():
            yield Comparison(name, unit, true[labelled], values[labelled], rows[labelled])


def _error_table(comparisons: list[Comparison]) -> Table:
    rows = []
    for name, unit, true, predicted, _ in comparisons:
        errors = np.abs(true - predicted)
        entries = [name, unit, number(errors.mean()), number(np.sqrt(np.square(errors).mean()))]
        entries += [number(np.abs(true - true.mean()).mean()), f"{len(true):,}"]
        rows.append([Entry(text) for text in entries])
    header = ["", "unit", "mean absolute error", "root mean squared error"]
    notes = ["Of forces and stresses, errors are those of their components."]
    return Table("Errors", [*header, "mean absolute deviation of labels", "numbers"], rows, notes)


def _parity(comparison: Comparison) -> Plot:
    display = ParityDisplay(comparison.true, comparison.predicted, unit=comparison.unit)
    svg = draw(
        f"report-{comparison.name}",
        f"Predictions against labels: {comparison.name}",
        (4.4, 4.6),
        lambda figure: display.plot(figure.subplots()),
    )
    return Plot(svg, f"Predictions against labels: {comparison.name}.")


def _worst_table(comparisons: list[Comparison], crystals: Crystals, names: list[str]) -> Table:
    """List the frames with the largest mean errors of forces, or else of the first quantity."""
    by_name = {comparison.name: comparison for comparison in comparisons}
    chosen = by_name.get("forces", comparisons[0])
    errors = np.abs(chosen.true - chosen.predicted)
    counts = np.bincount(chosen.frames, minlength=len(names))
    means = np.bincount(chosen.frames, errors, minlength=len(names)) / np.maximum(counts, 1)
    worst = np.argsort(-means, kind="stable")[:N_WORST]
    rows = [
        [Entry(names[row]), Entry(formula_of(crystals, row)), Entry(number(means[row]))]
        for row in worst
        if counts[row]
    ]
    header = ["frame", "formula", f"mean absolute error of {chosen.name} ({chosen.unit})"]
    return Table("Largest errors", header, rows)
