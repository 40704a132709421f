"""Checks of the flat arrays that hold many crystals, shared by structures and graphs."""

from typing import Any

import numpy as np

from gnnpre._array_likes import plain

from ._indexing import offsets_from_counts

__all__ = [
    "LARGEST_ATOMIC_NUMBER",
    "check_atoms",
    "check_cells",
    "check_counts",
    "crystal_of_row",
    "name_crystal",
    "number_array",
]

LARGEST_ATOMIC_NUMBER = 118


def number_array(name: str, values: Any, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return ``values`` as a contiguous array, after a check of its type and shape.

    A conversion that changes the numbers (floats to integers, complex numbers to floats) is an
    error, and so is a masked entry; -1 in ``shape`` stands for any length.
    """
    try:
        array = np.asarray(plain(values))
    except ValueError as error:  # rows of unequal length
        raise ValueError(f"{name} cannot be read as an array: {error}") from error
    # NumPy makes float64 of an empty list, whatever it is meant to hold.
    if array.size == 0 and len(shape) == array.ndim:
        array = array.astype(dtype)
    allowed = {"i": "iu", "u": "iu", "f": "fiu", "b": "b"}[np.dtype(dtype).kind]
    if array.dtype.kind not in allowed:
        raise ValueError(f"{name} has dtype {array.dtype}; expected {np.dtype(dtype).name}.")
    if array.ndim != len(shape) or any(
        size not in (-1, length) for size, length in zip(shape, array.shape, strict=True)
    ):
        expected = tuple("any" if size == -1 else size for size in shape)
        raise ValueError(f"{name} has shape {array.shape}; expected {expected}.")
    if array.dtype.kind in "iu" and np.dtype(dtype).kind in "iu" and array.size:
        limits = np.iinfo(dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise ValueError(
                f"{name} holds values from {array.min()} to {array.max()}; expected {limits.min} "
                f"to {limits.max} ({np.dtype(dtype).name})."
            )
    return np.ascontiguousarray(array, dtype=dtype)


def check_counts(name: str, counts: np.ndarray, total: int, low: int, noun: str) -> None:
    """Check that each crystal has at least ``low`` rows, and that there are ``total`` in all."""
    bad = np.flatnonzero(counts < low)
    if len(bad):
        raise ValueError(
            f"{name}[{bad[0]}] is {counts[bad[0]]}; expected at least {low} for each crystal."
        )
    # Each is checked before the sum, which could wrap around.
    if (len(counts) and counts.max() > total) or int(counts.sum()) != total:
        raise ValueError(f"{name} adds up to {int(counts.sum())}; there are {total} {noun}.")


def check_atoms(atomic_numbers: np.ndarray, positions: np.ndarray, n_atoms: np.ndarray) -> None:
    """Check that all atoms are elements 1 to 118 at finite positions."""
    bad = np.flatnonzero((atomic_numbers < 1) | (atomic_numbers > LARGEST_ATOMIC_NUMBER))
    if len(bad):
        crystal, atom = crystal_of_row(bad[0], n_atoms)
        raise ValueError(
            f"Structure {crystal}: atom {atom} has atomic number {atomic_numbers[bad[0]]}; "
            f"expected elements 1 to {LARGEST_ATOMIC_NUMBER}."
        )
    bad = np.flatnonzero(~np.isfinite(positions).all(axis=1))
    if len(bad):
        crystal, atom = crystal_of_row(bad[0], n_atoms)
        raise ValueError(
            f"Structure {crystal}: atom {atom} has coordinates {positions[bad[0]]} that are not "
            "finite (NaN or infinity)."
        )


def check_cells(cell: np.ndarray) -> None:
    """Check that the cell vectors are finite."""
    bad = np.flatnonzero(~np.isfinite(cell).all(axis=(1, 2)))
    if len(bad):
        raise ValueError(f"Structure {bad[0]}: its cell holds NaN or infinity.")


def crystal_of_row(row: int, counts: np.ndarray) -> tuple[int, int]:
    """Return the crystal that a row of a flat array belongs to, and its row within the crystal."""
    offsets = offsets_from_counts(counts)
    crystal = int(np.searchsorted(offsets, row, side="right")) - 1
    return crystal, int(row - offsets[crystal])


def name_crystal(row: int, ids: np.ndarray | None, first: int = 0) -> str:
    """Name a crystal for an error: by its row, counted from ``first``, and its id if it has one."""
    return f"Structure {first + row}" + ("" if ids is None else f" (id {ids[row]!s})")
