"""Batches of crystals and targets, by count or by edges."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from gnnpre.graphs import CrystalBatch, CrystalGraphs
from gnnpre.objectives import ObjectiveModel, Targets

__all__ = ["BatchLoader", "CrystalDataset", "plan_batches"]


def plan_batches(
    order: np.ndarray, edge_counts: np.ndarray, batch_size: int, max_edges: int | None
) -> list[np.ndarray]:
    """Cut ``order`` into batches of at most ``batch_size`` crystals and ``max_edges`` edges.

    A crystal with more edges than that is a batch of its own.
    """
    if max_edges is None:
        return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    starts, edges = [0], 0
    for position, count in enumerate(edge_counts[order].tolist()):
        full = position - starts[-1] >= batch_size or edges + count > max_edges
        if full and position > starts[-1]:
            starts.append(position)
            edges = 0
        edges += count
    return [batch for batch in np.split(order, starts[1:]) if len(batch)]


@dataclass(frozen=True)
class CrystalDataset:
    """Crystals and targets, of which ``indices`` are meant."""

    graphs: CrystalGraphs
    targets: Targets
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def subset(self, indices: np.ndarray) -> "CrystalDataset":
        """Give the same data with other indices."""
        return replace(self, indices=indices)


class BatchLoader:
    """Iterate over a data set once an epoch, shuffled by ``generator`` where there is one.

    A model that perturbs its batches (noise, say) draws from ``generator``, or, where nothing is
    shuffled, from the same fixed seed each time, so that validation losses can be compared.
    """

    def __init__(
        self,
        dataset: CrystalDataset,
        model: ObjectiveModel,
        *,
        batch_size: int,
        max_edges: int | None,
        dtype: torch.dtype,
        generator: torch.Generator | None = None,
    ) -> None:
        self.dataset = dataset
        self.model = model
        self.batch_size = batch_size
        self.max_edges = max_edges
        self.dtype = dtype
        self.generator = generator
        self.n_batches = len(self._plan(dataset.indices))

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[tuple[CrystalBatch, dict[str, Tensor]]]:
        order, generator = self.dataset.indices, self.generator
        if generator is None:
            generator = torch.Generator().manual_seed(0)
        else:
            order = order[torch.randperm(len(order), generator=generator).numpy()]
        batches = self._plan(order)
        self.n_batches = len(batches)
        for indices in batches:
            batch = self.dataset.graphs.batch(indices, self.dtype)
            labels = self.dataset.targets.batch(indices, torch.float64)
            # Offsets are subtracted before the cast: single precision has seven digits.
            targets = {
                name: values.to(self.dtype)
                for name, values in self.model.standardize(labels, batch).items()
            }
            yield self.model.perturb(batch, targets, generator)

    def _plan(self, order: np.ndarray) -> list[np.ndarray]:
        counts = self.dataset.graphs.edge_counts
        return plan_batches(order, counts, self.batch_size, self.max_edges)
