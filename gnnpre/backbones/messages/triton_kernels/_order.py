"""The edges of a batch, sorted by the atom that receives, and by the one that sends."""

from typing import NamedTuple

import torch
from torch import Tensor

from gnnpre.graphs import EdgePairs

__all__ = ["EdgeOrder"]


class Sorted(NamedTuple):
    """Edges sorted by one of their ends."""

    edges: Tensor  # (E,)
    offsets: Tensor  # (N + 1,): where the edges of an atom begin

    @classmethod
    def by(cls, atoms: Tensor, n_atoms: int) -> "Sorted":
        """Sort the edges by an end (E,), without waiting for the device."""
        ascending, edges = torch.sort(atoms, stable=True)
        numbers = torch.arange(n_atoms + 1, device=atoms.device)
        return cls(edges, torch.searchsorted(ascending, numbers))


class EdgeOrder(NamedTuple):
    """The E = k P edges of P pairs in both orders.

    Parameters
    ----------
    by_target, by_source : Sorted
        Their orders.

    Examples
    --------
    >>> import torch
    >>> from gnnpre.backbones.messages.triton_kernels import EdgeOrder
    >>> from gnnpre.graphs import EdgePairs
    >>> target, source = torch.tensor([[1, 0, 1]]), torch.tensor([[0, 1, 2]])
    >>> order = EdgeOrder.of(EdgePairs(torch.arange(3), target, source), 3)
    >>> order.by_target.edges.tolist(), order.by_target.offsets.tolist()
    ([1, 0, 2], [0, 1, 3, 3])
    """

    by_target: Sorted
    by_source: Sorted

    @classmethod
    def of(cls, pairs: EdgePairs, n_atoms: int) -> "EdgeOrder":
        """Sort the edges of a batch.

        Parameters
        ----------
        pairs : EdgePairs
            The edges.
        n_atoms : int
            Number of atoms N.

        Returns
        -------
        EdgeOrder
            Their orders.
        """
        ends = torch.stack([pairs.target.flatten(), pairs.source.flatten()])  # (2, E)
        # A kernel reads at the atoms that edges name. The device checks without a wait.
        torch._assert_async(
            ((ends >= 0) & (ends < n_atoms)).all(), "edge_index of the batch names missing atoms"
        )
        return cls(Sorted.by(ends[0], n_atoms), Sorted.by(ends[1], n_atoms))
