"""Neighbour lists: every image within the cutoff, by pymatgen's compiled search."""

from dataclasses import dataclass

import numpy as np

from ._settings import GraphSettings
from ._structures import PackedCrystals, crystal_of_row

__all__ = ["Edges", "find_edges"]

# Distances are compared with the cutoff to within this tolerance (Å).
CUTOFF_TOLERANCE = 1e-8
# Two atoms nearer than this (Å) stand on one place.
SAME_PLACE = 0.01
LARGEST_SHIFT = 127
# What a search that found too few neighbours is widened by.
WIDENING = 1.4


@dataclass(frozen=True)
class Edges:
    """Edges of n crystals; atoms are counted within their crystal, and sorted by target."""

    index: np.ndarray  # (2, E) int32: source, target
    shift: np.ndarray  # (E, 3) int8: cells between source and its image
    n_edges: np.ndarray  # (n,)


def find_edges(crystals: PackedCrystals, settings: GraphSettings, first: int = 0) -> Edges:
    """Find the edges of ``crystals``; ``first`` is the number of the first one in the user's X."""
    index, shift, distance, n_found = _search(crystals, settings)
    near = np.flatnonzero(distance < SAME_PLACE)
    own = (index[0, near] == index[1, near]) & (distance[near] <= CUTOFF_TOLERANCE)
    _check_places(index, distance, near[~own], n_found, first)
    _check_shifts(shift, n_found, first)
    # What is near is each atom itself, once: everything else stays.
    keep = np.flatnonzero(distance >= SAME_PLACE)
    n_edges = n_found - crystals.n_atoms
    if settings.max_neighbors is not None:
        crystal = np.repeat(np.arange(len(crystals)), n_edges)
        order = _nearest(crystal, index[1, keep], distance[keep], settings)
        keep, n_edges = keep[order], np.bincount(crystal[order], minlength=len(crystals))
    return Edges(index.take(keep, axis=1), shift.astype(np.int8).take(keep, axis=0), n_edges)


def _search(crystals: PackedCrystals, settings: GraphSettings) -> tuple[np.ndarray, ...]:
    """Find all pairs within the cutoff, each atom with itself included.

    Where few neighbours are kept, what lies beyond them is left out: the search of a crystal
    widens until all its atoms have enough.
    """
    from pymatgen.optimization.neighbors import find_points_in_spheres

    cells = _search_cells(crystals)
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
    return index, shift, np.concatenate(distances), n_found


def _first_radii(crystals: PackedCrystals, settings: GraphSettings) -> list[float]:
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


def _search_cells(crystals: PackedCrystals) -> np.ndarray:
    """Cells with the rows of non-periodic directions replaced by vectors normal to the others."""
    cells = np.ascontiguousarray(crystals.cell)
    partial = np.flatnonzero(~crystals.pbc.all(axis=1))
    if len(partial):
        cells = cells.copy()
    for row in partial:
        cells[row] = _complete_cell(cells[row], crystals.pbc[row])
    return cells


def _complete_cell(cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    completed = cell.copy()
    n_periodic = int(pbc.sum())
    if n_periodic == 0:
        return np.eye(3)
    normals = np.linalg.svd(cell[pbc])[2][n_periodic:]
    completed[~pbc] = normals
    return completed


def _nearest(
    crystal: np.ndarray, target: np.ndarray, distance: np.ndarray, settings: GraphSettings
) -> np.ndarray:
    """Which edges stay when each atom keeps ``max_neighbors``: sorted by target and distance."""
    count = settings.max_neighbors or 0
    order = np.lexsort((distance, target, crystal))
    new_atom = np.ones(len(order), dtype=bool)
    new_atom[1:] = np.diff(target[order]) != 0
    new_atom[1:] |= np.diff(crystal[order]) != 0
    starts = np.flatnonzero(new_atom)
    counts = np.diff(np.append(starts, len(order)))
    rank = np.arange(len(order)) - np.repeat(starts, counts)
    if settings.neighbor_cut == "exact":
        return order[rank < count]
    last = starts + np.minimum(counts, count) - 1
    reach = distance[order][last] + settings.shell_tolerance
    return order[distance[order] <= np.repeat(reach, counts)]


def _check_places(
    index: np.ndarray, distance: np.ndarray, bad: np.ndarray, n_found: np.ndarray, first: int
) -> None:
    if len(bad):
        crystal, _ = crystal_of_row(bad[0], n_found)
        source, target = index[:, bad[0]]
        raise ValueError(
            f"Structure {first + crystal}: atoms {target} and {source} (or one of its images) are "
            f"{distance[bad[0]]:.2g} Å apart, on one place. Remove one of them (pymatgen's "
            "Structure.merge_sites)."
        )


def _check_shifts(shift: np.ndarray, n_found: np.ndarray, first: int) -> None:
    if len(shift) == 0 or max(shift.max(), -int(shift.min())) <= LARGEST_SHIFT:
        return
    row = int(np.flatnonzero((np.abs(shift) > LARGEST_SHIFT).any(axis=1))[0])
    crystal, _ = crystal_of_row(row, n_found)
    raise ValueError(
        f"Structure {first + crystal}: an edge crosses {np.abs(shift[row]).max()} cells; at most "
        f"{LARGEST_SHIFT} are allowed. The cell is far smaller than the cutoff, or atoms lie far "
        "outside of it: wrap them into the cell."
    )
