"""Graphs of crystals on disk, each of which is built when a batch needs it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from gnnpre._allocator import release_memory
from gnnpre._devices import resolve_device

from ._batch import CrystalBatch
from ._build_graphs import build_graphs
from ._crystal_graphs import CrystalGraphs
from ._crystal_rows import CrystalRows
from ._crystals import Crystals
from ._indexing import resolve_rows
from ._lazy_crystals import LazyCrystals
from ._search_checks import check_searchable
from ._settings import GraphSettings

__all__ = ["LazyGraphs", "is_on_disk"]

# Crystals whose graphs are built together in a pass over all of them: some 10 MB of edges.
PASS_ROWS = 512


class LazyGraphs(CrystalRows):
    """Graphs of n crystals that stay on disk; training and prediction use it as CrystalGraphs.

    Edges and periodic directions of a crystal are noted when its graph is built first, in 5 bytes,
    and the elements of all crystals together. A request for those of all crystals starts a pass
    that builds all graphs once and keeps none.

    Parameters
    ----------
    crystals : LazyCrystals
        The crystals.
    settings : GraphSettings
        Settings of their graphs.
    """

    def __init__(self, crystals: LazyCrystals, settings: GraphSettings) -> None:
        self.crystals = crystals
        self.settings = settings
        self.device = torch.device("cpu")
        self.atom_counts = crystals.n_atoms
        self.index = None
        n = len(crystals)
        self._edge_counts = np.full(n, -1, dtype=np.int32)
        self._pbc = np.zeros(n, dtype=np.uint8)  # one bit for each direction
        self._elements: set[int] = set()

    def __setstate__(self, state: dict[str, Any]) -> None:
        # joblib maps large arrays as read-only memory, but sizes are noted as graphs are built.
        noted = {name: np.array(state[name]) for name in ("_edge_counts", "_pbc")}
        self.__dict__.update({**state, **noted})

    def __len__(self) -> int:
        return len(self.crystals)

    @property
    def cutoff(self) -> float:
        """Largest edge length in Å."""
        return self.settings.cutoff

    @property
    def digest(self) -> str:
        """Digest of the content, which names a training to resume."""
        return f"{self.crystals.digest} {self.settings}"

    @property
    def edge_counts(self) -> np.ndarray:
        """Edges of each crystal, ``(n,)``."""
        self._note_all()
        return self._edge_counts

    @property
    def pbc(self) -> Tensor:
        """Periodic directions, ``(n, 3)``."""
        self._note_all()
        return torch.from_numpy(np.unpackbits(self._pbc[:, None], axis=1, count=3).astype(bool))

    def elements(self, rows: np.ndarray | None = None) -> list[int]:
        """Return the atomic numbers in some crystals, or in all, ascending."""
        self._note_all()
        if rows is None or len(rows) == len(self):
            return sorted(self._elements)
        # Sets of each crystal would take more memory than all that is noted.
        present = [_elements(piece.atomic_numbers) for piece in self._crystals_of(rows)]
        return sorted(set().union(*present))

    def rows_with(self, low: int, high: int) -> np.ndarray:
        """Return the crystals that hold an element of atomic number ``low`` to ``high``."""
        self._note_all()
        if not any(low <= z <= high for z in self._elements):
            return np.empty(0, dtype=np.int64)
        start, rows = 0, []
        for piece in self._crystals_of(np.arange(len(self))):
            is_between = (piece.atomic_numbers >= low) & (piece.atomic_numbers <= high)
            rows.append(
                start + np.flatnonzero(np.logical_or.reduceat(is_between, piece.offsets[:-1]))
            )
            start += len(piece)
        return np.concatenate(rows)

    def _crystals_of(self, rows: np.ndarray) -> Iterator[Crystals]:
        """Read some crystals, piece by piece."""
        for start in range(0, len(rows), PASS_ROWS):
            yield self.crystals.load(rows[start : start + PASS_ROWS], info=False)

    def to(self, device: torch.device | str) -> "LazyGraphs":
        """Return the same crystals, whose graphs are moved to a device once they are built."""
        moved = LazyGraphs.__new__(LazyGraphs)
        moved.__dict__.update(self.__dict__, device=resolve_device(device, auto=False))
        return moved

    def to_crystals(self) -> LazyCrystals:
        """Return the crystals without their edges."""
        return self.crystals

    def load(self, rows: slice | np.ndarray) -> CrystalGraphs:
        """Read some crystals and build their graphs."""
        crystals = self.crystals.load(rows, info=False)
        if crystals.ids is None:  # errors name crystals by their ids
            crystals.ids = np.arange(len(self))[rows]
        check_searchable(crystals)
        graphs = build_graphs(crystals, self.settings, _first_row(rows))
        # In a process that shares a training, all is noted, and the arrays are read-only.
        if (self._edge_counts[rows] < 0).any():
            self._pbc[rows] = np.packbits(crystals.pbc, axis=1)[:, 0]
            self._elements.update(_elements(crystals.atomic_numbers))
            self._edge_counts[rows] = graphs.edge_counts
        return graphs.to(self.device)

    def pieces(self, rows: np.ndarray, size: int) -> Iterator[CrystalGraphs]:
        """Yield the graphs of some crystals, in order, at most ``size`` of them at a time."""
        for start in range(0, len(rows), size):
            yield self.load(rows[start : start + size])

    def batch(self, indices: Any = None, dtype: torch.dtype = torch.float32) -> CrystalBatch:
        """Assemble crystals into one batch."""
        key = slice(None) if indices is None else indices
        return self.load(resolve_rows(key, len(self), "LazyGraphs")).batch(dtype=dtype)

    def _get_one(self, row: int) -> Any:
        return self.load(slice(row, row + 1))[0]

    def _get_some(self, rows: slice | np.ndarray) -> CrystalGraphs:
        return self.load(rows)

    def _note_all(self) -> None:
        """Build the graphs that have not been built yet, once, to note their sizes."""
        missing = np.flatnonzero(self._edge_counts < 0)
        if not len(missing):
            return
        chunks = [missing[i : i + PASS_ROWS] for i in range(0, len(missing), PASS_ROWS)]
        with ThreadPoolExecutor(self.crystals.n_threads) as executor:
            try:
                for _ in executor.map(self._note, chunks):
                    pass
            except BaseException:
                executor.shutdown(cancel_futures=True)
                raise
        release_memory()

    def _note(self, rows: np.ndarray) -> None:
        self.load(rows)  # the graphs are dropped


def is_on_disk(graphs: Any) -> TypeGuard[LazyGraphs]:
    """Return whether graphs are built from crystals on disk when they are needed."""
    return isinstance(graphs, LazyGraphs)


def _first_row(rows: slice | np.ndarray) -> int:
    """Return the row that the first of consecutive crystals has, for errors."""
    if isinstance(rows, slice):
        return rows.start or 0
    return int(rows[0]) if len(rows) else 0


def _elements(numbers: np.ndarray) -> set[int]:
    """Return the elements of some atoms."""
    return set(np.flatnonzero(np.bincount(numbers)).tolist())
