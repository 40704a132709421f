"""Numbers of any type as float64, with errors that name the rows which hold no numbers."""

from collections.abc import Mapping, Set
from datetime import date, time, timedelta
from numbers import Real
from typing import Any

import numpy as np

from ._array_likes import expected_shape, plain

__all__ = ["LARGEST_VALUE", "MISSING_TYPES", "check_magnitude", "rows_of", "rows_text", "to_floats"]

# Beyond this, single precision overflows in the course of a training that does not standardise,
# and so do squares of ratios in double precision.
LARGEST_VALUE = 1e30
# Rows that an error lists before it stops.
ROWS_SHOWN = 3
# Types of missing values: pandas.NA, pandas.NaT, numpy.ma.masked, None. By name, as pandas and
# polars may not be installed.
MISSING_TYPES = ("NAType", "NaTType", "MaskedConstant", "NoneType")
# What cannot be a number, and how to mend it.
NOT_NUMBERS: dict[str, tuple[tuple[type, ...], str]] = {
    "bool": (
        (bool, np.bool_),
        "Convert with astype(float) if 0 and 1 are meant; PropertyClassifier learns classes.",
    ),
    "text": (
        (str, bytes),
        "Convert text to numbers first, with pandas.to_numeric for example, and mark what is "
        "missing as NaN.",
    ),
    "complex": ((complex, np.complexfloating), "Take the real part or the absolute value."),
    "date": (
        (date, time, timedelta, np.datetime64, np.timedelta64),
        "Convert to a number first: durations / numpy.timedelta64(1, 's') for example.",
    ),
    "list": (
        (list, tuple, np.ndarray, Mapping, Set),
        "All rows need the same length; expected one number for each row and column.",
    ),
}
DTYPE_NAMES = {"b": "bool", "U": "text", "S": "text", "c": "complex", "M": "date", "m": "date"}


def to_floats(
    name: str, array: np.ndarray, values: Any, n_dims: tuple[int, ...] | None, allow_bool: bool
) -> np.ndarray:
    """Convert an array of any dtype; ``values`` is the argument as the user passed it."""
    if array.dtype.kind in "iuf" or (allow_bool and array.dtype.kind == "b"):
        # In the order of rows: torch takes no view with negative strides, such as y[::-1].
        return np.asarray(array, dtype=np.float64, order="C")
    if array.dtype.kind == "O":
        return _numbers_of_objects(name, array, values, n_dims, allow_bool)
    rows = np.arange(len(array)) if array.ndim else np.empty(0, dtype=int)
    problem = DTYPE_NAMES.get(array.dtype.kind, "list")
    raise _not_numbers(name, array, rows, values, problem, n_dims)


def _numbers_of_objects(
    name: str, array: np.ndarray, values: Any, n_dims: tuple[int, ...] | None, allow_bool: bool
) -> np.ndarray:
    """Convert values of any types, which are judged type by type: there are few."""
    items = [plain(item) for item in array.ravel().tolist()]
    types = set(map(type, items))
    for item_type in sorted(types, key=lambda t: t.__name__):
        problem = _problem(item_type, allow_bool)
        if problem is not None:
            flags = [isinstance(item, item_type) for item in items]
            rows = rows_of(np.reshape(flags, array.shape))
            raise _not_numbers(name, array, rows, values, problem, n_dims)
    if any(item_type.__name__ in MISSING_TYPES for item_type in types):
        items = [np.nan if type(item).__name__ in MISSING_TYPES else item for item in items]
    return np.reshape([_to_float(name, row, item) for row, item in enumerate(items)], array.shape)


def _problem(item_type: type, allow_bool: bool) -> str | None:
    """Return why values of a type are not numbers, None for numbers and missing values."""
    if item_type.__name__ in MISSING_TYPES:  # first: pandas.NaT is a date as well
        return None
    for problem, (types, _) in NOT_NUMBERS.items():
        if issubclass(item_type, types):
            return None if allow_bool and problem == "bool" else problem
    return None if issubclass(item_type, Real) or hasattr(item_type, "__float__") else "object"


def _to_float(name: str, position: int, item: Any) -> float:
    try:
        return float(item)
    except (OverflowError, TypeError, ValueError) as error:
        text = repr(item)
        shown = text if len(text) < 40 else f"{text[:20]}... ({len(text)} characters)"
        raise ValueError(
            f"{name} cannot be read as numbers: {shown} at position {position} does not fit into "
            f"a float ({error}). Use another unit, or mark what is missing as NaN."
        ) from error


