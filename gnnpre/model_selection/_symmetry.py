"""Space groups of many crystals, from flat arrays by spglib."""

from typing import Any

import numpy as np
from joblib import Parallel, delayed

from gnnpre.graphs import Crystals

from ._crystals import atoms_by_crystal

__all__ = ["UNKNOWN_SPACE_GROUP", "has_lattice", "space_group_numbers", "three_dimensional_cell"]

#: In place of the number of a space group: of chains and molecules, and where spglib finds none.
UNKNOWN_SPACE_GROUP = 0
# Å between a slab and its image. Only that it is the same for all slabs matters.
VACUUM = 20.0
# Crystals that a worker gets at a time: a second's work.
CHUNK = 256


def space_group_numbers(
    crystals: Crystals, symprec: float, n_jobs: int | None = None
) -> np.ndarray:
    """Give the number of each crystal's space group, 0 where there is none."""
    parts = crystals.split(CHUNK)
    found = Parallel(n_jobs=n_jobs)(delayed(_numbers_of_part)(part, symprec) for part in parts)
    return np.concatenate([np.empty(0, dtype=np.int64), *found])


def has_lattice(pbc: np.ndarray) -> bool:
    """Say whether a crystal is periodic enough to have a space group: in two directions."""
    return int(np.sum(pbc)) >= 2


def three_dimensional_cell(cell: np.ndarray, pbc: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Give a slab a third vector across it, whatever its own was; others keep their cell."""
    if pbc.all():
        return cell
    (axis,) = np.flatnonzero(~pbc)
    normal = np.cross(cell[axis - 2], cell[axis - 1])
    normal /= np.linalg.norm(normal)
    complete = np.array(cell)
    complete[axis] = normal * (np.ptp(positions @ normal) + VACUUM)
    return complete


def _numbers_of_part(crystals: Crystals, symprec: float) -> np.ndarray:
    numbers = atoms_by_crystal(crystals.atomic_numbers, crystals)
    positions = atoms_by_crystal(crystals.positions, crystals)
    rows = zip(crystals.cell, crystals.pbc, positions, numbers, strict=True)
    return np.array([_space_group_number(*row, symprec) for row in rows], dtype=np.int64)


def _space_group_number(
    cell: np.ndarray, pbc: np.ndarray, positions: np.ndarray, numbers: np.ndarray, symprec: float
) -> int:
    import spglib

    if not has_lattice(pbc):
        return UNKNOWN_SPACE_GROUP
    cell = three_dimensional_cell(cell, pbc, positions)
    fractional = np.linalg.solve(cell.T, positions.T).T
    crystal: Any = (cell, fractional, numbers)
    try:
        dataset = spglib.get_symmetry_dataset(crystal, symprec=symprec)
    except spglib.SpglibError:  # what spglib is to raise from 3.0 on, where it gives None now
        return UNKNOWN_SPACE_GROUP
    return UNKNOWN_SPACE_GROUP if dataset is None else int(dataset.number)
