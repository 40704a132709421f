"""Columns that describe crystals: database ids, further properties, and the index of a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gnnpre._array_likes import plain
from gnnpre._join_arrays import join_arrays

__all__ = [
    "LARGEST_EXACT",
    "as_column",
    "as_columns",
    "as_ids",
    "as_index",
    "check_blocks",
    "join_columns",
    "join_indices",
]

# Longer text is stored as Python strings: in a fixed width one long entry makes all of them long.
WIDEST_TEXT = 128
#: float64 has all integers up to this one.
LARGEST_EXACT = 2**53


def as_columns(info: Any, n: int, noun: str = "crystals") -> dict[str, np.ndarray]:
    """Return the columns of ``info`` as arrays of length ``n``, after a check of their names."""
    if info is None:
        return {}
    if not (isinstance(info, Mapping) or hasattr(info, "columns")):
        raise TypeError(
            f"info is of type {type(info).__name__}; expected a dict (or DataFrame) of columns "
            f"with one value for each of the {n} {noun}."
        )
    return {
        _check_name(name): as_column(f"info[{name!r}]", values, n, noun)
        for name, values in info.items()
    }


def _check_name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"info has a column named {name!r}; expected names that are strings.")
    return name


def as_column(name: str, values: Any, n: int, noun: str = "crystals") -> np.ndarray:
    """Return one value per crystal as an array of numbers, fixed-width text, or objects.

    Numbers and text of a fixed width can be memory-mapped by the workers of joblib.
    """
    if np.ma.isMaskedArray(values) and values.mask.any():
        values = values.filled(np.nan) if values.dtype.kind == "f" else values.tolist()
    else:
        values = _exact_integers(plain(values))
    try:
        column = _native_numbers(np.asarray(values))
    except ValueError:  # values of unequal length
        column = _as_objects(values)
    if column.ndim and column.dtype.kind in "US" and not isinstance(values, np.ndarray):
        # NumPy turns numbers and NaN among strings into strings: look at the values themselves.
        column = _as_objects(values)
    if column.shape != (n,):
        raise ValueError(
            f"{name} has shape {column.shape}; expected ({n},), one value for each of the {n} "
            f"{noun}."
        )
    return _narrow(column) if column.dtype.kind == "O" else column


def _exact_integers(values: Any) -> Any:
    """Return a nullable column of pandas as objects if float64 would round its integers."""
    if getattr(getattr(values, "dtype", None), "kind", "") not in "iu" or not hasattr(
        values, "isna"
    ):
        return values
    is_missing = np.asarray(values.isna())
    if not is_missing.any():
        return values
    items = [
        None if missing else int(value) for value, missing in zip(values, is_missing, strict=True)
    ]
    return _as_objects(items) if any(abs(item or 0) > LARGEST_EXACT for item in items) else values


def _native_numbers(column: np.ndarray) -> np.ndarray:
    """Return a column in the types that files and torch have.

    Numbers of another byte order or of more than double precision become native ones, and text of
    NumPy's ``StringDType`` becomes objects, with None where it is missing.
    """
    if column.dtype.kind == "T":
        return _as_objects([value if isinstance(value, str) else None for value in column.tolist()])
    if column.dtype.kind == "f" and column.dtype.itemsize > 8:
        return column.astype(np.float64)
    if not column.dtype.isnative and column.dtype.kind in "iufbmM":
        return column.astype(column.dtype.newbyteorder("="))
    return column


def _as_objects(values: Any) -> np.ndarray:
    items = list(values)
    column = np.empty(len(items), dtype=object)
    column[:] = items
    return column


def _narrow(column: np.ndarray) -> np.ndarray:
    """Return short texts as an array of fixed width, other objects with None for pandas.NA."""
    values = column.tolist()
    if values and all(type(value) is str for value in values):
        if max(map(len, values)) <= WIDEST_TEXT:
            return column.astype(str)
    elif any(type(value).__name__ == "NAType" for value in values):
        return _as_objects([None if type(v).__name__ == "NAType" else v for v in values])
    return column


def as_ids(ids: Any, n: int) -> np.ndarray | None:
    """Return database ids as an array of text or integers, one for each of ``n`` crystals."""
    if ids is None:
        return None
    column = as_column("ids", ids, n)
    if column.dtype.kind == "O":
        for row, value in enumerate(column):
            if not isinstance(value, (str, int, np.integer)):
                raise ValueError(f"ids[{row}] is {value!r}; expected a string or an integer.")
        column = column.astype(str)
    if column.dtype.kind not in "Uiu":
        raise ValueError(f"ids has dtype {column.dtype}; expected strings or integers.")
    return column


def as_index(index: Any, n: int) -> Any:
    """Return labels of the rows of a table as a pandas Index of length ``n``."""
    if index is None:
        return None
    if not (hasattr(index, "take") and hasattr(index, "names")):
        import pandas as pd

        try:
            index = pd.Index(index)
        except (TypeError, ValueError, NotImplementedError) as error:  # the last for float16
            raise TypeError(
                f"index is {index!r}; expected one label for each crystal ({error})."
            ) from error
    if len(index) != n:
        raise ValueError(f"index has {len(index)} labels; there are {n} crystals.")
    return index


def check_blocks(blocks: Any, block_type: type) -> list[Any]:
    """Return the blocks of a ``concatenate`` as a list, all of one type."""
    expected = f"expected a list of {block_type.__name__}"
    if isinstance(blocks, (str, bytes, Mapping, block_type)) or not hasattr(blocks, "__iter__"):
        raise TypeError(f"blocks is of type {type(blocks).__name__}; {expected}.")
    try:
        items = list(blocks)
    except TypeError as error:  # an array or a tensor without dimensions
        raise TypeError(f"blocks is of type {type(blocks).__name__}; {expected}.") from error
    if not items:
        raise ValueError("blocks is empty: there is nothing to concatenate.")
    for position, item in enumerate(items):
        if not isinstance(item, block_type):
            raise TypeError(f"blocks[{position}] is of type {type(item).__name__}; {expected}.")
    return items


def join_columns(tables: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Concatenate the columns that all tables have."""
    shared = [name for name in tables[0] if all(name in table for table in tables)]
    return {name: join_arrays([table[name] for table in tables]) for name in shared}


def join_indices(indices: Sequence[Any]) -> Any:
    """Append the indices one after the other; None if one of them is missing."""
    if any(index is None for index in indices):
        return None
    return indices[0].append(list(indices[1:]))
