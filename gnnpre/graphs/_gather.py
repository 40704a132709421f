"""Rows of flat tensors that belong to chosen crystals."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._indexing import offsets_from_counts
from ._tensors import send

__all__ = ["BlockRows", "take_rows"]

# Rows gathered at a time: the indices of more would take more memory than the rows themselves.
GATHERED_ROWS = 2**20


class BlockRows:
    """Positions of the rows of each crystal in a flat tensor, on the host and on a device.

    Parameters
    ----------
    counts : ndarray of shape (n,)
        Rows of each crystal.
    device : torch.device
        Device of the flat tensors.
    """

    def __init__(self, counts: np.ndarray, device: torch.device) -> None:
        self.offsets = offsets_from_counts(counts)  # (n + 1,)
        self.device = device
        self.device_offsets = send(torch.from_numpy(self.offsets), device)

    def total(self, rows: slice | np.ndarray) -> int:
        """Return the number of rows of the crystals ``rows``."""
        if isinstance(rows, slice):
            return int(self.offsets[rows.stop] - self.offsets[rows.start])
        return int((self.offsets[rows + 1] - self.offsets[rows]).sum())

    def picker(self, rows: slice | np.ndarray) -> Any:
        """Return the slice or indices that select the rows of crystals from a tensor."""
        if isinstance(rows, slice):
            return slice(int(self.offsets[rows.start]), int(self.offsets[rows.stop]))
        if self.device.type == "cpu":
            return torch.from_numpy(self._on_host(rows))
        return self._on_device(rows)

    def _on_device(self, rows: np.ndarray) -> Tensor:
        """Return these indices from a few numbers for each crystal, which are all that is sent."""
        total = self.total(rows)
        blocks = send(torch.from_numpy(rows), self.device)
        starts = self.device_offsets[blocks]
        lengths = self.device_offsets[blocks + 1] - starts
        # Row k of the result is at starts + (k - rows before its block).
        starts -= lengths.cumsum(0) - lengths
        index = torch.repeat_interleave(starts, lengths, output_size=total)
        index += torch.arange(total, device=index.device)
        return index

    def _on_host(self, rows: np.ndarray) -> np.ndarray:
        """Return the same indices by NumPy, whose operations start faster than those of torch."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        index = np.repeat(starts + lengths - lengths.cumsum(), lengths)
        index += np.arange(len(index))
        return index

    def take(self, tensors: list[tuple[Tensor, int]], rows: slice | np.ndarray) -> list[Tensor]:
        """Return the rows of crystals along an axis of each tensor; a slice returns views."""
        if isinstance(rows, slice):
            span = self.picker(rows)
            return [tensor[:, span] if axis else tensor[span] for tensor, axis in tensors]
        starts = offsets_from_counts(self.offsets[rows + 1] - self.offsets[rows])
        taken = [_empty_like(tensor, axis, int(starts[-1])) for tensor, axis in tensors]
        for first, last in _runs(starts):
            index = self.picker(rows[first:last])
            start, length = int(starts[first]), int(starts[last] - starts[first])
            for (tensor, axis), target in zip(tensors, taken, strict=True):
                target.narrow(axis, start, length).copy_(tensor.index_select(axis, index))
        return taken


def take_rows(tensor: Tensor, axis: int, picker: slice | Tensor) -> Tensor:
    """Return what a picker selects along an axis; a slice selects a view."""
    if isinstance(picker, slice):
        return tensor[:, picker] if axis else tensor[picker]
    return tensor.index_select(axis, picker)


def _empty_like(tensor: Tensor, axis: int, length: int) -> Tensor:
    return tensor.new_empty([*tensor.shape[:axis], length, *tensor.shape[axis + 1 :]])


def _runs(starts: np.ndarray) -> list[tuple[int, int]]:
    """Cut blocks that begin at ``starts`` into runs of about ``GATHERED_ROWS`` rows."""
    n = len(starts) - 1
    limits = np.arange(0, int(starts[-1]) + GATHERED_ROWS, GATHERED_ROWS)
    cuts = np.unique(np.append(np.searchsorted(starts[:-1], limits), n))
    return list(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True))
