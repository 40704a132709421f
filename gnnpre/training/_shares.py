"""Shares of the processes in a batch, balanced by edges."""

import heapq
from dataclasses import dataclass

import numpy as np

__all__ = ["Share", "split_by_edges"]


@dataclass(frozen=True)
class Share:
    """Which share of each batch a process computes.

    Attributes
    ----------
    rank : int
        Number of the process, from 0.
    n_processes : int
        Number of all processes.
    """

    rank: int
    n_processes: int

    def is_split(self, n_crystals: int) -> bool:
        """Return whether a batch has crystals for all processes; if not, process 0 takes it."""
        return n_crystals >= self.n_processes

    def rows(self, edge_counts: np.ndarray, atom_counts: np.ndarray) -> np.ndarray:
        """Return the rows of this process in a batch, in order; perhaps none."""
        if not self.is_split(len(edge_counts)):
            return np.arange(len(edge_counts) if self.rank == 0 else 0)
        # Atoms cost time, too, and no crystal may count for nothing.
        return split_by_edges(edge_counts + atom_counts, self.n_processes)[self.rank]


def split_by_edges(costs: np.ndarray, n_shares: int) -> list[np.ndarray]:
    """Split rows into shares of about equal cost, the most expensive first.

    Parameters
    ----------
    costs : ndarray of shape (n,)
        Cost of each row, above 0; at least as many as there are shares.
    n_shares : int
        Number of shares.

    Returns
    -------
    list of ndarray
        The rows of each share, in order; none is empty.
    """
    loads = [(0, number) for number in range(n_shares)]
    share_of = np.empty(len(costs), dtype=np.int64)
    for row in np.argsort(-costs, kind="stable").tolist():
        load, number = heapq.heappop(loads)
        share_of[row] = number
        heapq.heappush(loads, (load + int(costs[row]), number))
    return [np.flatnonzero(share_of == number) for number in range(n_shares)]
