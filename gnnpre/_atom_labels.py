"""Labels of atoms: one array for each crystal, checked and joined."""

from collections.abc import Iterable, Mapping, Sequence, Set, Sized
from typing import Any

import numpy as np

from gnnpre._label_numbers import LARGEST_VALUE
from gnnpre._labels import as_floats, is_missing, rows_text

__all__ = ["atom_rows", "join_atom_labels", "object_rows"]

EXPECTED = "a list of n arrays, one for each crystal, with one value for each of its atoms"


def join_atom_labels(name: str, y: Any, n_atoms: np.ndarray) -> np.ndarray:
    """Return the values of all atoms, one crystal after another.

    Parameters
    ----------
    name : str
        Name of the argument, for errors.
    y : sequence of n array-likes of shape (n_atoms[i],)
        A list, Series or object array; None or NaN in place of an array where a crystal has no
        values, NaN within it where an atom has none.
    n_atoms : ndarray of shape (n,)
        Number of atoms of each crystal.

    Returns
    -------
    ndarray of shape (N,)
        The values in float64, NaN where missing.

    Raises
    ------
    ValueError, TypeError
        If the length of ``y`` or of one of its arrays does not fit, or a value is not a finite
        number; the message names the row.
    """
    rows, n = atom_rows(name, y), len(n_atoms)
    if len(rows) != n:
        raise ValueError(f"{name} has {len(rows)} rows; X has {n} crystals: expected {EXPECTED}.")
    values = np.concatenate(
        [_one_crystal(name, y, row, rows[row], int(count)) for row, count in enumerate(n_atoms)]
    )
    # not (x <= limit) is true for infinities, and for NaN, which is a missing value.
    bad = np.flatnonzero(~(np.abs(values) <= LARGEST_VALUE) & ~np.isnan(values))
    if len(bad):
        row = int(np.searchsorted(np.cumsum(n_atoms), bad[0], side="right"))
        atom = int(bad[0] - n_atoms[:row].sum())
        raise ValueError(
            f"{name} is {values[bad[0]]} for atom {atom} of {rows_text(np.array([row]), y)}; "
            f"expected finite numbers up to {LARGEST_VALUE:g}. Mark what is missing as NaN."
        )
    return values


def atom_rows(name: str, y: Any) -> Sequence[Any]:
    """Return ``y`` as a sequence with one entry for each crystal.

    Parameters
    ----------
    name : str
        Name of the argument, for errors.
    y : list, Series or ndarray
        Labels of atoms.

    Returns
    -------
    sequence
        The entries.

    Raises
    ------
    ValueError, TypeError
        If ``y`` is None, or no sequence.
    """
    if y is None:
        raise ValueError(f"{name} is None; expected {EXPECTED}.")
    if hasattr(y, "per_atom"):  # FrameLabels
        raise TypeError(
            f"{name} is of type {type(y).__name__}; with target='atom' pass one of its columns of "
            f"atoms ({', '.join(y.atom_info) or 'it has none'}): {name}.per_atom(name)."
        )
    is_sequence = isinstance(y, Sized) and getattr(y, "ndim", 1) > 0
    if not is_sequence or isinstance(y, (str, bytes, Mapping, Set)) or hasattr(y, "columns"):
        raise TypeError(f"{name} is of type {type(y).__name__}; expected {EXPECTED}.")
    return list(y)


def _one_crystal(name: str, y: Any, row: int, values: Any, n_atoms: int) -> np.ndarray:
    """Return the values of the atoms of one crystal."""
    if type(values) is np.ndarray and values.dtype == np.float64 and values.shape == (n_atoms,):
        return values  # the usual case
    if not hasattr(values, "__len__") and is_missing(values):
        return np.full(n_atoms, np.nan)
    if np.ndim(values) == 0:
        raise ValueError(
            f"{name} is {values!r} at {rows_text(np.array([row]), y)}; expected {EXPECTED}. One "
            "number for each crystal is target='crystal'."
        )
    array = as_floats(f"{name}[{row}]", values, n_dims=None)
    if array.shape != (n_atoms,):
        raise ValueError(
            f"{name} has an array of shape {array.shape} at {rows_text(np.array([row]), y)}, whose "
            f"crystal has {n_atoms} atom{'s' if n_atoms > 1 else ''}; expected ({n_atoms},), in "
            "the order of its atoms."
        )
    return array


def object_rows(rows: Iterable[Any]) -> np.ndarray:
    """Return the items of a sequence as an object array of shape (n,), whatever their lengths."""
    items = list(rows)
    array = np.empty(len(items), dtype=object)
    for row, item in enumerate(items):  # NumPy would make a table of items of equal length
        array[row] = item
    return array
