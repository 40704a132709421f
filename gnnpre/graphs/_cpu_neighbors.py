"""Neighbour lists on a CPU: crystal by crystal, by pymatgen's compiled search."""

import threading

import numpy as np

from ._crystals import Crystals
from ._search import CUTOFF_TOLERANCE, SHORTEST_DISTANCE, NeighborPairs, index_type
from ._settings import GraphSettings

__all__ = ["search_on_cpu"]

# A search that returned too few neighbours is repeated with a radius larger by this factor.
WIDENING = 1.4
# The search sorts atoms into bins as wide as its radius, at 200 bytes each. Structures that are
# wide for their number of atoms are searched with a larger radius, which takes fewer bins.
FEW_BINS, BINS_PER_ATOM = 1e4, 64
# Pairs that memory is kept for between searches: at most 22 MB.
LARGEST_SCRATCH = 1_000_000


def search_on_cpu(crystals: Crystals, settings: GraphSettings) -> NeighborPairs:
    """Search all pairs within the cutoff, in crystals with complete cells.

    With ``max_neighbors`` the search of a crystal begins with a small radius, which widens until
    all atoms have enough neighbours.
    """
    from pymatgen.optimization.neighbors import find_points_in_spheres

    pbc = crystals.pbc.astype(np.int64)
    cells = np.ascontiguousarray(crystals.cell)
    positions = np.ascontiguousarray(crystals.positions)
    radii = _first_radii(crystals, settings)
    smallest = _smallest_radii(crystals, radii)
    results = []
    start = 0
    for row, count in enumerate(crystals.n_atoms.tolist()):
        points = positions[start : start + count]
        start += count
        radius = radii[row]
        while True:
            pairs = find_points_in_spheres(
                points,
                points,
                r=max(radius, smallest[row]),
                pbc=pbc[row],
                lattice=cells[row],
                tol=CUTOFF_TOLERANCE,
            )
            if radius >= settings.cutoff or _enough(pairs, count, radius, settings):
                break
            radius = min(settings.cutoff, WIDENING * radius)
        results.append(_within(pairs, radius) if radius < smallest[row] else pairs)
    targets, sources, shifts, distances = zip(*results, strict=True)
    counts = np.array([len(distance) for distance in distances])
    # Narrow types while concatenating: the arrays of the search are 64 bits wide. The preparation
    # of the search bounds shifts by some thousands.
    index, shift, distance = SCRATCH.arrays(int(counts.sum()), index_type(crystals.n_atoms))
    np.concatenate(sources, out=index[0], casting="unsafe")
    np.concatenate(targets, out=index[1], casting="unsafe")
    np.concatenate(shifts, out=shift, casting="unsafe")
    np.concatenate(distances, out=distance)
    return _without_itself(index, shift, distance, counts - crystals.n_atoms)


class _Scratch(threading.local):
    """Arrays of one thread for the pairs of one search after the other.

    New memory for each search would be cleared by the system, page by page: a tenth of the time.
    """

    def __init__(self) -> None:
        self.capacity = 0
        self.dtype: type[np.signedinteger] = np.int16

    def arrays(
        self, n: int, dtype: type[np.signedinteger]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return arrays for ``n`` pairs: index (2, n), shift (n, 3) and distance (n,)."""
        if n > LARGEST_SCRATCH:
            return _empty(n, dtype)
        if n > self.capacity or dtype is not self.dtype:
            self.capacity, self.dtype = min(max(2 * n, self.capacity), LARGEST_SCRATCH), dtype
            self.index, self.shift, self.distance = _empty(self.capacity, dtype)
        return self.index[:, :n], self.shift[:n], self.distance[:n]


def _empty(n: int, dtype: type[np.signedinteger]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.empty((2, n), dtype=dtype), np.empty((n, 3), dtype=np.int16), np.empty(n)


SCRATCH = _Scratch()


def _within(pairs: tuple[np.ndarray, ...], radius: float) -> tuple[np.ndarray, ...]:
    near = pairs[3] ** 2 <= radius**2 + CUTOFF_TOLERANCE
    return tuple(array[near] for array in pairs)


def _without_itself(
    index: np.ndarray, shift: np.ndarray, distance: np.ndarray, n_pairs: np.ndarray
) -> NeighborPairs:
    """Remove each atom itself, which the search returns once, at distance 0."""
    near = np.flatnonzero(distance < SHORTEST_DISTANCE)
    itself = (distance[near] <= CUTOFF_TOLERANCE) & (index[0, near] == index[1, near])
    itself &= ~shift[near].any(axis=1)
    is_pair = np.ones(len(distance), dtype=bool)
    is_pair[near[itself]] = False
    rows = np.flatnonzero(is_pair)
    too_near = None if itself.all() else int(np.searchsorted(rows, near[~itself][0]))
    return NeighborPairs(
        index.take(rows, axis=1),
        shift.take(rows, axis=0),
        distance.take(rows),
        n_pairs,
        too_near,
    )


def _first_radii(crystals: Crystals, settings: GraphSettings) -> list[float]:
    """Estimate the radius within which all atoms of a crystal have ``max_neighbors``."""
    if settings.max_neighbors is None:
        return [settings.cutoff] * len(crystals)
    # The sphere that holds twice as many atoms on average. Without a volume, that of the cutoff.
    volume = np.abs(np.linalg.det(crystals.cell)) / crystals.n_atoms
    radii = (2.0 * (settings.max_neighbors + 1) * volume * 3.0 / (4.0 * np.pi)) ** (1.0 / 3.0)
    radii = np.where(crystals.pbc.all(axis=1), radii + settings.shell_tolerance, settings.cutoff)
    return np.minimum(radii, settings.cutoff).tolist()


def _smallest_radii(crystals: Crystals, radii: list[float]) -> list[float]:
    """Return the radius at which the box around each crystal has a bounded number of bins.

    Zero where the box is small enough for its radius, as it nearly always is.
    """
    smallest = np.zeros(len(crystals))
    bins = FEW_BINS + BINS_PER_ATOM * crystals.n_atoms
    # A bound that is quick to compute: no box is larger than one around all of them.
    largest = max(crystals.positions.max(), -crystals.positions.min())
    wide = np.flatnonzero((2.0 * largest + 1.0) ** 3 > bins * np.array(radii) ** 3)
    for row in wide.tolist():
        points = crystals.positions[crystals.offsets[row] : crystals.offsets[row + 1]]
        smallest[row] = np.cbrt(np.prod(np.ptp(points, axis=0) + 1.0) / bins[row])
    return smallest.tolist()


def _enough(
    pairs: tuple[np.ndarray, ...], count: int, radius: float, settings: GraphSettings
) -> bool:
    """Whether each atom has its neighbours, and the whole shell of the last, in the radius."""
    targets, _, _, distances = pairs
    inside = targets[distances <= radius - settings.shell_tolerance]
    needed = (settings.max_neighbors or 0) + 1  # the atom itself too
    return bool(np.bincount(inside, minlength=count).min() >= needed)
