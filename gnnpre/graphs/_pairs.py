"""Edges in pairs: i -> j and j -> i have the same length and opposite directions."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gnnpre._exporting import is_exporting

__all__ = ["EdgePairs", "MirroredCrystals", "find_pairs"]

# Odd numbers of 62 random bits: they spread each component of an edge over all bits of its hash.
_FACTORS = (
    2870177450012600261,
    3935559000370003845,
    1609587929392839161,
    2862933555777941757,
    3202034522624059733,
)


class EdgePairs(NamedTuple):
    """Edges of a batch in P groups of k edges with the same length.

    Parameters
    ----------
    edges : Tensor of shape (P,)
        One edge of each group, as an index into the edges of the batch.
    target : Tensor of shape (k, P)
        Receiving atoms: k is 2 if each edge has its reverse, else 1.
    source : Tensor of shape (k, P)
        Sending atoms.

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


class MirroredCrystals:
    """Crystals of a data set of which a batch has shown that each edge has its reverse.

    The proof takes most of the time of :func:`find_pairs`, and holds for every later batch.

    Parameters
    ----------
    n_crystals : int
        Number of crystals in the data set.
    """

    def __init__(self, n_crystals: int) -> None:
        self.proven = np.zeros(n_crystals, dtype=bool)

    def find_pairs(
        self, rows: slice | np.ndarray, edge_index: Tensor, edge_shift: Tensor
    ) -> EdgePairs:
        """Pair the edges of a batch of the crystals ``rows``."""
        pairs = find_pairs(edge_index, edge_shift, proven=bool(self.proven[rows].all()))
        if len(pairs.target) == 2:
            self.proven[rows] = True
        return pairs


def find_pairs(edge_index: Tensor, edge_shift: Tensor, proven: bool = False) -> EdgePairs:
    """Pair each edge with its reverse, or leave all edges single if some have no reverse."""
    source, target = edge_index
    # On a GPU, waiting for the number of pairs costs more than computing each edge twice.
    # An export has no values to find pairs by.
    if edge_index.device.type == "cpu" and not is_exporting():
        forward = _is_forward(source, target, edge_shift)
        (edges,) = torch.nonzero(forward, as_tuple=True)
        is_half = 2 * len(edges) == len(source)
        if is_half and (proven or _mirrored(source, target, edge_shift, forward)):
            first, second = target.index_select(0, edges), source.index_select(0, edges)
            return EdgePairs(edges, torch.stack([first, second]), torch.stack([second, first]))
    edges = torch.arange(source.shape[0], device=source.device)
    return EdgePairs(edges, target[None], source[None])


def _is_forward(source: Tensor, target: Tensor, shift: Tensor) -> Tensor:
    """Return which edge of each pair is forward: towards the larger atom, or the larger shift."""
    x, y, z = shift.int().unbind(1)
    order = (x * 256 + y) * 256 + z  # int8 shifts: the sign is that of the first that is not zero
    return (source < target) | ((source == target) & (order > 0))


def _mirrored(source: Tensor, target: Tensor, shift: Tensor, forward: Tensor) -> bool:
    """Whether the edges that are not forward are the reverses of those that are.

    Both sets are compared by the sum of 64-bit hashes, which does not depend on their order.
    Different sets of the same size pass with a probability of 2^-64.
    """
    sign = torch.where(forward, 1, -1)
    small, large = torch.minimum(source, target), torch.maximum(source, target)
    digest = small * _FACTORS[0] + large * _FACTORS[1]  # (E,), wraps around
    for axis, factor in enumerate(_FACTORS[2:]):
        digest += sign * shift[:, axis] * factor
    digest ^= digest >> 29
    digest *= _FACTORS[3]
    digest ^= digest >> 32
    return int((sign * digest).sum()) == 0
