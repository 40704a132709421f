"""The columns of extended XYZ, as ``Properties=species:S:1:pos:R:3`` states them."""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

__all__ = ["AtomColumns", "ColumnLayout", "parse_layout"]

_DEFAULT = "species:S:1:pos:R:3"
_MOST_COLUMNS = 10_000
_SYMBOL_LENGTH = 8  # characters; longer texts are not symbols, and loadtxt would cut them
_TYPES = {"R": np.float64, "I": np.int64, "L": "U5", "S": f"U{_SYMBOL_LENGTH}"}
# Names of the columns that every frame needs, in any case.
_SYMBOLS = {"species", "symbols", "symbol", "element", "elements"}
_NUMBERS = {"z", "numbers", "atomic_numbers", "atomic_number"}
_POSITIONS = {"pos", "position", "positions"}


class AtomColumns(NamedTuple):
    """Atomic numbers (N,), positions (N, 3), and columns of three and of one number, by name."""

    atomic_numbers: np.ndarray
    positions: np.ndarray
    columns: dict[str, np.ndarray]
    numbers: dict[str, np.ndarray]


@dataclass(frozen=True)
class ColumnLayout:
    """The columns of the atoms of a frame.

    Attributes
    ----------
    properties : str
        Names, types and widths, as the file states them.
    has_more : bool
        Whether a file that states no Properties has columns to the right of these.
    """

    properties: str
    has_more: bool
    fields: tuple[tuple[str, str, int], ...] = field(compare=False, repr=False)

    @property
    def other_names(self) -> tuple[str, ...]:
        """Names of the columns that are read neither as atoms nor as three numbers each."""
        names = [name for name, letter, width in self.fields if (letter, width) != ("R", 3)]
        reserved = _SYMBOLS | _NUMBERS | _POSITIONS
        return tuple(name for name in names if name.lower() not in reserved)

    def parse(self, rows: list[str]) -> AtomColumns:
        """Return the columns of atoms.

        Parameters
        ----------
        rows : list of str
            Lines of atoms.

        Raises
        ------
        ValueError
            If a line has too few or too many values, or one of the wrong type.
        """
        if self.has_more:
            n = sum(width for _, _, width in self.fields)
            # Text after the columns, such as a comment, is not part of the table.
            rows = [" ".join(row.split(None, n)[:n]) for row in rows]
        try:
            table = np.loadtxt(rows, dtype=self._dtype(), comments=None, ndmin=1)
        except ValueError as error:
            raise ValueError(_explain(str(error))) from error
        if len(table) != len(rows):
            raise ValueError(f"{len(rows) - len(table)} of its {len(rows)} atoms are empty lines")
        columns = {
            name: np.ascontiguousarray(table[name])
            for name, letter, width in self.fields
            if letter == "R" and width == 3
        }
        numbers = {
            name: table[name].astype(np.float64)
            for name, letter, width in self.fields
            if letter in "RI" and width == 1 and name.lower() not in _NUMBERS
        }
        position_name = next(name for name in columns if name.lower() in _POSITIONS)
        positions = columns.pop(position_name)
        return AtomColumns(self._atomic_numbers(table), positions, columns, numbers)

    def _dtype(self) -> np.dtype:
        fields: list[Any] = [
            (name, _TYPES[letter], (width,) if width > 1 else ())
            for name, letter, width in self.fields
        ]
        return np.dtype(fields)

    def _atomic_numbers(self, table: np.ndarray) -> np.ndarray:
        names = {name.lower(): name for name, letter, _ in self.fields if letter in "IS"}
        numbers = next((table[names[name]] for name in names if name in _NUMBERS), None)
        symbols = next((table[names[name]] for name in names if name in _SYMBOLS), None)
        if symbols is None or symbols.dtype.kind != "U":
            return np.asarray(numbers).astype(np.int64)
        unique, inverse = np.unique(symbols, return_inverse=True)
        if numbers is None or numbers.dtype.kind != "i":
            return np.array([_atomic_number(symbol) for symbol in unique.tolist()])[inverse]
        # Symbols may be names of atoms ("Cu1"), but must not be those of other elements
        stated = np.array([_number_or_zero(symbol) for symbol in unique.tolist()])[inverse]
        differing = np.flatnonzero((stated > 0) & (stated != numbers))
        if differing.size:
            atom = int(differing[0])
            raise ValueError(
                f"its atom {symbols[atom]} has the atomic number {numbers[atom]} in another column"
            )
        return numbers.astype(np.int64)


