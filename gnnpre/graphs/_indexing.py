"""Indexing shared by the containers that hold n crystals in flat arrays."""

from typing import Any

import numpy as np

from gnnpre._array_likes import plain

__all__ = [
    "all_rows",
    "flat_indices",
    "flat_rows",
    "normalise_key",
    "offsets_from_counts",
    "resolve_rows",
]

LARGEST_INT32 = np.iinfo(np.int32).max


def all_rows(n: int) -> np.ndarray:
    """Return the numbers of n rows, ``(n,)``, in 4 bytes each: a training holds several copies."""
    return np.arange(n, dtype=np.int32 if n <= LARGEST_INT32 else np.int64)


def offsets_from_counts(counts: np.ndarray) -> np.ndarray:
    """Start of each block, and the end of the last: ``(n + 1,)`` int64."""
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def flat_indices(offsets: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Positions, in a flat array, of the rows that belong to the blocks ``indices``."""
    counts = offsets[indices + 1] - offsets[indices]
    starts = offsets_from_counts(counts)[:-1]
    shift = np.repeat(offsets[indices] - starts, counts)
    return np.arange(counts.sum(), dtype=np.int64) + shift


def flat_rows(offsets: np.ndarray, rows: slice | np.ndarray) -> slice | np.ndarray:
    """Return the slice or indices that select the rows of blocks from a flat array."""
    if isinstance(rows, slice):
        return slice(int(offsets[rows.start]), int(offsets[rows.stop]))
    return flat_indices(offsets, rows)


def resolve_rows(key: Any, n: int, owner: str) -> slice | np.ndarray:
    """Convert any index of :func:`normalise_key` to a slice of consecutive rows, or to indices.

    A slice selects without a copy.
    """
    if isinstance(key, slice):
        start, stop, step = key.indices(n)
        if step == 1:
            return slice(start, max(start, stop))
    indices = normalise_key(key, n, owner)
    if len(indices) == 0:
        return slice(0, 0)
    # Consecutive indices, as KFold yields, are a slice too: no copy.
    start, stop = int(indices[0]), int(indices[-1]) + 1
    if stop - start == len(indices) and (np.diff(indices) == 1).all():
        return slice(start, stop)
    return indices


def normalise_key(key: Any, n: int, owner: str) -> np.ndarray:
    """Convert a slice, index array, mask or ``(key, Ellipsis)`` to indices ``(m,)``.

    scikit-learn's splitters index an object that has a shape with ``(key, ...)``.
    """
    if isinstance(key, tuple):
        key = _strip_ellipsis(key, owner)
    if isinstance(key, slice):
        return np.ascontiguousarray(np.arange(n)[key])  # torch takes no negative strides
    try:
        indices = np.asarray(plain(key))
    except (TypeError, ValueError, RuntimeError) as error:  # ragged, on a GPU, ...
        raise TypeError(f"{owner} cannot be indexed with {type(key).__name__}: {error}.") from error
    if indices.shape == (0,) and indices.dtype != bool:
        return np.empty(0, dtype=np.int64)
    if indices.dtype.kind not in "biu":
        raise TypeError(
            f"{owner} takes an int, a slice, an array of ints or a boolean mask as index; "
            f"got {indices.dtype}."
        )
    if indices.ndim != 1:
        raise IndexError(f"{owner} has one axis; an index of shape {indices.shape} does not fit.")
    if indices.dtype == bool:
        return _indices_from_mask(indices, n, owner)
    return _check_bounds(indices, n, owner)


def _strip_ellipsis(key: tuple[Any, ...], owner: str) -> Any:
    if len(key) == 1 or (len(key) == 2 and key[1] is Ellipsis):
        return key[0]
    raise IndexError(f"{owner} has one axis; index it as [key] or [key, ...].")


def _indices_from_mask(mask: np.ndarray, n: int, owner: str) -> np.ndarray:
    if len(mask) != n:
        raise IndexError(f"The mask has {len(mask)} entries; {owner} has {n} crystals.")
    return np.flatnonzero(mask)


def _check_bounds(indices: np.ndarray, n: int, owner: str) -> np.ndarray:
    if indices.min() < -n or indices.max() >= n:
        bad = indices[(indices < -n) | (indices >= n)][0]
        raise IndexError(f"Index {bad} is out of bounds for {owner} with {n} crystals.")
    indices = indices.astype(np.int64)  # after the check: unsigned numbers would wrap around
    return np.where(indices < 0, indices + n, indices)
