"""From crystals to graphs: search neighbours piece by piece and join the edges."""

from collections.abc import Iterable

import numpy as np
import torch

from ._crystal_graphs import CrystalGraphs
from ._crystals import Crystals
from ._neighbors import Edges, expected_edges, find_edges, join_edges
from ._search import index_type
from ._settings import GraphSettings
from ._tensors import share_memory

__all__ = ["build_graphs", "join_graphs"]

# Crystals searched together: few enough for their pairs to stay in the cache.
CHUNK = 64
# On a GPU: enough to keep it busy.
DEVICE_CHUNK = 4096


def build_graphs(
    crystals: Crystals,
    settings: GraphSettings,
    first: int = 0,
    n_jobs: int | None = None,
    device: torch.device | None = None,
) -> CrystalGraphs:
    """Build the graphs of crystals; errors count them from ``first``."""
    chunk = CHUNK if device is None or device.type == "cpu" else DEVICE_CHUNK
    pieces = crystals.split(chunk)
    jobs = [(piece, settings, first + chunk * i, device) for i, piece in enumerate(pieces)]
    if n_jobs in (None, 1) or len(jobs) == 1:
        edges: Iterable[Edges] = (find_edges(*job) for job in jobs)
    else:
        from joblib import Parallel, delayed

        # A generator, in order: pieces are joined as they come, and none waits in memory.
        parallel = Parallel(n_jobs=n_jobs, return_as="generator")
        edges = parallel(delayed(find_edges)(*job) for job in jobs)
    return join_graphs(crystals, edges, settings)


def join_graphs(
    crystals: Crystals, edges: Iterable[Edges], settings: GraphSettings
) -> CrystalGraphs:
    """Join crystals and the edges of consecutive pieces of them."""
    dtype = index_type(crystals.n_atoms)
    arrays = join_edges(edges, expected_edges(crystals, settings), dtype)
    tensors = {
        "atomic_numbers": crystals.atomic_numbers,
        "positions": crystals.positions,
        "cell": _replace_rows(crystals.cell, arrays.cells),
        "pbc": crystals.pbc,
        "n_atoms": crystals.n_atoms,
        "edge_index": arrays.index,
        "edge_shift": arrays.shift,
        "n_edges": arrays.n_edges,
    }
    return CrystalGraphs._from_checked(
        {name: share_memory(array) for name, array in tensors.items()}, settings, crystals.index
    )


def _replace_rows(cell: np.ndarray, cells: dict[int, np.ndarray]) -> np.ndarray:
    if not cells:
        return cell
    replaced = cell.copy()
    for row, vectors in cells.items():
        replaced[row] = vectors
    return replaced
