"""Figures of matplotlib as SVG text that fits into a page of HTML, light or dark."""

import io
import re
from collections.abc import Callable, Iterable
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from ._table import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BLUE", "GREY", "INK", "Look", "draw", "looks", "plain"]

#: A colour that occurs nowhere else: it becomes the colour of the page's text.
INK = "#010203"
GREY = "#8a8a8a"
BLUE = "#2a86c9"
#: Okabe and Ito's colours, which the colour-blind tell apart, without black and yellow, and with a
#: blue that shows on a dark page too.
COLORS = (BLUE, "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9")
#: Line and marker of the first six strategies, of the next six, and so on.
FORMS = (("-", "o"), ("--", "s"), (":", "^"), ("-.", "D"))

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
#: What a page does not need of matplotlib's SVG, most of it repeated for each word.
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


class Look(NamedTuple):
    """How a strategy is drawn, in all plots alike."""

    color: str
    line: str
    marker: str


def looks(strategies: Iterable[str], grey: str) -> dict[str, Look]:
    """Return the look of each strategy; ``grey`` names the one that others are compared with."""
    names = [name for name in dict.fromkeys(strategies) if name != grey]
    by_name = {grey: Look(GREY, *FORMS[0])}
    for rank, name in enumerate(names):
        form = FORMS[rank // len(COLORS) % len(FORMS)]
        by_name[name] = Look(COLORS[rank % len(COLORS)], *form)
    return by_name


def plain(text: str) -> str:
    """Escape a name so that matplotlib does not read it as a formula, nor XML as markup."""
    return printable(text).replace("$", r"\$")


def draw(name: str, label: str, size: tuple[float, float], paint: Callable[["Figure"], Any]) -> str:
    """Paint a figure of so many inches and give it as SVG.

    ``name`` must differ from those of the other figures of a page: the ids of the parts come from
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
    label = escape(printable(label))
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{label}" '
        f'style="width: {width * 4 / 3:.0f}px">{body.strip()}'
    )


def _round_numbers(tag: re.Match[str]) -> str:
    """Round what a tag holds to a hundredth of a point; text between tags stays."""
    return re.sub(r"\d+\.\d{3,}", lambda match: f"{float(match[0]):.2f}", tag[0])
