"""Figures of matplotlib as SVG text that fits into a page of HTML, light or dark."""

import io
import re
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

from ._table import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BLUE", "COLORS", "GREY", "INK", "draw", "plain"]

#: A colour that occurs nowhere else: it becomes the colour of the page's text.
INK = "#010203"
GREY = "#8a8a8a"
BLUE = "#2a86c9"
#: Okabe and Ito's colours, which the colour-blind tell apart, without black and yellow, and with a
#: blue that shows on a dark page too.
COLORS = (BLUE, "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9")

#: Width in pixels below which a wide figure scrolls.
SCROLLED = 512
STYLE: dict[Any, Any] = {
    "axes.edgecolor": GREY,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "figure.constrained_layout.h_pad": 0.1,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.facecolor": "none",
    "font.size": 9,
    "legend.frameon": False,
    "path.simplify": True,
    "svg.fonttype": "none",  # text stays text: small, and can be searched
    "text.color": INK,
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
}
#: Patterns in matplotlib's SVG that a page does not need, most of them repeated for each label.
REPLACEMENTS = (
    (r"<metadata>.*?</metadata>", ""),
    (r"<style.*?</style>", ""),
    (r'<g id="[^"]*"', "<g"),
    (r' transform="rotate\(-?0 [^"]*\)"', ""),
    (r"font-family: [^;\"]*;? ?", ""),
    (r"font: ([^;\"]*?px) [^;\"]*", r"font-size: \1"),
    (r"\s+", " "),
    (r"<defs> </defs>", ""),
    (r"> <", "><"),
)


def plain(text: str) -> str:
    """Escape a name so that matplotlib does not read it as a formula, nor XML as markup."""
    return printable(text).replace("$", r"\$")


def draw(name: str, label: str, size: tuple[float, float], paint: Callable[["Figure"], Any]) -> str:
    """Return a figure of ``size`` (inches) as SVG text, after ``paint`` has drawn on it.

    ``name`` must differ from those of the other figures of a page: ids within the SVG come from
    it. ``label`` describes the figure to those who do not see it.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "The plots of a report need matplotlib: pip install 'gnnpre[plot]'."
        ) from error
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")  # needs no backend, no window
        paint(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _for_html(buffer.getvalue(), label, size)


def _for_html(text: str, label: str, size: tuple[float, float]) -> str:
    body = text[text.index("<svg") :]
    body = body[body.index(">") + 1 :]
    for pattern, replacement in REPLACEMENTS:
        body = re.sub(pattern, replacement, body, flags=re.S)
    body = re.sub(r"<[^>]*>", _round_numbers, body).replace(INK, "currentColor")
    width, height = (72 * side for side in size)
    pixels = width * 4 / 3
    # A phone shrinks small figures; the text of wide ones would be too small, so they scroll.
    smallest = f"; min-width: {SCROLLED}px" if pixels > SCROLLED else ""
    label = escape(printable(label))
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{label}" '
        f'style="width: {pixels:.0f}px{smallest}">{body.strip()}'
    )


def _round_numbers(tag: re.Match[str]) -> str:
    """Round the numbers in a tag to a hundredth of a point; text between tags stays."""
    return re.sub(r"\d+\.\d{3,}", lambda match: f"{float(match[0]):.2f}", tag[0])
