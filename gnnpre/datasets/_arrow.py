"""Columns of Arrow tables as NumPy arrays, by their buffers rather than row by row."""

from typing import Any, NamedTuple

import numpy as np

from ..graphs import LARGEST_EXACT, atomic_number
from ._stress_matrix import asymmetric

__all__ = [
    "RaggedVectors",
    "flat_numbers",
    "flat_symbols",
    "list_counts",
    "matrices",
    "plain_column",
    "stresses",
    "vectors",
]


class RaggedVectors(NamedTuple):
    """Vectors of atoms of consecutive rows, and which rows have none or other ones.

    Attributes
    ----------
    values : ndarray of shape (N, 3)
        NaN for rows that have none.
    is_missing, is_malformed : ndarray of shape (n,)
        Rows that are null or empty; rows with other than ``(n_atoms, 3)`` numbers.
    """

    values: np.ndarray
    is_missing: np.ndarray
    is_malformed: np.ndarray


def list_counts(column: Any) -> np.ndarray:
    """Return the length of each list of a column, 0 where it is null; shape (n,)."""
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(column), 0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False), dtype=np.int64)


def flat_symbols(column: Any) -> np.ndarray:
    """Return the atomic numbers of a column of lists of symbols, row after row.

    Parameters
    ----------
    column : pyarrow.ListArray of str or dictionary-encoded str

    Returns
    -------
    ndarray of shape (N,)
        Atomic numbers.

    Raises
    ------
    ValueError
        If a symbol is not a chemical element.
    """
    import pyarrow as pa

    symbols = column.flatten()
    if symbols.null_count:
        raise ValueError("a symbol is null")
    if not pa.types.is_dictionary(symbols.type):
        symbols = symbols.dictionary_encode()
    used = np.asarray(symbols.indices.to_numpy(zero_copy_only=False))
    names = symbols.dictionary.to_pylist()
    # A dictionary may list symbols that no row of this batch has: look up those in use.
    numbers = np.zeros(len(names), dtype=np.int32)
    for index in np.unique(used).tolist():
        numbers[index] = atomic_number(names[index])
    return numbers[used]


def vectors(column: Any, n_atoms: np.ndarray) -> RaggedVectors:
    """Return the vectors in a column of lists of lists of three numbers.

    Parameters
    ----------
    column : pyarrow.ListArray
        Type ``list<list<float>>``.
    n_atoms : ndarray of shape (n,)
        Length that each row should have.

    Returns
    -------
    RaggedVectors
        The vectors, row after row.
    """
    counts, inner = list_counts(column), column.flatten()
    widths = list_counts(inner)
    if np.array_equal(counts, n_atoms) and (widths == 3).all():  # the usual case
        regular = np.zeros(len(column), dtype=bool)
        return RaggedVectors(_numbers(inner.flatten()).reshape(-1, 3), regular, regular)
    # 1. rows with as many vectors as atoms, each of three numbers
    ends = np.cumsum(counts)
    n_narrow = np.concatenate([[0], np.cumsum(widths != 3)])  # vectors of another width so far
    is_good = (counts == n_atoms) & (n_narrow[ends] == n_narrow[ends - counts])
    is_missing = counts == 0
    # 2. their numbers in place, NaN in the others
    values = np.full((int(n_atoms.sum()), 3), np.nan)
    is_good_number = np.repeat(np.repeat(is_good, counts), widths)
    numbers = _numbers(inner.flatten())[is_good_number]
    values[np.repeat(is_good, n_atoms)] = numbers.reshape(-1, 3)
    return RaggedVectors(values, is_missing, ~is_good & ~is_missing)


def flat_numbers(column: Any, n_atoms: np.ndarray, name: str) -> np.ndarray:
    """Return the numbers in a column of lists of one number per atom, row after row.

    Parameters
    ----------
    column : pyarrow.ListArray
        Type ``list<float>``.
    n_atoms : ndarray of shape (n,)
        Length that each row should have.
    name : str
        Name of the column, for errors.

    Returns
    -------
    ndarray of shape (N,)
        The numbers, NaN for rows that are null or empty, and in place of infinity.

    Raises
    ------
    ValueError
        If a row has another number of values.
    """
    counts = list_counts(column)
    wrong = np.flatnonzero((counts != n_atoms) & (counts != 0))
    if wrong.size:
        row = int(wrong[0])
        raise ValueError(
            f"{name!r} has {counts[row]} values in its row {row}; expected {n_atoms[row]}, one for "
            "each atom"
        )
    values = np.full(int(n_atoms.sum()), np.nan)
    values[np.repeat(counts != 0, n_atoms)] = _numbers(column.flatten())
    return np.where(np.isinf(values), np.nan, values)


def matrices(column: Any) -> RaggedVectors:
    """Return the 3x3 matrices in a column; values of shape (n, 3, 3).

    Parameters
    ----------
    column : pyarrow.ListArray
        Type ``list<list<float>>``.

    Returns
    -------
    RaggedVectors
        Matrices, NaN for rows that have none or something else.
    """
    rows = vectors(column, np.full(len(column), 3))
    return rows._replace(values=rows.values.reshape(-1, 3, 3))


def stresses(column: Any) -> RaggedVectors:
    """Return the stresses in a column; those that are not symmetric are malformed.

    Parameters
    ----------
    column : pyarrow.ListArray
        Type ``list<list<float>>``.

    Returns
    -------
    RaggedVectors
        Symmetric matrices, NaN for rows that have none or something else.
    """
    rows = matrices(column)
    is_bad = asymmetric(rows.values)
    values = (rows.values + rows.values.transpose(0, 2, 1)) / 2
    values[is_bad] = np.nan
    return rows._replace(values=values, is_malformed=rows.is_malformed | is_bad)


def _numbers(values: Any) -> np.ndarray:
    """Return numbers as float64, NaN where null."""
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)


def _fits_float(column: Any) -> bool:
    """Return whether float64, which has NaN for null, has all integers of a column."""
    import pyarrow.compute as pc

    ends = pc.min_max(column).as_py()
    return max(abs(ends["min"] or 0), abs(ends["max"] or 0)) <= LARGEST_EXACT


def plain_column(column: Any) -> np.ndarray:
    """Return a column of numbers, booleans or text; NaN or None where null."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if column.null_count and pa.types.is_boolean(column.type):
        return np.array(column.to_pylist(), dtype=object)
    if column.null_count and pa.types.is_integer(column.type) and not _fits_float(column):
        return np.array(column.to_pylist(), dtype=object)
    array = column.to_numpy(zero_copy_only=False)
    return array.astype(np.float64) if array.dtype == np.float32 else array
