"""Stresses of six or nine numbers as symmetric matrices."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["asymmetric", "to_matrices"]

# Of the six independent components, as rows and columns of the matrix.
_SIX_NUMBERS = {
    "ase": ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)),
    "vasp": ((0, 1, 2, 0, 1, 2), (0, 1, 2, 1, 2, 0)),
}
_ASYMMETRY = 0.02  # of the largest component: more is not rounding


def to_matrices(
    values: Sequence[Any], order: str, name: Callable[[int], str], advice: str = ""
) -> np.ndarray:
    """Return symmetric matrices from stresses of 3x3, nine or six numbers.

    Parameters
    ----------
    values : sequence of array-like
        Each of shape (3, 3), (9,) or (6,).
    order : {"ase", "vasp"}
        Order of six numbers: xx, yy, zz, yz, xz, xy, or xx, yy, zz, xy, yz, zx.
    name : callable
        Returns the name of a row for error messages.
    advice : str
        Advice at the end of error messages.

    Returns
    -------
    ndarray of shape (n, 3, 3)
        The matrices.

    Raises
    ------
    ValueError
        If a value has another shape or is not symmetric.
    """
    matrices = np.empty((len(values), 3, 3))
    shapes = [np.shape(value) for value in values]
    # Shape by shape, not stress by stress: a file may hold a hundred thousand.
    for shape in set(shapes):
        rows = [row for row, row_shape in enumerate(shapes) if row_shape == shape]
        if shape not in {(3, 3), (9,), (6,)}:
            raise ValueError(
                f"{name(rows[0])} has shape {shape}; a stress is 3x3, nine or six numbers.{advice}"
            )
        stacked = np.array([values[row] for row in rows])
        if shape == (6,):
            # Voigt's order, or that of VASP.
            i, j = _SIX_NUMBERS[order]
            block = np.empty((len(rows), 3, 3))
            block[:, i, j] = block[:, j, i] = stacked
        else:
            block = stacked.reshape(-1, 3, 3)
            bad = np.flatnonzero(asymmetric(block))
            if bad.size:
                raise ValueError(
                    f"{name(rows[bad[0]])} is not symmetric, as a stress is: "
                    f"{block[bad[0]].tolist()}.{advice}"
                )
            block = (block + block.transpose(0, 2, 1)) / 2
        matrices[rows] = block
    return matrices


def asymmetric(matrices: np.ndarray) -> np.ndarray:
    """Return which matrices (n, 3, 3) are not symmetric but for rounding, ``(n,)``."""
    asymmetry = np.abs(matrices - matrices.transpose(0, 2, 1)).max(axis=(1, 2))
    is_bad: np.ndarray = asymmetry > _ASYMMETRY * np.abs(matrices).max(axis=(1, 2))
    return is_bad
