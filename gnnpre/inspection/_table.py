"""A table of text, and its Markdown."""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = [
    "Entry",
    "Table",
    "counted",
    "markdown_text",
    "number",
    "number_with_spread",
    "percent_interval",
    "printable",
]

MISSING = "—"
SIGNIFICANT_DIGITS = 4
#: Numbers beyond these are written with an exponent.
SMALLEST, LARGEST = 1e-4, 1e9
#: Letters that are markup of Markdown inside a cell.
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
        """Return title, table and notes as Markdown."""
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
    """Escape markup of Markdown and HTML, and join lines."""
    joined = " ".join(printable(text).split())
    return "".join(f"\\{letter}" if letter in MARKUP else letter for letter in joined)


def printable(text: object) -> str:
    """Replace letters that UTF-8 files or XML cannot hold: lone surrogates, control characters."""
    return "".join(
        letter if letter in "\t\n" or unicodedata.category(letter) not in ("Cc", "Cs") else "\ufffd"
        for letter in str(text)
    )


def counted(n: int, noun: str) -> str:
    """Write a number and its noun: ``1 data set``, ``2 data sets``."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def number(value: float | None, digits: int = SIGNIFICANT_DIGITS) -> str:
    """Write a number with ``digits`` significant digits; a dash for None, NaN and infinity."""
    if value is None or not math.isfinite(value):
        return MISSING
    if _needs_exponent(value):
        return f"{value:.{digits - 1}e}"
    return f"{value:.{_decimals(value, digits)}f}"


def number_with_spread(mean: float, std: float) -> str:
    """Write a mean and its standard deviation with the decimals of the mean."""
    if not math.isfinite(std):
        return number(mean)
    if math.isfinite(mean) and _needs_exponent(mean):
        exponent = math.floor(math.log10(abs(mean)))
        unit = 10.0**exponent
        decimals = SIGNIFICANT_DIGITS - 1
        return f"({mean / unit:.{decimals}f} ± {std / unit:.{decimals}f})e{exponent}"
    return f"{number(mean)} ± {std:.{_decimals(mean, SIGNIFICANT_DIGITS)}f}"


def percent_interval(percent: float, low: float, high: float) -> str:
    """Write an improvement in percent, and its interval."""
    return f"{percent:+.1f} [{low:+.1f}, {high:+.1f}]"


def _needs_exponent(value: float) -> bool:
    """Return whether a number has too many zeros to be written out, as in SI units."""
    return value != 0.0 and not SMALLEST <= abs(value) < LARGEST


def _decimals(value: float, digits: int) -> int:
    if value == 0.0:
        return digits - 1
    return max(0, digits - 1 - math.floor(math.log10(abs(value))))
