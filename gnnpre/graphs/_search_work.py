"""Bounds on the work of a neighbour search: compiled code that neither Ctrl-C nor a limit ends."""

import numpy as np

from ._crystal_arrays import name_crystal
from ._crystals import Crystals
from ._settings import GraphSettings

__all__ = ["LARGEST_SHIFT", "MOST_EDGES", "check_work"]

# Images of atoms that one search may visit: about a second.
MOST_IMAGES = 3e7
# Edges of one crystal: a search takes about a hundred bytes for each.
MOST_EDGES = 3e7
# Shifts are stored as int8.
LARGEST_SHIFT = 127
# Vectors of a lattice shorter than this (Å) put images of an atom on top of each other.
SHORTEST_VECTOR = 0.01
# pymatgen looks this much (Å) further than the cutoff.
MARGIN = 0.15


def check_work(
    crystals: Crystals,
    lengths: np.ndarray,
    inverse_heights: np.ndarray,
    settings: GraphSettings,
    first: int,
) -> None:
    """Check that a search visits a bounded number of images and returns a bounded number of edges.

    ``lengths`` and one over the heights of the cells, ``(n, 3)``, belong to the cells as searched.
    """
    short = np.where(crystals.pbc, lengths, np.inf).min(axis=1)
    bad = np.flatnonzero(short < max(SHORTEST_VECTOR, settings.cutoff / LARGEST_SHIFT))
    if len(bad):
        repeat = f"its lattice repeats every {short[bad[0]]:.2g} Å"
        problem = (
            f"at a cutoff of {settings.cutoff:g} Å edges cross more than {LARGEST_SHIFT} cells"
        )
        if short[bad[0]] < SHORTEST_VECTOR:
            problem = "it is near-singular"
        raise _error(crystals, bad[0], first, f"{repeat}: {problem}")
    cells = 2.0 * np.ceil((settings.cutoff + MARGIN) * inverse_heights) + 2.0
    images = np.where(crystals.pbc, cells, 1.0).prod(axis=1) * crystals.n_atoms
    bad = np.flatnonzero(images > MOST_IMAGES)
    if len(bad):
        count = f"{images[bad[0]]:.2g} images of its atoms lie around the cell"
        problem = f"{count} at a cutoff of {settings.cutoff:g} Å, too many to search"
        raise _error(crystals, bad[0], first, problem)
    # Every image is a neighbour at worst: only for large crystals is it worth a closer look.
    large = np.flatnonzero((images * crystals.n_atoms > MOST_EDGES) & crystals.pbc.all(axis=1))
    for row in large.tolist():
        density = crystals.n_atoms[row] / abs(np.linalg.det(crystals.cell[row]))
        edges = crystals.n_atoms[row] * density * 4.0 / 3.0 * np.pi * settings.cutoff**3
        if edges > MOST_EDGES:
            problem = f"it has about {edges:.2g} edges at a cutoff of {settings.cutoff:g} Å"
            raise _error(crystals, row, first, f"{problem}, too many for memory")


def _error(crystals: Crystals, row: int, first: int, problem: str) -> ValueError:
    cell = np.array2string(crystals.cell[row], precision=4, separator=", ").replace("\n", "")
    return ValueError(
        f"{name_crystal(row, crystals.ids, first)}: {problem}. Its (reduced) cell is {cell} Å. Are "
        "lengths in Å?"
    )
