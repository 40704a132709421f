"""Edge vectors from positions, cell and strain."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Batch

__all__ = ["Edges", "edges_of", "strained"]


class Edges(NamedTuple):
    """Edges of a batch, each from its source (row 0) to its target (row 1)."""

    index: Tensor  # (2, E)
    vectors: Tensor  # (E, 3), from the target to the source
    distances: Tensor  # (E,)


def edges_of(data: Batch, positions: Tensor, cell: Tensor) -> Edges:
    """Edge vectors of the given positions (N, 3) and cells (n, 3, 3)."""
    source, target = data.edge_index
    shifts = data.edge_shift.to(cell.dtype)
    shift = torch.einsum("ei,eij->ej", shifts, cell.index_select(0, data.batch[target]))  # (E, 3)
    vectors = positions.index_select(0, source) + shift - positions.index_select(0, target)
    return Edges(data.edge_index, vectors, vectors.norm(dim=1))


def strained(data: Batch, positions: Tensor, strain: Tensor) -> tuple[Tensor, Tensor]:
    """Positions and cells under the symmetric part of a strain (n, 3, 3)."""
    symmetric = 0.5 * (strain + strain.transpose(-1, -2))
    moved = positions + torch.einsum("ni,nij->nj", positions, symmetric[data.batch])
    return moved, data.cell + torch.bmm(data.cell, symmetric)
