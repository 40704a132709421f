"""Checks of the arrays that FrameLabels holds."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gnnpre._array_likes import plain
from gnnpre._atom_labels import join_atom_labels
from gnnpre._labels import as_floats

__all__ = ["check_atom_columns", "check_counts_of_frames", "check_label", "stack_forces"]

# A number of atoms beyond this is a mistake, and missing forces alone would take gigabytes.
LARGEST_FRAME = 10_000_000


def check_counts_of_frames(n_atoms: Any) -> np.ndarray:
    """Return the numbers of atoms as int64, after a check that they are positive integers."""
    try:
        counts = np.asarray(plain(n_atoms))
    except ValueError as error:  # rows of unequal length
        raise ValueError(f"n_atoms cannot be read as an array: {error}") from error
    if counts.size == 0 and counts.dtype.kind in "fiu":
        counts = counts.astype(np.int64)
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or (counts < 1).any():
        raise ValueError(
            "n_atoms must hold the number of atoms of each frame, positive ints of shape (n,); "
            f"got shape {counts.shape}, dtype {counts.dtype}."
        )
    if counts.size and counts.max() > LARGEST_FRAME:
        row = int(np.argmax(counts))
        raise ValueError(
            f"n_atoms[{row}] is {counts[row]}; expected at most {LARGEST_FRAME} atoms in a frame."
        )
    return counts.astype(np.int64)


def stack_forces(forces: Any, n_atoms: np.ndarray) -> Any:
    """Concatenate a list of arrays, one for each frame, after a check of each frame's length."""
    if not isinstance(forces, (list, tuple)) or len(forces) == 0:
        return forces
    if isinstance(forces[0], (list, tuple)) and not (forces[0] and _is_row(forces[0][0])):
        return forces  # one list of rows, one for each atom
    if np.ndim(forces[0]) != 2:
        return forces
    if len(forces) != len(n_atoms):
        raise ValueError(f"forces has {len(forces)} frames; n_atoms has {len(n_atoms)}.")
    stacked = []
    for row, (values, count) in enumerate(zip(forces, n_atoms, strict=True)):
        array = as_floats(f"forces[{row}]", values, n_dims=None)
        if array.shape != (count, 3):
            raise ValueError(
                f"forces of frame {row} have shape {array.shape}; expected ({count}, 3)."
            )
        stacked.append(array)
    return np.concatenate(stacked)


def _is_row(value: Any) -> bool:
    return isinstance(value, (list, tuple, np.ndarray))


def check_label(name: str, values: Any, shape: tuple[int, ...], meaning: str) -> np.ndarray:
    """Return a label as float64, NaN where it is missing; all NaN if it is None."""
    if values is None:
        return np.full(shape, np.nan)
    array = as_floats(name, values, n_dims=None)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; expected {shape} ({meaning}).")
    return array


def check_atom_columns(columns: Any, n_atoms: np.ndarray) -> dict[str, np.ndarray]:
    """Return columns of atoms by name, each (N,) in float64, NaN where missing."""
    if columns is None:
        return {}
    if not isinstance(columns, Mapping):
        raise TypeError(
            f"atom_info is of type {type(columns).__name__}; expected a dict of columns with one "
            "value for each atom."
        )
    # Names become columns of files, where 1 and "1" would be one name.
    for name in columns:
        if not isinstance(name, str):
            raise TypeError(f"atom_info has a column named {name!r}; expected a string.")
    return {
        name: _atom_column(f"atom_info[{name!r}]", values, n_atoms)
        for name, values in columns.items()
    }


def _atom_column(name: str, values: Any, n_atoms: np.ndarray) -> np.ndarray:
    """Return one column of atoms, of a flat array or of one array for each frame."""
    total = int(n_atoms.sum())
    is_array = getattr(values, "ndim", 0) == 1 and str(values.dtype) != "object"
    is_list = isinstance(values, (list, tuple)) and len(values) == total
    if is_array or (is_list and not any(hasattr(value, "__len__") for value in values)):
        return check_label(name, values, (total,), "one value per atom")
    return join_atom_labels(name, values, n_atoms)
