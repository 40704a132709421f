"""How strategies are drawn, in all plots of a report alike."""

from collections.abc import Iterable
from typing import NamedTuple

from gnnpre.inspection import COLORS, GREY

__all__ = ["Look", "looks"]

#: Line and marker of the first six strategies, of the next six, and so on.
FORMS = (("-", "o"), ("--", "s"), (":", "^"), ("-.", "D"))


class Look(NamedTuple):
    """How a strategy is drawn."""

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
