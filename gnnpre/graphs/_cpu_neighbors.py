"""Neighbour lists on a CPU: crystal by crystal, by pymatgen's compiled search."""

import numpy as np

from ._crystals import Crystals
from ._search import CUTOFF_TOLERANCE, FoundPairs, search_cells
from ._settings import GraphSettings

__all__ = ["search_on_cpu"]

# What a search that found too few neighbours is widened by.
WIDENING = 1.4


def search_on_cpu(crystals: Crystals, settings: GraphSettings) -> FoundPairs:
    """Find all pairs within the cutoff.

    Where few neighbours are kept, what lies beyond them is left out: the search of a crystal
    widens until all its atoms have enough.
    """
    from pymatgen.optimization.neighbors import find_points_in_spheres

    cells = search_cells(crystals)
    pbc = crystals.pbc.astype(np.int64)
    positions = np.ascontiguousarray(crystals.positions)
    found = []
    start = 0
    radii = _first_radii(crystals, settings)
    for row, count in enumerate(crystals.n_atoms.tolist()):
        points = positions[start : start + count]
        start += count
        radius = radii[row]
        while True:
            pairs = find_points_in_spheres(
                points, points, r=radius, pbc=pbc[row], lattice=cells[row], tol=CUTOFF_TOLERANCE
            )
            if radius >= settings.cutoff or _enough(pairs, count, radius, settings):
                break
            radius = min(settings.cutoff, WIDENING * radius)
        found.append(pairs)
    targets, sources, shifts, distances = zip(*found, strict=True)
    n_found = np.array([len(pairs) for pairs in distances])
    # Narrow types while concatenating: the arrays of the search are 64 bits wide.
    index = np.empty((2, n_found.sum()), dtype=np.int32)
    np.concatenate(sources, out=index[0], casting="unsafe")
    np.concatenate(targets, out=index[1], casting="unsafe")
    shift = np.concatenate(shifts, dtype=np.int32, casting="unsafe")
    return _without_itself(index, shift, np.concatenate(distances), n_found - crystals.n_atoms)


def _without_itself(
    index: np.ndarray, shift: np.ndarray, distance: np.ndarray, n_found: np.ndarray
) -> FoundPairs:
    """Leave out each atom itself, which the search finds once, at distance 0."""
    near = np.flatnonzero(distance <= CUTOFF_TOLERANCE)
    itself = (index[0, near] == index[1, near]) & ~shift[near].any(axis=1)
    others = np.ones(len(distance), dtype=bool)
    others[near[itself]] = False
    rows = np.flatnonzero(others)
    return FoundPairs(
        index.take(rows, axis=1), shift.take(rows, axis=0), distance.take(rows), n_found
    )


def _first_radii(crystals: Crystals, settings: GraphSettings) -> list[float]:
    """Guess in which radius all atoms of a crystal have the neighbours that they keep."""
    if settings.max_neighbors is None:
        return [settings.cutoff] * len(crystals)
    # The sphere that holds twice as many atoms on average. Without a volume, that of the cutoff.
    volume = np.abs(np.linalg.det(crystals.cell)) / crystals.n_atoms
    radii = (2.0 * (settings.max_neighbors + 1) * volume * 3.0 / (4.0 * np.pi)) ** (1.0 / 3.0)
    radii = np.where(crystals.pbc.all(axis=1), radii + settings.shell_tolerance, settings.cutoff)
    return np.minimum(radii, settings.cutoff).tolist()


def _enough(
    pairs: tuple[np.ndarray, ...], count: int, radius: float, settings: GraphSettings
) -> bool:
    """Whether each atom has its neighbours, and the whole shell of the last, in the radius."""
    targets, _, _, distances = pairs
    inside = targets[distances <= radius - settings.shell_tolerance]
    wanted = (settings.max_neighbors or 0) + 1  # itself too
    return bool(np.bincount(inside, minlength=count).min() >= wanted)
