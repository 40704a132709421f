"""From arrays to pymatgen structures."""

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pymatgen.core import Structure

__all__ = ["complete_cell", "to_structure"]


def to_structure(
    atomic_numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
) -> "Structure":
    """Build a pymatgen structure with sites at the positions, not wrapped into the cell."""
    from pymatgen.core import Lattice, Structure

    if not pbc.all() and _is_singular(cell):
        cell = complete_cell(cell, pbc)
    if np.linalg.matrix_rank(cell) < 3:
        raise ValueError(
            f"The cell {cell.tolist()} Å, pbc {pbc.tolist()}, is singular along its periodic "
            "directions; expected linearly independent vectors."
        )
    elements = _elements()
    return Structure(
        Lattice(cell, pbc=tuple(pbc.tolist())),
        [elements[number] for number in atomic_numbers.tolist()],
        positions,
        coords_are_cartesian=True,
    )


def _is_singular(cell: np.ndarray) -> bool:
    return not abs(np.linalg.det(cell)) > 1e-6 * np.linalg.norm(cell, axis=1).prod()


@cache
def _elements() -> list[Any]:
    """Return the elements by atomic number; entry 0 is None."""
    from pymatgen.core import Element

    return [None, *(Element.from_Z(number) for number in range(1, 119))]


def complete_cell(cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Replace the vectors of directions that are not periodic by unit vectors normal to the rest.

    Their values do not matter, but neighbour searches and pymatgen need a regular cell.
    """
    n_periodic = int(pbc.sum())
    if n_periodic == 0:
        return np.eye(3)
    completed = cell.copy()
    completed[~pbc] = np.linalg.svd(cell[pbc])[2][n_periodic:]
    return completed
