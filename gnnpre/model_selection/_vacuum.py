"""A vacuum of one fixed width for slabs, chains and molecules, so that its size has no effect."""

from typing import NamedTuple

import numpy as np

__all__ = ["MIN_VACUUM", "VACUUM", "ConvertedCell", "fix_vacuum"]

#: Å between neighbouring atomic planes from which on their distance counts as vacuum. Of 52,000
#: bulk crystals (Materials Project, Alexandria) all but a few have less than 5.5 Å; of the 636
#: two-dimensional crystals of jdft2d all have more than 7.5 Å.
MIN_VACUUM = 6.0
#: Å of vacuum after the conversion: wide enough that no stack of layers repeats across it.
VACUUM = 20.0
#: Å that a layer keeps from the next one in a crystal (graphite), so that layers have a volume.
SPACING = 3.4
# A cell vector shorter than this (Å) stands for none, as in ASE's Atoms without a cell.
NO_VECTOR = 1e-8


class ConvertedCell(NamedTuple):
    """A crystal in a cell with three vectors and without its own vacuum."""

    cell: np.ndarray  # (3, 3) Å, rows
    positions: np.ndarray  # (N, 3) Å
    n_periodic: int  # directions without vacuum: 3 in bulk, 2 in a slab, 1 in a chain
    filling: float  # share of the volume that is not vacuum: 1 in bulk


def fix_vacuum(cell: np.ndarray, pbc: np.ndarray, positions: np.ndarray) -> ConvertedCell:
    """Replace the vacuum of a crystal by one of fixed width.

    Directions that are not periodic are vacuum; so are gaps of ``MIN_VACUUM`` or more between
    lattice planes of a periodic crystal, along whichever cell vector and wherever the cell's
    boundary is. A bulk crystal comes back as it is.

    Parameters
    ----------
    cell : ndarray of shape (3, 3)
        Cell vectors in Å, in rows.
    pbc : ndarray of bool of shape (3,)
        Which of them are periods.
    positions : ndarray of shape (N, 3)
        Cartesian coordinates in Å.

    Returns
    -------
    ConvertedCell
        Cell, coordinates, number of periodic directions and filling.
    """
    complete = cell if pbc.all() else _complete(cell, pbc, positions)
    # The planes of a family are no further apart than the longest cell vector.
    if (complete**2).sum(axis=1).max() < MIN_VACUUM**2:
        return ConvertedCell(complete, positions, 3, 1.0)
    # Of a slab the shortest vectors are those within it, however the cell was chosen.
    reduced = _reduce(complete)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(reduced), axis=0)  # (3,) Å between planes
    fractional, gaps = _close_up(reduced, positions)
    is_vacuum = gaps * heights >= MIN_VACUUM
    if not is_vacuum.any():
        return ConvertedCell(complete, positions, 3, 1.0)
    extents = (1.0 - gaps) * heights  # (3,) Å from the first to the last atomic plane
    resized = _resize(reduced, heights, extents + VACUUM, is_vacuum)
    filling = float(np.prod(((extents + SPACING) / (extents + VACUUM))[is_vacuum]))
    # Atoms on both sides of the boundary were brought together before the cell changes.
    return ConvertedCell(resized, fractional @ reduced, 3 - int(is_vacuum.sum()), filling)


def _complete(cell: np.ndarray, pbc: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the cell with a vector across the atoms in each direction that is not periodic."""
    # An orthonormal basis of what the periods do not span: the last rows of a full QR.
    periods = np.array(cell)[pbc]
    basis = np.linalg.qr(periods.T, mode="complete")[0].T if len(periods) else np.eye(3)
    complete = np.array(cell, dtype=np.float64)
    for axis, normal in zip(np.flatnonzero(~pbc), basis[len(periods) :], strict=True):
        complete[axis] = normal * (np.ptp(positions @ normal) + VACUUM)
    return complete


def _reduce(cell: np.ndarray) -> np.ndarray:
    """Return the Niggli-reduced cell, or the cell itself where spglib finds none."""
    import spglib

    try:
        reduced = spglib.niggli_reduce(cell)
    except spglib.SpglibError:  # raised from spglib 3.0 on, where 2.x returns None
        return cell
    return cell if reduced is None else np.asarray(reduced)


def _close_up(cell: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return fractional coordinates without an atom across a gap, and the largest gaps (3,)."""
    fractional = np.linalg.solve(cell.T, positions.T).T % 1.0
    ordered = np.sort(fractional, axis=0)
    distances = np.diff(np.vstack([ordered, ordered[:1] + 1.0]), axis=0)  # (N, 3)
    last = distances.argmax(axis=0)  # the atom below the largest gap
    first = ordered[(last + 1) % len(ordered), range(3)]
    # The small shift keeps rounding from wrapping the first atom to the top.
    return (fractional - first + 1e-9) % 1.0, distances.max(axis=0)


def _resize(
    cell: np.ndarray, heights: np.ndarray, new_heights: np.ndarray, is_vacuum: np.ndarray
) -> np.ndarray:
    """Return the cell with its vectors across vacuum upright, and of the new heights."""
    resized = np.array(cell)
    if not is_vacuum.all():
        periods = np.linalg.qr(cell[~is_vacuum].T)[0]  # (3, n_periodic), orthonormal columns
        resized[is_vacuum] -= cell[is_vacuum] @ periods @ periods.T
    # What is taken off lies within the planes, whose distance stays.
    resized[is_vacuum] *= (new_heights / heights)[is_vacuum, None]
    return resized
