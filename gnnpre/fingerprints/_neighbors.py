"""The edges within the cutoff of a fingerprint, and functions of their lengths."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gnnpre.graphs import CrystalBatch

__all__ = ["Neighbors", "cosine_cutoff", "gaussians", "neighbors_within"]


@dataclass(frozen=True)
class Neighbors:
    """Edges of a batch that are shorter than a cutoff."""

    source: Tensor  # (E,)
    target: Tensor  # (E,)
    vectors: Tensor  # (E, 3) Å, from target to source
    distances: Tensor  # (E,) Å
    shift: Tensor  # (E, 3) cells
    weights: Tensor  # (E,) atomic numbers of the sources


def neighbors_within(batch: CrystalBatch, cutoff: float) -> Neighbors:
    """Return the edges of a batch that are shorter than ``cutoff``."""
    source, target, shift = batch.source, batch.target, batch.edge_shift
    vectors, distances = batch.edge_vectors, batch.distances
    inside = torch.nonzero(distances.detach() < cutoff).squeeze(1)
    if len(inside) < len(distances):
        everything = (source, target, vectors, distances, shift)
        source, target, vectors, distances, shift = (x.index_select(0, inside) for x in everything)
    weights = batch.atomic_numbers.to(distances.dtype).index_select(0, source)
    return Neighbors(source, target, vectors, distances, shift, weights)


def cosine_cutoff(distances: Tensor, cutoff: float) -> Tensor:
    """``(1 + cos(pi r / cutoff)) / 2`` within the cutoff, 0 beyond."""
    return 0.5 * (1.0 + torch.cos(torch.pi / cutoff * distances.clamp(max=cutoff)))


def gaussians(distances: Tensor, eta: Sequence[float], rs: Sequence[float]) -> Tensor:
    """``exp(-eta (r - rs)^2)`` on the grid of both, ``rs`` running fastest: ``(E, n)``."""
    widths = distances.new_tensor([-e for e in eta for _ in rs])
    centres = distances.new_tensor([r for _ in eta for r in rs])
    offsets = distances[:, None] - centres
    return torch.exp(widths * offsets * offsets)
