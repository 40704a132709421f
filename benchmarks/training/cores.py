"""Speed with 4 to 64 processes, computed from the measured times of one and of two."""

import math
import statistics
from typing import Any

import numpy as np

from gnnpre.training._shares import split_by_edges

__all__ = ["table_of_cores"]

CORES = (2, 4, 8, 16, 32, 64)
#: Batches that are drawn to see how equal the shares of the processes are.
N_DRAWS = 50


def table_of_cores(
    seconds: dict[str, dict[str, list[list[float]]]], costs: np.ndarray
) -> list[str]:
    """Return a table of computed speed-ups.

    A step of p processes takes ``c t s(p) + a log2(p)``: t of one process, the largest share s of a
    batch in a process, and the exchange a of two processes, at each of the log2(p) levels of a
    tree. The remainder of two processes is c, by which they slow each other down (memory).

    Parameters
    ----------
    seconds : dict
        Seconds of a step of one process and of two, by training and batch size.
    costs : ndarray of int of shape (n,)
        Edges and atoms of each crystal, by which batches are shared.

    Returns
    -------
    list of str
        The table.
    """
    header = ["training", "one process, ms", "a, ms", "c", *(str(p) for p in CORES)]
    exchanges = exchanges_of_two(seconds, costs)
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for label, row in seconds.items():
        size = int(label.rpartition(" ")[2])
        one, two = (statistics.median(value[0] for value in row[n]) for n in ("1", "2"))
        exchange = exchanges[label.rpartition(",")[0]]
        slower = max(1.0, (two - exchange) / (one * largest_share(costs, size, 2)))
        cells = [label, f"{1e3 * one:.1f}", f"{1e3 * exchange:.1f}", f"{slower:.2f}"]
        for p in CORES:
            step = slower * one * largest_share(costs, size, p) + exchange * math.log2(p)
            cells.append(f"{one / step:.1f}" if p <= size else "")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def exchanges_of_two(
    seconds: dict[str, dict[str, list[list[float]]]], costs: np.ndarray
) -> dict[str, float]:
    """Return the exchange of two processes, by training: the least over its batch sizes."""
    exchanges: dict[str, float] = {}
    for label, row in seconds.items():
        name, _, size = label.rpartition(", batch ")
        one, two = (statistics.median(value[0] for value in row[n]) for n in ("1", "2"))
        rest = max(0.0, two - one * largest_share(costs, int(size), 2))
        exchanges[name] = min(rest, exchanges.get(name, rest))
    return exchanges


def largest_share(costs: np.ndarray, size: int, n_processes: int) -> float:
    """Return the largest share of a process in a batch, on average over random batches."""
    if n_processes > size:
        return 1.0
    rng = np.random.default_rng(0)
    shares: list[Any] = []
    for _ in range(N_DRAWS):
        batch = rng.choice(costs, size)
        loads = [batch[rows].sum() for rows in split_by_edges(batch, n_processes)]
        shares.append(max(loads) / batch.sum())
    return float(np.mean(shares))
