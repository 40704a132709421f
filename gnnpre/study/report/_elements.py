"""The error by element, and its plot on the periodic table."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gnnpre.inspection import MIN_CRYSTALS, draw, paint_table, plain

from ._pairing import errors_by_run
from ._record import Method
from ._results import StudyResults

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ElementError", "element_errors", "periodic_plot"]


class ElementError(NamedTuple):
    """The mean absolute error over the test crystals that contain an element."""

    mean: float
    n_crystals: int


def element_errors(
    results: StudyResults, data: str, method: Method, beside: Method | None = None
) -> dict[str, ElementError]:
    """Average the error of the test crystals by the elements that they contain.

    A crystal counts once for each of its elements, with its error averaged over the runs that
    test it; only over runs that ``beside`` has too, where that is given.
    """
    from pymatgen.core import Composition

    collected: dict[str, list[float]] = {}
    for index, error in _error_by_crystal(results, data, method, beside).items():
        for element in Composition(results.data[data].formulas[index]).elements:
            collected.setdefault(element.symbol, []).append(error)
    return {s: ElementError(float(np.mean(e)), len(e)) for s, e in sorted(collected.items())}


def _error_by_crystal(
    results: StudyResults, data: str, method: Method, beside: Method | None
) -> dict[int, float]:
    shared = {record.run for record in results.of(data, beside or method)}
    by_crystal: dict[int, list[float]] = {}
    for run, errors in errors_by_run(results.of(data, method)).items():
        for index, error in errors.items() if run in shared else ():
            by_crystal.setdefault(index, []).append(error)
    return {index: float(np.mean(errors)) for index, errors in by_crystal.items()}


def periodic_plot(
    results: StudyResults, data: str, methods: tuple[Method, Method | None], name: str
) -> str:
    """Plot the error of a method by element; with a reference also the difference to it."""
    method, reference = methods
    errors = element_errors(results, data, method)
    reliable = {s: e.mean for s, e in errors.items() if e.n_crystals >= MIN_CRYSTALS}
    unit = f" ({results.data[data].unit})" if results.data[data].unit else ""
    tables = [(f"{method}: mean absolute error{unit}", reliable, False)]
    if reference is not None:
        # Over the runs that both have, or the difference would be one of runs.
        after = element_errors(results, data, method, reference)
        before = element_errors(results, data, reference, method)
        change = {s: after[s].mean - before[s].mean for s in reliable if s in after}
        tables.append((f"difference to {reference}{unit}; blue is better", change, True))

    def paint(figure: "Figure") -> None:
        panels = figure.subplots(len(tables), 1, squeeze=False)[:, 0]
        for axes, (title, values, signed) in zip(panels, tables, strict=True):
            paint_table(axes, values, errors.keys(), signed=signed)
            axes.set_title(plain(title))

    label = f"Error by element of {method} on {data}"
    return draw(name, label, (7.6, 0.2 + 4.1 * len(tables)), paint)
