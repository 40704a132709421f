"""Neighbour lists: every image within the cutoff, checked and cut to the nearest."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ._compiled_search import LEFT, find_search, search_compiled
from ._cpu_neighbors import search_on_cpu
from ._crystal_arrays import crystal_of_row
from ._crystals import Crystals
from ._gpu_neighbors import search_on_device
from ._search import NeighborPairs, index_type
from ._search_frame import SearchFrame, prepare_search, restore_shifts
from ._search_work import LARGEST_SHIFT, MOST_EDGES
from ._settings import GraphSettings

__all__ = ["Edges", "expected_edges", "find_edges", "join_edges"]

# Below this number of edges a copy costs nothing.
MANY_EDGES = 2**22


@dataclass(frozen=True)
class Edges:
    """Edges of n crystals; atoms are counted within their crystal, and sorted by target."""

    index: np.ndarray  # (2, E) int16, or int32 for large crystals: source, target
    shift: np.ndarray  # (E, 3) int8: cells between source and its image
    n_edges: np.ndarray  # (n,)
    # Cells (3, 3) of the crystals whose shifts need another one.
    cells: dict[int, np.ndarray] = field(default_factory=dict)


def join_edges(pieces: Iterable[Edges], expected: int, dtype: type[np.signedinteger]) -> Edges:
    """Concatenate the edges of consecutive pieces of crystals as they come.

    They are written into arrays for about ``expected`` edges, of which only what is written takes
    memory: all pieces and their concatenation would take twice the memory of the graphs. Atoms are
    counted in integers of ``dtype``.
    """
    capacity = max(expected, 1)
    index, shift = np.empty((2, capacity), dtype=dtype), np.empty((capacity, 3), dtype=np.int8)
    n_edges: list[np.ndarray] = []
    cells: dict[int, np.ndarray] = {}
    n_crystals, start = 0, 0
    for piece in pieces:
        stop = start + len(piece.shift)
        if stop > capacity:
            capacity = stop + stop // 2
            index, shift = _enlarge(index, capacity, 1), _enlarge(shift, capacity, 0)
        index[:, start:stop], shift[start:stop] = piece.index, piece.shift
        cells |= {n_crystals + row: cell for row, cell in piece.cells.items()}
        n_edges.append(piece.n_edges)
        n_crystals, start = n_crystals + len(piece.n_edges), stop
    index, shift = index[:, :start], shift[:start]
    if start < MANY_EDGES:  # no room that a copy would carry along
        index, shift = index.copy(), shift.copy()
    return Edges(index, shift, np.concatenate(n_edges), cells)


def _enlarge(array: np.ndarray, length: int, axis: int) -> np.ndarray:
    shape = list(array.shape)
    shape[axis] = length
    larger = np.empty(shape, dtype=array.dtype)
    larger[tuple(slice(size) for size in array.shape)] = array
    return larger


def expected_edges(crystals: Crystals, settings: GraphSettings) -> int:
    """Estimate the number of edges from the density of the crystals, with a margin."""
    periodic = crystals.pbc.all(axis=1)
    volume = np.where(periodic, np.abs(np.linalg.det(crystals.cell)), np.inf)
    density = crystals.n_atoms / volume
    degree = 4.0 / 3.0 * np.pi * settings.cutoff**3 * density
    if settings.max_neighbors is not None:
        degree = np.minimum(degree, 2.0 * settings.max_neighbors)
    edges = crystals.n_atoms * degree
    # The search refuses crystals with more: no room is made for them.
    return int(1.2 * edges[edges <= MOST_EDGES].sum()) + 1000


def find_edges(
    crystals: Crystals,
    settings: GraphSettings,
    first: int = 0,
    device: torch.device | None = None,
) -> Edges:
    """Find the edges of ``crystals``; ``first`` is the row of the first one in the user's X."""
    frame = prepare_search(crystals, settings, first)
    if device is not None and device.type != "cpu":
        pairs = search_on_device(frame.crystals, settings, device)
    else:
        library = find_search() if settings.max_neighbors is None else None
        if library is not None:
            return _find_compiled(library, frame, crystals, settings, first)
        pairs = search_on_cpu(frame.crystals, settings)
    return _edges_of(pairs, frame, crystals, settings, first)


