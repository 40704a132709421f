"""The error by element, and its plot on the periodic table."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ._pairing import errors_by_run
from ._record import Method
from ._results import StudyResults
from ._svg import GREY, INK, draw, plain
from ._table import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure

__all__ = ["MIN_CRYSTALS", "ElementError", "element_errors", "periodic_plot"]

#: Elements in fewer test crystals are grey: a mean over them says little.
MIN_CRYSTALS = 5
N_ROWS, N_GROUPS = 9.3, 18
#: The lanthanoids and actinoids stand below the table, a little apart.
GAP = 0.3


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
        after = element_errors(results, data, method, reference)
        before = element_errors(results, data, reference, method)
        change = {s: after[s].mean - before[s].mean for s in reliable if s in after}
        tables.append((f"difference to {reference}{unit}; blue is better", change, True))

    def paint(figure: "Figure") -> None:
        panels = figure.subplots(len(tables), 1, squeeze=False)[:, 0]
        for axes, (title, values, signed) in zip(panels, tables, strict=True):
            _paint_table(axes, values, errors.keys(), signed=signed)
            axes.set_title(plain(title))

    label = f"Error by element of {method} on {data}"
    return draw(name, label, (7.6, 0.2 + 4.1 * len(tables)), paint)


def _paint_table(
    axes: "Axes", values: Mapping[str, float], present: Iterable[str], *, signed: bool
) -> None:
    norm, colors = _scale(list(values.values()), signed=signed)
    seen = set(present)
    for symbol, (column, row) in _positions().items():
        if symbol in values:
            color = colors(norm(values[symbol]))
            _paint_element(axes, column, row, symbol, color, number(values[symbol], 3))
        else:
            _paint_element(axes, column, row, symbol, f"{GREY}55" if symbol in seen else None, "")
    axes.set(xlim=(-0.1, N_GROUPS + 0.1), ylim=(N_ROWS + 0.1, -0.1), aspect="equal")
    axes.axis("off")


def _scale(values: list[float], *, signed: bool) -> tuple["Normalize", "Colormap"]:
    """Return norm and colours; they end at the 95th percentile, so that no element dominates."""
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    end = float(np.percentile(np.abs(values), 95)) if values else 1.0
    end = end or 1.0
    if signed:
        return Normalize(-end, end, clip=True), colormaps["RdBu_r"]
    return Normalize(min(values, default=0.0), end, clip=True), colormaps["YlOrRd"]


def _paint_element(
    axes: "Axes", column: float, row: float, symbol: str, color: object, text: str
) -> None:
    from matplotlib.patches import Rectangle

    face = "none" if color is None else color
    box = Rectangle((column + 0.04, row + 0.04), 0.92, 0.92, facecolor=face, edgecolor="none")
    axes.add_patch(box).set_clip_on(False)  # a clip for each is a fifth of the file
    ink = GREY if color is None else INK if isinstance(color, str) else _ink_on(color)
    for down, line, size in ((0.36, symbol, 8), (0.75, text, 5.5)):
        label = axes.text(column + 0.5, row + down, line, ha="center", va="center", fontsize=size)
        label.set(color=ink, in_layout=False)  # to measure them all takes seconds


def _ink_on(color: object) -> str:
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(color)  # type: ignore[arg-type]
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "#ffffff"


@cache
def _positions() -> dict[str, tuple[float, float]]:
    """Return column and row of each element in the usual table of 18 groups."""
    from pymatgen.core import Element

    positions = {}
    for element in Element:
        if element.is_lanthanoid or element.is_actinoid:
            first = 57 if element.is_lanthanoid else 89
            row = 7 if element.is_lanthanoid else 8
            positions[element.symbol] = (element.Z - first + 2.0, row + GAP)
        elif element.Z > 0 and element.symbol not in ("D", "T"):
            positions[element.symbol] = (element.group - 1.0, element.row - 1.0)
    return positions
