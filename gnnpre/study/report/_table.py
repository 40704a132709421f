"""A table of text, and its Markdown."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Entry", "Table", "markdown_text", "number", "number_with_spread", "percent_interval"]

MISSING = "—"
SIGNIFICANT_DIGITS = 4
#: What Markdown takes for markup inside a cell.
MARKUP = "\\`*_[]<>|#~&$"


class Entry(NamedTuple):
    """A cell of a table."""

    text: str
    best: bool = False
    missing: bool = False


@dataclass
class Table:
    """Header, rows and notes; the first column names the rows, all others hold numbers or text."""

    title: str
    header: Sequence[str]
    rows: list[list[Entry]]
    notes: list[str] = field(default_factory=list)

    def to_markdown(self) -> str:
        """Give title, table and notes as Markdown."""
        lines = [f"## {markdown_text(self.title)}", ""]
        if self.rows:
            lines += [_line(markdown_text(name) for name in self.header)]
            lines += [_line(["---"] * len(self.header))]
            lines += [_line(_markdown_entry(entry) for entry in row) for row in self.rows]
            lines.append("")
        lines += [f"- {markdown_text(note)}" for note in self.notes]
        return "\n".join(lines).rstrip() + "\n"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _markdown_entry(entry: Entry) -> str:
    text = markdown_text(entry.text)
    return f"**{text}**" if entry.best else text


def markdown_text(text: str) -> str:
    """Escape what Markdown or HTML would take for markup, and join lines."""
    joined = " ".join(str(text).split())
    return "".join(f"\\{letter}" if letter in MARKUP else letter for letter in joined)


def number(value: float | None, digits: int = SIGNIFICANT_DIGITS) -> str:
    """Write a number with so many significant digits; a dash for none."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:.{_decimals(value, digits)}f}"


def number_with_spread(mean: float, std: float) -> str:
    """Write a mean and its standard deviation with the decimals of the mean."""
    if not math.isfinite(std):
        return number(mean)
    return f"{number(mean)} ± {std:.{_decimals(mean, SIGNIFICANT_DIGITS)}f}"


def percent_interval(percent: float, low: float, high: float) -> str:
    """Write an improvement in percent, and its interval."""
    return f"{percent:+.1f} [{low:+.1f}, {high:+.1f}]"


def _decimals(value: float, digits: int) -> int:
    if value == 0.0:
        return digits - 1
    return min(9, max(0, digits - 1 - math.floor(math.log10(abs(value)))))
