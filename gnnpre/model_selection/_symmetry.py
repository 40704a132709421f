"""Space groups of many crystals, from flat arrays by spglib."""

from typing import Any

import numpy as np
from joblib import Parallel, delayed

from gnnpre.graphs import Crystals

from ._crystals import atoms_by_crystal
from ._vacuum import fix_vacuum

__all__ = ["UNKNOWN_SPACE_GROUP", "space_group_numbers"]

#: In place of the number of a space group: of chains and molecules, and where spglib finds none.
UNKNOWN_SPACE_GROUP = 0
# Crystals per task of a worker process: about a second of work.
CHUNK = 256


def space_group_numbers(
    crystals: Crystals, symprec: float, n_jobs: int | None = None
) -> np.ndarray:
    """Return the number of each crystal's space group, 0 where there is none."""
    chunks = crystals.split(CHUNK)
    numbers = Parallel(n_jobs=n_jobs)(
        delayed(_numbers_of_chunk)(chunk, symprec) for chunk in chunks
    )
    return np.concatenate([np.empty(0, dtype=np.int64), *numbers])


def _numbers_of_chunk(crystals: Crystals, symprec: float) -> np.ndarray:
    numbers = atoms_by_crystal(crystals.atomic_numbers, crystals)
    positions = atoms_by_crystal(crystals.positions, crystals)
    rows = zip(crystals.cell, crystals.pbc, positions, numbers, strict=True)
    return np.array([_space_group_number(*row, symprec) for row in rows], dtype=np.int64)


def _space_group_number(
    cell: np.ndarray, pbc: np.ndarray, positions: np.ndarray, numbers: np.ndarray, symprec: float
) -> int:
    import spglib

    converted = fix_vacuum(cell, pbc, positions)
    # The space group of a chain or molecule would be that of the box around it.
    if converted.n_periodic < 2:
        return UNKNOWN_SPACE_GROUP
    # spglib wants fractional coordinates, and cell vectors as rows.
    fractional = np.linalg.solve(converted.cell.T, converted.positions.T).T
    crystal: Any = (converted.cell, fractional, numbers)
    try:
        dataset = spglib.get_symmetry_dataset(crystal, symprec=symprec)
    except spglib.SpglibError:  # raised from spglib 3.0 on, where 2.x returns None
        return UNKNOWN_SPACE_GROUP
    return UNKNOWN_SPACE_GROUP if dataset is None else int(dataset.number)
