"""Numbers of elements on the periodic table."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from ._svg import GREY, INK
from ._table import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize

__all__ = ["MIN_CRYSTALS", "paint_table"]

#: Elements in fewer crystals are grey: a mean over them says little.
MIN_CRYSTALS = 5
N_ROWS, N_GROUPS = 9.3, 18
#: The lanthanoids and actinoids stand below the table, a little apart.
GAP = 0.3


def paint_table(
    axes: "Axes", values: Mapping[str, float], present: Iterable[str], *, signed: bool = False
) -> None:
    """Draw a periodic table with a number and its colour for each element.

    Parameters
    ----------
    axes : matplotlib Axes
        The axes, which lose their frame.
    values : mapping of str to float
        Numbers by symbol. Colours end at the 95th percentile, so that no element dominates.
    present : iterable of str
        Elements that are grey if they have no number; all others are not filled.
    signed : bool
        Whether the colours diverge from zero: blue below, red above.
    """
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
