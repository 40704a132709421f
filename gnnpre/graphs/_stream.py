"""Graphs and batches of many crystals, piece by piece: memory stays bounded."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from ._batch import CrystalBatch
from ._build_graphs import build_graphs, join_graphs
from ._containers import as_crystals
from ._crystal_graphs import CrystalGraphs
from ._crystals import Crystals
from ._lazy_crystals import LazyCrystals
from ._lazy_graphs import LazyGraphs
from ._neighbors import find_edges
from ._search_checks import check_searchable
from ._settings import GraphSettings

__all__ = ["stream_batches", "stream_graphs"]


def stream_graphs(X: Any, settings: GraphSettings, max_crystals: int) -> Iterator[CrystalGraphs]:
    """Yield the graphs of structures piece by piece, in order, to bound the memory.

    Parameters
    ----------
    X : container of structures
        The crystals.
    settings : GraphSettings
        Settings of the graphs.
    max_crystals : int
        Number of crystals in a piece.

    Yields
    ------
    CrystalGraphs
        Graphs of one piece.
    """
    if isinstance(X, LazyCrystals):
        graphs = LazyGraphs(X, settings)
        yield from graphs.pieces(np.arange(len(X)), max_crystals)
        return
    for number, piece in enumerate(as_crystals(X).split(max_crystals)):
        yield build_graphs(piece, settings, number * max_crystals)


def stream_batches(
    X: Any, cutoff: Callable[[np.ndarray], float], max_atoms: int, dtype: torch.dtype
) -> Iterator[CrystalBatch]:
    """Yield the crystals of X batch by batch, in order, with every edge within a cutoff.

    Parameters
    ----------
    X : container of structures, or CrystalGraphs
        The crystals. Graphs with all edges up to the cutoff are used as they are, including
        longer edges; otherwise neighbours are searched on the CPU.
    cutoff : callable
        Function from the atomic numbers of a batch to the cutoff (Å) that it needs.
    max_atoms : int
        Largest number of atoms in a batch, unless one crystal has more.
    dtype : torch.dtype
        Precision.

    Yields
    ------
    CrystalBatch
        One batch, on the device of X.
    """
    graphs = X if isinstance(X, (CrystalGraphs, LazyGraphs)) else None
    if isinstance(X, (CrystalGraphs, LazyGraphs, LazyCrystals)) and len(X) == 0:
        raise ValueError("X has 0 crystals; a minimum of 1 is required.")
    crystals = X.crystals if isinstance(X, LazyGraphs) else X
    if not isinstance(crystals, LazyCrystals):
        crystals = as_crystals(X)
    for start, stop in _bounds(crystals.n_atoms, max_atoms):
        # 1. the elements of the next crystals decide on the cutoff
        rows = slice(start, stop)
        piece = _piece(crystals, rows)
        settings = GraphSettings(cutoff=float(cutoff(piece.atomic_numbers)))
        settings.check()
        # 2. the edges of X, or those of a search
        if graphs is not None and _has_all_edges(graphs.settings, settings):
            yield graphs.batch(slice(start, stop), dtype)
        else:
            built = join_graphs(piece, [find_edges(piece, settings, start)], settings)
            yield (built if graphs is None else built.to(graphs.device)).batch(dtype=dtype)


def _piece(crystals: Crystals | LazyCrystals, rows: slice) -> Crystals:
    if isinstance(crystals, LazyCrystals):
        piece = crystals.load(rows, info=False)
        check_searchable(piece)
        return piece
    piece = crystals[rows]
    return piece


def _bounds(n_atoms: np.ndarray, max_atoms: int) -> Iterator[tuple[int, int]]:
    start, count = 0, 0
    for row, atoms in enumerate(n_atoms.tolist()):
        if count and count + atoms > max_atoms:
            yield start, row
            start, count = row, 0
        count += atoms
    if start < len(n_atoms):
        yield start, len(n_atoms)


def _has_all_edges(built: GraphSettings, needed: GraphSettings) -> bool:
    return built.max_neighbors is None and built.cutoff >= needed.cutoff
