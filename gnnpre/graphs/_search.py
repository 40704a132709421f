"""What the searches for neighbours share: the pairs that they find, and the cells they search."""

from dataclasses import dataclass

import numpy as np

from ._crystals import Crystals
from ._to_structure import complete_cell

__all__ = ["CUTOFF_TOLERANCE", "FoundPairs", "search_cells"]

# Squared distances are compared with that of the cutoff to within this tolerance (Å^2).
CUTOFF_TOLERANCE = 1e-8


@dataclass(frozen=True)
class FoundPairs:
    """All pairs within the cutoff, none of an atom with itself; sorted by crystal and target."""

    index: np.ndarray  # (2, E) int32: source, target, counted within their crystal
    shift: np.ndarray  # (E, 3) int32: cells between source and its image
    distance: np.ndarray  # (E,) Å
    n_found: np.ndarray  # (n,)


def search_cells(crystals: Crystals) -> np.ndarray:
    """Cells with the rows of non-periodic directions replaced by vectors normal to the others."""
    cells = np.ascontiguousarray(crystals.cell)
    partial = np.flatnonzero(~crystals.pbc.all(axis=1))
    if len(partial):
        cells = cells.copy()
    for row in partial:
        cells[row] = complete_cell(cells[row], crystals.pbc[row])
    return cells