def _explain(message: str) -> str:
    """Rewrite a message of loadtxt that speaks of its own parameters."""
    counts = re.search(r"requires (\d+) columns but (\d+) were found at row (\d+)", message)
    if counts is None:
        return message.rstrip(".")
    expected, actual, row = counts.groups()
    return f"its line {row} of atoms has {actual} values where Properties states {expected}"


@lru_cache(maxsize=256)
def parse_properties(properties: str) -> tuple[tuple[str, str, int], ...]:
    """Return the name, type and width of each column.

    Parameters
    ----------
    properties : str
        Such as ``"species:S:1:pos:R:3:forces:R:3"``.

    Returns
    -------
    tuple of (str, str, int)
        The columns, in order.

    Raises
    ------
    ValueError
        If it is malformed, or states no elements or no positions.
    """
    # Such as species:S:1:pos:R:3:forces:R:3.
    words = properties.split(":")
    if len(words) % 3:
        raise ValueError(
            f"Properties={properties!r:.60} should be name:type:width, again and again"
        )
    fields = []
    # isdigit alone is true for '²', which int does not read.
    for name, letter, width in zip(words[::3], words[1::3], words[2::3], strict=True):
        letter = letter.upper()
        if letter not in _TYPES or not (width.isascii() and width.isdigit() and len(width) < 9):
            raise ValueError(
                f"Properties has {name}:{letter}:{width:.20}; a type is R, I, S or L, a width a "
                "positive number"
            )
        fields.append((name, letter, int(width)))
    _check_fields(tuple(fields), properties)
    return tuple(fields)


def _check_fields(fields: tuple[tuple[str, str, int], ...], properties: str) -> None:
    n_columns = sum(width for _, _, width in fields)
    if n_columns > _MOST_COLUMNS or min(width for _, _, width in fields) < 1:
        raise ValueError(f"Properties={properties!r:.60} states {n_columns} columns")
    if len({name for name, _, _ in fields}) < len(fields):
        raise ValueError(f"Properties={properties!r:.60} has one name twice")
    # The least that a frame needs: elements and positions.
    has_elements = any(
        (name.lower() in _SYMBOLS and letter == "S" and width == 1)
        or (name.lower() in _NUMBERS and letter == "I" and width == 1)
        for name, letter, width in fields
    )
    has_positions = any(
        name.lower() in _POSITIONS and (letter, width) == ("R", 3) for name, letter, width in fields
    )
    if not (has_elements and has_positions):
        raise ValueError(
            f"Properties={properties!r:.60} should have species:S:1 (or Z:I:1) and pos:R:3"
        )


def parse_layout(properties: Any, first_row: str) -> ColumnLayout:
    """Return the layout of the columns of a frame.

    Parameters
    ----------
    properties : str or None
        What the frame states; None stands for elements and positions alone.
    first_row : str
        Its first line of atoms.

    Returns
    -------
    ColumnLayout
        The columns.

    Raises
    ------
    ValueError
        If the statement is malformed.
    """
    if properties is None:
        return ColumnLayout(_DEFAULT, len(first_row.split()) > 4, parse_properties(_DEFAULT))
    if not isinstance(properties, str):
        raise ValueError(f"Properties={properties!r:.40} should be text")
    return ColumnLayout(properties, False, parse_properties(properties))


@lru_cache(maxsize=1024)
def _atomic_number(symbol: str) -> int:
    """Return the atomic number of a symbol, a number as text, or an isotope of hydrogen."""
    from ase.data import atomic_numbers

    if symbol.isascii() and symbol.isdigit() and int(symbol) < len(atomic_numbers):
        return int(symbol)
    name = {"D": "H", "T": "H"}.get(symbol, symbol.capitalize())
    if name not in atomic_numbers:
        raise ValueError(f"{symbol!r} is not a chemical element")
    return int(atomic_numbers[name])


def _number_or_zero(symbol: str) -> int:
    try:
        return _atomic_number(symbol)
    except ValueError:
        return 0
