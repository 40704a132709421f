"""Many crystal graphs in flat tensors: the X that every estimator accepts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gnnpre._devices import resolve_device

from ._assemble_batch import assemble_batch
from ._batch import CrystalBatch
from ._columns import as_index, check_blocks, join_indices
from ._crystal_rows import CrystalRows
from ._crystals import Crystals
from ._data_list import fields_from_data, to_data
from ._gather import BlockRows
from ._graph_checks import FIELDS, check_graphs
from ._graph_files import load_graphs, save_graphs
from ._indexing import resolve_rows
from ._pairs import MirroredCrystals
from ._settings import GraphSettings
from ._tensors import send, share_memory

if TYPE_CHECKING:
    from torch_geometric.data import Data

__all__ = ["CrystalGraphs"]

CRYSTAL_FIELDS = ("cell", "pbc", "n_atoms", "n_edges")


class CrystalGraphs(CrystalRows):
    """Graphs of n crystals with N atoms and E edges in all, in flat tensors.

    :class:`StructureToGraph` builds it, and every estimator accepts it as ``X``. scikit-learn
    splits it like an array (``len``, ``shape``, and an index array or mask), joblib memory-maps
    it for its workers, and :meth:`batch` assembles batches without a loop over crystals.

    Parameters
    ----------
    atomic_numbers : Tensor of shape (N,)
        Atomic numbers.
    positions : Tensor of shape (N, 3)
        Positions in Å.
    cell : Tensor of shape (n, 3, 3)
        Cell vectors in Å, as rows.
    pbc : Tensor of shape (n, 3)
        Periodic directions.
    n_atoms : Tensor of shape (n,)
        Atoms of each crystal.
    edge_index : Tensor of shape (2, E)
        Source (row 0, sends) and target (row 1, receives) of each edge, counted from the first
        atom of their own crystal.
    edge_shift : Tensor of shape (E, 3)
        Cells between the source and its image: ``r[source] + shift @ cell - r[target]`` is the
        edge vector.
    n_edges : Tensor of shape (n,)
        Edges of each crystal.
    settings : GraphSettings
        Settings that the edges were chosen by.
    index : pandas Index or array-like of shape (n,), optional
        Labels of the rows of the table that the crystals come from. They label the rows of
        tables that are computed from the graphs, such as embeddings as pandas output.

    Raises
    ------
    ValueError
        If a field does not fit the others, crystal by crystal: counts, types, shapes, atomic
        numbers, positions and cells that are not finite, edges that leave their crystal.

    Notes
    -----
    A range of crystals (``graphs[10:20]``) shares the memory of the whole, as a slice of a NumPy
    array does; other selections copy.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from gnnpre.graphs import CrystalGraphs, StructureToGraph
    >>> copper = Structure(Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]])
    >>> graphs = StructureToGraph(cutoff=4.0).transform([copper, copper, copper])
    >>> graphs
    CrystalGraphs(n=3, atoms=3, edges=18, cutoff=4.0 Å, cpu)
    >>> graphs[[True, False, True]].shape
    (2,)
    >>> graphs[0]
    Data(edge_index=[2, 6], pos=[1, 3], z=[1], cell=[1, 3, 3], pbc=[1, 3], edge_shift=[6, 3])
    >>> CrystalGraphs.concatenate([graphs, graphs]).shape
    (6,)
    """

    atomic_numbers: Tensor
    positions: Tensor
    cell: Tensor
    pbc: Tensor
    n_atoms: Tensor
    edge_index: Tensor
    edge_shift: Tensor
    n_edges: Tensor

    def __init__(
        self,
        *,
        atomic_numbers: Any,
        positions: Any,
        cell: Any,
        pbc: Any,
        n_atoms: Any,
        edge_index: Any,
        edge_shift: Any,
        n_edges: Any,
        settings: GraphSettings,
        index: Any = None,
    ) -> None:
        if not isinstance(settings, GraphSettings):
            raise TypeError(
                f"settings is of type {type(settings).__name__}; expected "
                "GraphSettings(cutoff=...)."
            )
        settings.check()
        fields = {
            "atomic_numbers": atomic_numbers,
            "positions": positions,
            "cell": cell,
            "pbc": pbc,
            "n_atoms": n_atoms,
            "edge_index": edge_index,
            "edge_shift": edge_shift,
            "n_edges": n_edges,
        }
        tensors = check_graphs(fields)
        self._fill(tensors, settings, as_index(index, len(tensors["n_atoms"])))

    @classmethod
    def _from_checked(
        cls, tensors: Mapping[str, Tensor], settings: GraphSettings, index: Any
    ) -> "CrystalGraphs":
        """Build graphs from tensors that have been checked before."""
        graphs = cls.__new__(cls)
        graphs._fill(tensors, settings, index)
        return graphs

    def _fill(
        self,
        tensors: Mapping[str, Tensor],
        settings: GraphSettings,
        index: Any,
        counts: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        for name in FIELDS:
            setattr(self, name, tensors[name])
        self.settings = settings
        self.index = index
        # On the host too, so that sizes are known without waiting for a GPU.
        self.atom_counts, self.edge_counts = counts or (
            self.n_atoms.cpu().numpy(),
            self.n_edges.cpu().numpy(),
        )
        self._atom_rows = BlockRows(self.atom_counts, self.device)
        self._edge_rows = BlockRows(self.edge_counts, self.device)
        self._mirrored = MirroredCrystals(len(self.n_atoms))

    def _fields(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in FIELDS}

    def __len__(self) -> int:
        return len(self.n_atoms)

    @property
    def cutoff(self) -> float:
        """Largest edge length in Å."""
        return self.settings.cutoff

    @property
    def device(self) -> torch.device:
        """Device that the tensors are on."""
        return self.positions.device

    def __repr__(self) -> str:
        return (
            f"CrystalGraphs(n={len(self)}, atoms={len(self.positions)}, "
            f"edges={len(self.edge_shift)}, cutoff={self.cutoff} Å, {self.device})"
        )

    def _get_some(self, rows: slice | np.ndarray) -> "CrystalGraphs":
        """Return some of the crystals; those of a slice share memory with these."""
        crystals = self._crystal_picker(rows)
        numbers, positions = self._atom_rows.take(
            [(self.atomic_numbers, 0), (self.positions, 0)], rows
        )
        edge_index, edge_shift = self._edge_rows.take(
            [(self.edge_index, 1), (self.edge_shift, 0)], rows
        )
        tensors = {
            "atomic_numbers": numbers,
            "positions": positions,
            "edge_index": edge_index,
            "edge_shift": edge_shift,
            **{name: getattr(self, name)[crystals] for name in CRYSTAL_FIELDS},
        }
        index = None if self.index is None else self.index[rows]
        return self._from_checked(tensors, self.settings, index)

    def batch(self, indices: Any = None, dtype: torch.dtype = torch.float32) -> CrystalBatch:
        """Assemble crystals into one batch, on the device that they are on.

        Parameters
        ----------
        indices : array-like of int, slice or mask, optional
            The crystals, in this order; all by default.
        dtype : torch.dtype
            Precision of positions, cells and edge vectors. Edge vectors are computed in float64
            first.

        Returns
        -------
        CrystalBatch
            The batch. Atoms are counted through all of it.
        """
        key = slice(None) if indices is None else indices
        rows = resolve_rows(key, len(self), "CrystalGraphs")
        return assemble_batch(self, rows, dtype)

    def _crystal_picker(self, rows: slice | np.ndarray) -> Any:
        return rows if isinstance(rows, slice) else send(torch.from_numpy(rows), self.device)

    def to(self, device: torch.device | str) -> "CrystalGraphs":
        """Return the graphs on a device: a copy, or the same object if they are there already.

        Parameters
        ----------
        device : torch.device or str
            The device.

        Returns
        -------
        CrystalGraphs
            The graphs on that device.

        Raises
        ------
        ValueError
            If torch has no such device here.
        """
        device = resolve_device(device, auto=False)
        # The device of a tensor: "cuda" alone would differ from "cuda:0".
        if torch.empty(0, device=device).device == self.device:
            return self
        moved = type(self).__new__(type(self))
        tensors = {name: tensor.to(device) for name, tensor in self._fields().items()}
        moved._fill(tensors, self.settings, self.index, (self.atom_counts, self.edge_counts))
        return moved

    def __getstate__(self) -> dict[str, Any]:
        # NumPy arrays, so that joblib memory-maps them and a GPU is not needed to load them.
        arrays = {name: tensor.cpu().numpy() for name, tensor in self._fields().items()}
        return {**arrays, "settings": self.settings, "index": self.index}

    def __setstate__(self, state: dict[str, Any]) -> None:
        tensors = {name: share_memory(state[name]) for name in FIELDS}
        self._fill(tensors, state["settings"], state["index"])

    def save(self, path: str | Path) -> None:
        """Write the graphs, with their settings and index, to one safetensors file.

        Parameters
        ----------
        path : str or Path
            The file to write.
        """
        save_graphs(path, self)

    @classmethod
    def load(cls, path: str | Path) -> "CrystalGraphs":
        """Read graphs from a file of :meth:`save`; they are memory-mapped and fully checked.

        Parameters
        ----------
        path : str or Path
            The file to read.

        Returns
        -------
        CrystalGraphs
            The graphs.

        Raises
        ------
        ValueError
            If the file is damaged, holds something else, or its graphs are inconsistent.
        """
        return load_graphs(path, cls)

    @classmethod
    def concatenate(cls, blocks: Sequence["CrystalGraphs"]) -> "CrystalGraphs":
        """Join graphs that were built with the same settings.

        Parameters
        ----------
        blocks : sequence of CrystalGraphs
            The blocks to join, in order. The index is retained where all have one.

        Returns
        -------
        CrystalGraphs
            All crystals.

        Raises
        ------
        ValueError, TypeError
            If settings differ, there is nothing to join, or a block is of another type.
        """
        blocks = check_blocks(blocks, cls)
        for block in blocks[1:]:
            if difference := block.settings.difference(blocks[0].settings):
                raise ValueError(f"Graphs of different settings cannot be joined: {difference}.")
        tensors = {
            name: torch.cat([getattr(b, name) for b in blocks], dim=int(name == "edge_index"))
            for name in FIELDS
        }
        index = join_indices([block.index for block in blocks])
        return cls._from_checked(tensors, blocks[0].settings, index)

    def to_crystals(self) -> Crystals:
        """Return the crystals without their edges.

        Returns
        -------
        Crystals
            On the CPU, where they share the memory of these graphs.
        """
        names = ("atomic_numbers", "positions", "cell", "pbc", "n_atoms")
        arrays = {name: getattr(self, name).cpu().numpy() for name in names}
        return Crystals._from_checked(arrays, ids=None, info={}, index=self.index)

    def to_data_list(self) -> "list[Data]":
        """Return the crystals as torch-geometric ``Data`` objects.

        Returns
        -------
        list of torch_geometric.data.Data
            With ``z``, ``pos`` (Å), ``cell`` (1, 3, 3), ``pbc`` (1, 3), ``edge_index`` (int64)
            and ``edge_shift``.
        """
        return list(self)

    def _get_one(self, row: int) -> "Data":
        one = self._get_some(slice(row, row + 1))
        return to_data(one._fields())

    @classmethod
    def from_data_list(
        cls, data_list: "Sequence[Data]", settings: GraphSettings
    ) -> "CrystalGraphs":
        """Pack torch-geometric ``Data`` objects that have the fields of :meth:`to_data_list`.

        Parameters
        ----------
        data_list : sequence of torch_geometric.data.Data
            One object per crystal; edges run from source (row 0) to target (row 1).
        settings : GraphSettings
            Settings that their edges were chosen by.

        Returns
        -------
        CrystalGraphs
            The graphs, with edges sorted by target.

        Raises
        ------
        ValueError
            If there is no object, or one lacks a field or holds values that do not fit.
        """
        if len(data_list) == 0:
            raise ValueError("data_list is empty: there is nothing to pack.")
        return cls(**fields_from_data(data_list), settings=settings)
