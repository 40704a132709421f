"""Crystals prepared for a neighbour search: compact cells, atoms near the cell, bounded work."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ._crystals import Crystals
from ._indexing import offsets_from_counts
from ._search_work import LARGEST_SHIFT, check_work
from ._settings import GraphSettings
from ._to_structure import complete_cell

__all__ = ["SearchFrame", "prepare_search", "restore_shifts"]

# A cell is skewed if a vector is this many times longer than the cell is high along it.
MOST_SKEWED = 10.0
# Atoms this many cells away from their own are wrapped into it.
FARTHEST_CELL = 32


@dataclass(frozen=True)
class Reframing:
    """The same crystal in ``cell = operation @ old``, at ``positions - wraps @ cell``."""

    cell: np.ndarray  # (3, 3) Å
    operation: np.ndarray  # (3, 3) integers
    wraps: np.ndarray  # (n_atoms, 3) integers

    def original_shifts(self, index: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """Return shifts between atoms at their original positions, in units of ``cell``."""
        source, target = index
        return shift - self.wraps[source] + self.wraps[target]


@dataclass(frozen=True)
class SearchFrame:
    """Crystals as they are searched, with complete cells, and which of them were rewritten."""

    crystals: Crystals
    reframed: dict[int, Reframing] = field(default_factory=dict)


def prepare_search(crystals: Crystals, settings: GraphSettings, first: int = 0) -> SearchFrame:
    """Complete and reduce cells, wrap atoms that lie far away, and bound the work of the search.

    Cells and atoms that are in order, nearly all of them, stay as they are.
    """
    # 1. a regular cell for each crystal, periodic in all directions or not
    cells = _complete_cells(crystals)
    lengths, inverse_heights = _measure(cells)
    # 2. the few crystals that a search would take for ever for, rewritten
    reframed: dict[int, Reframing] = {}
    rows = _rows_to_reframe(crystals, lengths, inverse_heights)
    if len(rows):
        cells, positions = cells.copy(), crystals.positions.copy()
        for row in rows.tolist():
            atoms = slice(crystals.offsets[row], crystals.offsets[row + 1])
            reframing = _reframe(positions[atoms], cells[row], crystals.pbc[row])
            cells[row] = reframing.cell
            positions[atoms] -= reframing.wraps @ reframing.cell
            reframed[row] = reframing
        lengths[rows], inverse_heights[rows] = _measure(cells[rows])
        crystals = crystals._with(cell=cells, positions=positions)
    elif cells is not crystals.cell:
        crystals = crystals._with(cell=cells)
    # 3. what remains is bounded
    check_work(crystals, lengths, inverse_heights, settings, first)
    return SearchFrame(crystals, reframed)


def _measure(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lengths of cell vectors, and one over the heights of the cell along them."""
    inverse = np.linalg.inv(cells)
    lengths = np.sqrt(np.einsum("nij,nij->ni", cells, cells))
    # Column j of the inverse is normal to the other two vectors, with a length of 1 / height.
    return lengths, np.sqrt(np.einsum("nij,nij->nj", inverse, inverse))


def _complete_cells(crystals: Crystals) -> np.ndarray:
    cells = np.ascontiguousarray(crystals.cell)
    partly_periodic = np.flatnonzero(~crystals.pbc.all(axis=1))
    if len(partly_periodic):
        cells = cells.copy()
    for row in partly_periodic:
        cells[row] = complete_cell(cells[row], crystals.pbc[row])
    return cells


def _rows_to_reframe(
    crystals: Crystals, lengths: np.ndarray, inverse_heights: np.ndarray
) -> np.ndarray:
    """Find crystals with a skewed cell, or with atoms that may lie far outside of it."""
    squared = np.einsum("ni,ni->n", crystals.positions, crystals.positions)
    farthest = np.sqrt(np.maximum.reduceat(squared, crystals.offsets[:-1]))
    skewed = lengths * inverse_heights > MOST_SKEWED
    outside = farthest[:, None] * inverse_heights > FARTHEST_CELL
    return np.flatnonzero(((skewed | outside) & crystals.pbc).any(axis=1))


def _reframe(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> Reframing:
    operation = np.eye(3, dtype=np.int64)
    lengths, inverse_heights = _measure(cell[None])
    if (lengths * inverse_heights > MOST_SKEWED).any():
        from ase.geometry import minkowski_reduce

        operation[pbc] = minkowski_reduce(cell, pbc)[1][pbc]
    reduced = operation @ cell
    wraps = np.floor(positions @ np.linalg.inv(reduced)).astype(np.int64) * pbc
    return Reframing(reduced, operation, wraps)


def restore_shifts(
    frame: SearchFrame, original: Crystals, index: np.ndarray, shift: np.ndarray, n_edges: Any
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Return shifts for the crystals as they were, and new cells where those need too large ones.

    A cell that is skewed by many lattice vectors needs shifts beyond int8. The same crystal in its
    reduced cell does not: the graph then has that one.
    """
    if not frame.reframed:
        return shift, {}
    offsets = offsets_from_counts(n_edges)
    # Wide integers: shifts between the atoms of a cell that is skewed a lot are large.
    shift, cells = shift.astype(np.int64), {}
    for row, reframing in frame.reframed.items():
        edges = slice(offsets[row], offsets[row + 1])
        reduced = reframing.original_shifts(index[:, edges], shift[edges])
        restored = reduced @ reframing.operation
        # Where neither fits, the check of shifts names the crystal as the user knows it.
        if _fits(restored) or not _fits(reduced):
            shift[edges] = restored
        else:
            shift[edges] = reduced
            cells[row] = np.where(original.pbc[row][:, None], reframing.cell, original.cell[row])
    return shift, cells


def _fits(shift: np.ndarray) -> bool:
    return shift.size == 0 or (shift.min() >= -LARGEST_SHIFT and shift.max() <= LARGEST_SHIFT)
