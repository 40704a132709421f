"""Edges taken in pairs: i -> j and j -> i are as long and point against each other."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["EdgePairs", "find_pairs"]

# Odd numbers of 62 random bits: each part of an edge is spread over all bits of its name.
_FACTORS = (
    2870177450012600261,
    3935559000370003845,
    1609587929392839161,
    2862933555777941757,
    3202034522624059733,
)


class EdgePairs(NamedTuple):
    """Edges of a batch in P groups of k that share their distance.

    Parameters
    ----------
    edges : Tensor of shape (P,)
        One edge of each group, as an index into the edges of the batch.
    target : Tensor of shape (k, P)
        Atoms that receive: k is 2 where each edge has its reverse, else 1.
    source : Tensor of shape (k, P)
        Atoms that send.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from gnnpre.graphs import StructureToGraph
    >>> salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na"], [[0, 0, 0]])
    >>> batch = StructureToGraph(cutoff=4.0).transform([salt]).batch()
    >>> batch.edge_vectors.shape, batch.pairs.target.shape
    (torch.Size([48, 3]), torch.Size([2, 24]))
    """

    edges: Tensor
    target: Tensor
    source: Tensor


def find_pairs(edge_index: Tensor, edge_shift: Tensor) -> EdgePairs:
    """Pair each edge with its reverse, or each with none where some have no reverse."""
    source, target = edge_index
    # On a GPU half the edges are not worth the wait for their number.
    if edge_index.device.type == "cpu":
        forward = _is_forward(source, target, edge_shift)
        (edges,) = torch.nonzero(forward, as_tuple=True)
        if 2 * len(edges) == len(source) and _mirrored(source, target, edge_shift, forward):
            here, there = target[edges], source[edges]
            return EdgePairs(edges, torch.stack([here, there]), torch.stack([there, here]))
    edges = torch.arange(len(source), device=source.device)
    return EdgePairs(edges, target[None], source[None])


def _is_forward(source: Tensor, target: Tensor, shift: Tensor) -> Tensor:
    """Say which one of each pair it is: the one to the larger atom, or the larger shift."""
    x, y, z = shift.int().unbind(1)
    order = (x * 256 + y) * 256 + z  # int8 shifts: the sign is that of the first that is not zero
    return (source < target) | ((source == target) & (order > 0))


def _mirrored(source: Tensor, target: Tensor, shift: Tensor, forward: Tensor) -> bool:
    """Whether the edges that are not forward are the reverses of those that are.

    Both sets are compared by the sum of 64-bit names, in which no order matters. Other sets of
    the same size pass by a chance of 2^-64.
    """
    sign = torch.where(forward, 1, -1)
    small, large = torch.minimum(source, target), torch.maximum(source, target)
    name = small * _FACTORS[0] + large * _FACTORS[1]  # (E,), wraps around
    for axis, factor in enumerate(_FACTORS[2:]):
        name += sign * shift[:, axis] * factor
    name ^= name >> 29
    name *= _FACTORS[3]
    name ^= name >> 32
    return int((sign * name).sum()) == 0