def _not_numbers(
    name: str,
    array: np.ndarray,
    rows: np.ndarray,
    values: Any,
    problem: str,
    n_dims: tuple[int, ...] | None,
) -> ValueError:
    """Return the error about values that are not numbers."""
    hint = NOT_NUMBERS[problem][1] if problem in NOT_NUMBERS else "Expected numbers."
    first, n_rows = "", len(rows)
    noun = {"object": "other objects", "list": "lists"}.get(problem, problem)
    if problem == "text":
        # One "12 GPa" makes text of a whole column of a CSV file: that row is the one to name.
        unreadable = np.array([row for row in rows if not _is_number_text(array[row])], dtype=int)
        if 0 < len(unreadable) < len(rows):
            noun, rows = f"text, of which {len(unreadable)} are not numbers", unreadable
    if len(rows):
        items = np.ravel(array[rows[0]]).tolist() if array.ndim > 1 else [array[rows[0]]]
        column = _column_of(items, problem)
        names = getattr(values, "columns", ())
        where = f" in column {names[column]!r}" if len(names) == len(items) > 1 else ""
        first = f", the first at {rows_text(rows, values)}{where} ({items[column]!r:.40})"
    shape = "" if n_dims is None else f" of shape {expected_shape(None, n_dims)}"
    return ValueError(
        f"{name} cannot be read as numbers{shape}: {n_rows} of "
        f"{len(array) if array.ndim else 1} rows hold {noun}{first}. {hint}"
    )


def _column_of(items: list[Any], problem: str) -> int:
    """Return the first item of a row that has a problem; a text that is no number, if any is."""
    flags = [_problem(type(item), allow_bool=False) == problem for item in items]
    if problem == "text":
        unreadable = [
            flag and not _is_number_text(item) for item, flag in zip(items, flags, strict=True)
        ]
        flags = unreadable if any(unreadable) else flags
    return flags.index(True) if any(flags) else 0


def check_magnitude(name: str, numbers: np.ndarray) -> None:
    """Check that no number is too large to be squared in any precision.

    Parameters
    ----------
    name : str
        Name of the argument, for the error.
    numbers : ndarray of shape (n,) or (n, k)
        Numbers, NaN where missing.
    """
    large = np.argwhere(np.abs(numbers) > LARGEST_VALUE)
    if len(large):
        raise ValueError(
            f"{name} is {numbers[tuple(large[0])]} at row {large[0][0]}; expected finite numbers "
            f"up to {LARGEST_VALUE:g}. Mark what is missing as NaN, or use another unit."
        )


def _is_number_text(values: Any) -> bool:
    """Return whether all texts of a row can be read as numbers."""
    try:
        np.asarray(values, dtype=object).astype(np.float64)
    except (TypeError, ValueError):
        return False
    return True


def rows_of(flags: np.ndarray) -> np.ndarray:
    """Return the rows in which any entry is True."""
    if flags.ndim == 0:
        return np.empty(0, dtype=int)
    return np.flatnonzero(flags.any(axis=tuple(range(1, flags.ndim))))


def rows_text(rows: np.ndarray, values: Any = None) -> str:
    """Return ``"row 3"`` or ``"rows 3, 7, 9, ..."``, with the labels of a pandas index.

    Parameters
    ----------
    rows : ndarray of int
        The rows, ascending.
    values : object, optional
        Container of the rows; a pandas object names them by its index too.

    Returns
    -------
    str
        The first few rows.
    """
    index = getattr(values, "index", None)
    names = [str(row) for row in rows[:ROWS_SHOWN]]
    if hasattr(values, "iloc") and index is not None and not _counts_up(index):
        # tolist makes Python's numbers of NumPy's, whose repr is np.int64(3).
        labels = index[rows[:ROWS_SHOWN]].tolist()
        names = [
            f"{row} (index {label!r})" for row, label in zip(rows[:ROWS_SHOWN], labels, strict=True)
        ]
    more = ", ..." if len(rows) > ROWS_SHOWN else ""
    return f"row{'s' if len(rows) > 1 else ''} {', '.join(names)}{more}"


def _counts_up(index: Any) -> bool:
    return bool(np.array_equal(np.asarray(index), np.arange(len(index))))
