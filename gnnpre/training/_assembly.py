"""From a data set to batches: of graphs in memory, and of crystals that are read meanwhile."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gnnpre.graphs import CrystalBatch, CrystalGraphs, LazyGraphs, is_on_disk
from gnnpre.objectives import Targets

if TYPE_CHECKING:
    from ._loader import CrystalDataset

__all__ = ["assemble", "shuffle_blocks", "shuffled"]

# Crystals and edges that are read ahead together: some 20 to 50 MB of graphs.
POOL_ROWS, POOL_EDGES = 1024, 3_000_000

_Labelled = tuple[CrystalBatch, dict[str, Tensor]]


def shuffled(dataset: "CrystalDataset", generator: torch.Generator) -> np.ndarray:
    """Return the crystals of a data set in random order.

    Crystals on disk are shuffled by blocks, so that an epoch reads each block about once.
    """
    order = dataset.indices
    if not is_on_disk(dataset.graphs):
        return order[torch.randperm(len(order), generator=generator).numpy()]
    crystals = dataset.graphs.crystals
    return shuffle_blocks(order, crystals.blocks[order], crystals.shuffle_rows, generator)


def shuffle_blocks(
    order: np.ndarray, blocks: np.ndarray, shuffle_rows: int, generator: torch.Generator
) -> np.ndarray:
    """Draw whole blocks in random order, and mix each run of ``shuffle_rows`` crystals.

    Parameters
    ----------
    order : ndarray of int of shape (n,)
        The crystals.
    blocks : ndarray of int of shape (n,)
        Block of each of them.
    shuffle_rows : int
        Crystals that are mixed; of fewer crystals, all are.
    generator : torch.Generator
        Source of random numbers.

    Returns
    -------
    ndarray of int of shape (n,)
        The crystals in another order.
    """
    mixed = _draw_blocks(order, blocks, generator) if len(order) > shuffle_rows else order.copy()
    # In place: of a hundred million crystals each copy counts.
    for start in range(0, len(mixed), shuffle_rows):
        run = mixed[start : start + shuffle_rows]
        run[:] = run[torch.randperm(len(run), generator=generator).numpy()]
    return mixed


def _draw_blocks(order: np.ndarray, blocks: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """Return a copy of ``order`` with its blocks, each whole, in random order."""
    if (blocks[1:] < blocks[:-1]).any():
        grouped = np.argsort(blocks, kind="stable")
        order, blocks = order[grouped], blocks[grouped]
    pieces = np.split(order, np.flatnonzero(blocks[1:] != blocks[:-1]) + 1)
    ranks = torch.randperm(len(pieces), generator=generator)
    return np.concatenate([pieces[number] for number in torch.argsort(ranks).tolist()])


def assemble(
    dataset: "CrystalDataset", batches: Sequence[np.ndarray], dtype: torch.dtype
) -> Iterator[_Labelled]:
    """Yield each batch of crystals with its labels in float64; no labels if there are none."""
    if is_on_disk(dataset.graphs):
        yield from _read_ahead(dataset, dataset.graphs, batches, dtype)
        return
    for indices in batches:
        yield _gather(dataset.graphs, dataset.targets, indices, dtype, dataset.labelled)


def _gather(
    graphs: CrystalGraphs, targets: Targets, indices: np.ndarray, dtype: torch.dtype, labelled: bool
) -> _Labelled:
    labels = targets.batch(indices, torch.float64) if labelled else {}
    return graphs.batch(indices, dtype), labels


class Pool(NamedTuple):
    """Consecutive batches that are read together."""

    batches: list[np.ndarray]
    rows: np.ndarray  # ascending, each once
    graphs: CrystalGraphs
    targets: Targets


def _read_ahead(
    dataset: "CrystalDataset",
    graphs: LazyGraphs,
    batches: Sequence[np.ndarray],
    dtype: torch.dtype,
) -> Iterator[_Labelled]:
    """Yield batches while threads read the crystals of the next ones and build their graphs."""

    def read(pool: list[np.ndarray]) -> Pool:
        rows = np.unique(np.concatenate(pool))
        # Labels first: the crystals of the same blocks are then decoded already.
        targets = dataset.targets.load(rows) if dataset.labelled else dataset.targets
        return Pool(pool, rows, graphs.load(rows), targets)

    n_threads = graphs.crystals.n_threads
    waiting: deque[Future[Pool]] = deque()
    pools = _pools(batches, graphs.edge_counts)
    # The threads of pymatgen's search run beside Python: it holds no lock of the interpreter.
    executor = ThreadPoolExecutor(n_threads)
    try:
        for group in pools:
            waiting.append(executor.submit(read, group))
            if len(waiting) > n_threads:
                yield from _pool_batches(waiting.popleft().result(), dtype, dataset.labelled)
        while waiting:
            yield from _pool_batches(waiting.popleft().result(), dtype, dataset.labelled)
    finally:
        executor.shutdown(cancel_futures=True)


def _pools(batches: Sequence[np.ndarray], edge_counts: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Join consecutive batches up to a number of crystals and of edges, at least one batch."""
    pool: list[np.ndarray] = []
    rows = edges = 0
    for indices in batches:
        count = int(edge_counts[indices].sum(dtype=np.int64))
        if pool and (rows + len(indices) > POOL_ROWS or edges + count > POOL_EDGES):
            yield pool
            pool, rows, edges = [], 0, 0
        pool.append(indices)
        rows, edges = rows + len(indices), edges + count
    if pool:
        yield pool


def _pool_batches(pool: Pool, dtype: torch.dtype, labelled: bool) -> Iterator[_Labelled]:
    for indices in pool.batches:
        local = np.searchsorted(pool.rows, indices)
        yield _gather(pool.graphs, pool.targets, local, dtype, labelled)
