"""Batches of crystals and targets, by count or by edges."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.utils import _safe_indexing
from skorch.dataset import Dataset
from torch import Tensor

from gnnpre.graphs import CrystalBatch, CrystalGraphs, all_rows
from gnnpre.objectives import ObjectiveModel, Targets

from ._assembly import assemble, shuffled
from ._shares import Share

__all__ = ["BatchLoader", "CrystalDataset", "TrainingData", "plan_batches"]

COUNTED_ROWS = 65_536

_Batch = tuple[CrystalBatch, dict[str, Tensor]]


def plan_batches(
    order: np.ndarray, edge_counts: np.ndarray, batch_size: int, max_edges: int | None
) -> list[np.ndarray]:
    """Split ``order`` into batches of at most ``batch_size`` crystals and ``max_edges`` edges.

    A crystal with more edges than that is a batch by itself.
    """
    if max_edges is None:
        return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    starts, edges = [0], 0
    for position, count in enumerate(_iterate_counts(edge_counts, order)):
        # Memory grows with the edges, not with the crystals.
        full = position - starts[-1] >= batch_size or edges + count > max_edges
        if full and position > starts[-1]:
            starts.append(position)
            edges = 0
        edges += count
    return [batch for batch in np.split(order, starts[1:]) if len(batch)]


def _iterate_counts(edge_counts: np.ndarray, order: np.ndarray) -> Iterator[int]:
    """Yield the edges of crystals; all of them as Python's numbers at once would take memory."""
    for start in range(0, len(order), COUNTED_ROWS):
        yield from edge_counts[order[start : start + COUNTED_ROWS]].tolist()


@dataclass(frozen=True, eq=False)
class CrystalDataset(Dataset):
    """Some rows of crystals and targets; only the crystals of a batch are copied.

    Attributes
    ----------
    graphs : CrystalGraphs
        All crystals.
    targets : Targets
        Their targets.
    indices : ndarray of int
        The crystals that belong to the data set.
    labels : array-like, optional
        The user's labels of all crystals, for scoring callbacks.
    labelled : bool
        Whether there are targets; if not, the crystals are not perturbed (with noise) either.
    """

    graphs: CrystalGraphs
    targets: Targets
    indices: np.ndarray
    labels: Any = None
    labelled: bool = True

    @classmethod
    def unlabelled(cls, graphs: CrystalGraphs) -> "CrystalDataset":
        """Return crystals without targets, to predict."""
        targets = Targets(graphs.atom_counts, {})
        return cls(graphs, targets, all_rows(len(graphs)), labelled=False)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def X(self) -> CrystalGraphs:
        """The crystals of the data set, copied; skorch's ``EpochScoring`` passes them on."""
        return self.graphs[self.indices]

    @property
    def y(self) -> Any:
        """The labels of the data set, or the targets of its crystals as arrays by name."""
        if self.labels is not None:
            return _safe_indexing(self.labels, self.indices)
        targets = self.targets.batch(self.indices, torch.float64)
        return {name: values.cpu().numpy() for name, values in targets.items()}

    def subset(self, indices: np.ndarray) -> "CrystalDataset":
        """Return the same data with other indices."""
        return replace(self, indices=indices)

    def to(self, device: torch.device | str) -> "CrystalDataset":
        """Return the data set with graphs and targets on a device."""
        return replace(self, graphs=self.graphs.to(device), targets=self.targets.to(device))


@dataclass(frozen=True)
class TrainingData:
    """Crystals to train on and, perhaps, to validate on."""

    train: CrystalDataset
    valid: CrystalDataset | None


class BatchLoader:
    """Iterate over the batches of a data set, shuffled by ``generator`` if there is one.

    A model that perturbs its batches (with noise, for example) draws from ``generator`` too. If
    there is none, it draws from the same fixed seed each time, so that validation losses can be
    compared. Crystals without targets are not perturbed.

    With a ``share``, several processes iterate over the same batches, and each gets some of the
    crystals of each; None for a batch that has none for this process.
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
        share: Share | None = None,
    ) -> None:
        self.dataset = dataset
        self.model = model
        self.batch_size = batch_size
        self.max_edges = max_edges
        self.dtype = dtype
        self.generator = generator
        self.share = share
        #: Crystals in each batch, all shares together.
        self.sizes = [len(batch) for batch in self._plan(dataset.indices)]

    @property
    def n_batches(self) -> int:
        """Number of batches."""
        return len(self.sizes)

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[Any]:
        order, generator = self.dataset.indices, self.generator
        # One seed at each pass: losses of two epochs differ by the weights alone.
        if generator is None:
            generator = torch.Generator().manual_seed(0)
        else:
            order = shuffled(self.dataset, generator)
        batches = self._plan(order)
        # These change from epoch to epoch, since edges fill the batches in another order.
        self.sizes = [len(batch) for batch in batches]
        if self.dataset.labelled and self.model.perturbs:
            yield from self._perturbed(batches, generator)
        else:
            yield from self._plain(batches)

    def _plain(self, batches: list[np.ndarray]) -> Iterator[_Batch | None]:
        """Yield this process's share of each batch; nothing else is assembled."""
        shares = batches
        if self.share is not None:
            shares = [indices[self._rows(indices)] for indices in batches]
        assembled = assemble(self.dataset, [share for share in shares if len(share)], self.dtype)
        for share in shares:
            # A small last batch may have fewer crystals than there are processes.
            yield self._standardized(*next(assembled)) if len(share) else None

    def _perturbed(
        self, batches: list[np.ndarray], generator: torch.Generator
    ) -> Iterator[_Batch | None]:
        """Yield this process's share of each batch, perturbed as a whole.

        Noise must not depend on the number of processes.
        """
        assembled = assemble(self.dataset, batches, self.dtype)
        for indices, unperturbed in zip(batches, assembled, strict=True):
            batch = self.model.perturb(*self._standardized(*unperturbed), generator)
            if self.share is None:
                yield batch
                continue
            rows = self._rows(indices)
            mask = torch.zeros(len(indices), dtype=torch.bool)
            mask[rows] = True
            mask = mask.to(self.dataset.graphs.device)
            yield self.model.select(*batch, mask) if len(indices[rows]) else None

    def _rows(self, indices: np.ndarray) -> Any:
        """Return the rows of this process's share of a batch: indices, or a slice of all."""
        if self.share is None:
            return slice(None)
        graphs = self.dataset.graphs
        return self.share.rows(graphs.edge_counts[indices], graphs.atom_counts[indices])

    def _standardized(self, batch: CrystalBatch, labels: dict[str, Tensor]) -> _Batch:
        """Return a batch with its targets in the precision of the network."""
        if not self.dataset.labelled:
            return batch, {}
        # Offsets are subtracted before the cast: single precision has seven digits.
        standardized = self.model.standardize(labels, batch)
        return batch, {name: values.to(self.dtype) for name, values in standardized.items()}

    def _plan(self, order: np.ndarray) -> list[np.ndarray]:
        counts = self.dataset.graphs.edge_counts
        return plan_batches(order, counts, self.batch_size, self.max_edges)