def _find_compiled(
    library: Any, frame: SearchFrame, crystals: Crystals, settings: GraphSettings, first: int
) -> Edges:
    """Find all edges by the kernel, and by pymatgen in the crystals that it leaves.

    A crystal is left for what it is, whatever the others are: its edges always come in one order.
    """
    skipped = np.zeros(len(crystals), dtype=bool)
    skipped[list(frame.reframed)] = True
    room = expected_edges(frame.crystals, settings)
    index, shift, n_edges = search_compiled(library, frame.crystals, settings.cutoff, room, skipped)
    if (n_edges != LEFT).all():
        return Edges(index, shift, n_edges)
    start, pieces = 0, []
    for row, count in enumerate(n_edges.tolist()):
        if count == LEFT:
            crystal = crystals[row : row + 1]
            alone = prepare_search(crystal, settings, first + row)
            pairs = search_on_cpu(alone.crystals, settings)
            pieces.append(_edges_of(pairs, alone, crystal, settings, first + row))
        else:
            edges = slice(start, start + count)
            pieces.append(Edges(index[:, edges], shift[edges], n_edges[row : row + 1]))
            start += count
    return join_edges(pieces, room, index_type(crystals.n_atoms))


def _edges_of(
    pairs: NeighborPairs,
    frame: SearchFrame,
    crystals: Crystals,
    settings: GraphSettings,
    first: int,
) -> Edges:
    """Return the edges for the pairs that a search in compact cells has found."""
    _check_distances(pairs, first)
    # 1. shifts between the atoms as the user placed them
    shift, cells = restore_shifts(frame, crystals, pairs.index, pairs.shift, pairs.n_pairs)
    _check_shifts(shift, pairs.n_pairs, first)
    shift = shift.astype(np.int8)
    # 2. the nearest neighbours only, if asked for
    if settings.max_neighbors is None:
        return Edges(pairs.index, shift, pairs.n_pairs, cells)
    crystal = np.repeat(np.arange(len(crystals)), pairs.n_pairs)
    rows = _nearest(crystal, pairs.index[1], pairs.distance, settings)
    n_edges = np.bincount(crystal[rows], minlength=len(crystals))
    return Edges(pairs.index.take(rows, axis=1), shift.take(rows, axis=0), n_edges, cells)


def _nearest(
    crystal: np.ndarray, target: np.ndarray, distance: np.ndarray, settings: GraphSettings
) -> np.ndarray:
    """Return the edges to the nearest ``max_neighbors`` of each atom, by target and distance."""
    count = settings.max_neighbors or 0
    # Sort by crystal, then target, then distance, and rank the edges of each target.
    order = np.lexsort((distance, target, crystal))
    new_atom = np.ones(len(order), dtype=bool)
    new_atom[1:] = np.diff(target[order]) != 0
    new_atom[1:] |= np.diff(crystal[order]) != 0
    starts = np.flatnonzero(new_atom)
    counts = np.diff(np.append(starts, len(order)))
    rank = np.arange(len(order)) - np.repeat(starts, counts)
    if settings.neighbor_cut == "exact":
        return order[rank < count]
    # A shell of equal distances is kept whole, so that equivalent neighbours stay equivalent.
    last = starts + np.minimum(counts, count) - 1
    reach = distance[order][last] + settings.shell_tolerance
    return order[distance[order] <= np.repeat(reach, counts)]


def _check_distances(pairs: NeighborPairs, first: int) -> None:
    if pairs.too_near is None:
        return
    crystal, _ = crystal_of_row(pairs.too_near, pairs.n_pairs)
    source, target = pairs.index[:, pairs.too_near]
    raise ValueError(
        f"Structure {first + crystal}: atoms {target} and {source} (or one of its images) are "
        f"{pairs.distance[pairs.too_near]:.2g} Å apart, at the same position. Remove one of them "
        "(pymatgen's Structure.merge_sites)."
    )


def _check_shifts(shift: np.ndarray, n_pairs: np.ndarray, first: int) -> None:
    if len(shift) == 0 or max(shift.max(), -int(shift.min())) <= LARGEST_SHIFT:
        return
    row = int(np.flatnonzero((np.abs(shift) > LARGEST_SHIFT).any(axis=1))[0])
    crystal, _ = crystal_of_row(row, n_pairs)
    raise ValueError(
        f"Structure {first + crystal}: an edge crosses {np.abs(shift[row]).max()} cells; at most "
        f"{LARGEST_SHIFT} are allowed. The cell is far smaller than the cutoff, or atoms lie far "
        "outside of it: wrap them into the cell."
    )
