"""An oracle for neighbour searches: a sum over images."""

import numpy as np

from gnnpre.graphs import CrystalGraphs

__all__ = ["brute_force", "edge_rows", "image_range", "sorted_rows"]


def edge_rows(graphs: CrystalGraphs) -> np.ndarray:
    """Target, source and shift of each edge, sorted: (E, 5)."""
    index, shift = graphs.edge_index.numpy(), graphs.edge_shift.numpy()
    return sorted_rows(np.column_stack([index[1], index[0], shift]))


def sorted_rows(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, dtype=np.int64).reshape(-1, 5)
    return rows[np.lexsort(rows.T[::-1])]


def image_range(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> list:
    """Return the reach of a search in cells; atoms may lie outside of their cell."""
    reach = []
    for axis in range(3):
        if not pbc[axis]:
            reach.append(0)
            continue
        # The dual vector within the space of the periodic vectors, the rest of it normal to them.
        normal = np.linalg.pinv(cell * pbc[:, None])[:, axis]
        spread = np.ptp(positions @ normal)
        reach.append(int(np.ceil(cutoff * np.linalg.norm(normal) + spread)))
    return reach


def brute_force(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float
) -> np.ndarray:
    """Target, source and shift of every pair within the cutoff, from a sum over images."""
    ranges = [np.arange(-n, n + 1) for n in image_range(positions, cell, pbc, cutoff)]
    shifts = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    images = positions[None] + (shifts @ cell)[:, None]  # (images, N, 3)
    vectors = images[None] - positions[:, None, None]  # (N target, images, N source, 3)
    squared = (vectors**2).sum(axis=-1)
    target, image, source = np.nonzero(squared <= cutoff**2)
    itself = (target == source) & ~shifts[image].any(axis=1)
    rows = np.column_stack([target, source, shifts[image]])
    return sorted_rows(rows[~itself])
