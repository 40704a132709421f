"""Many crystal graphs in flat tensors: the X that flows to every estimator."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gnnpre._storage import load_tensors, save_tensors

from ._batch import CrystalBatch
from ._crystals import Crystals
from ._indexing import normalise_key
from ._settings import GraphSettings
from ._tensors import share_memory

if TYPE_CHECKING:
    from torch_geometric.data import Data

__all__ = ["CrystalGraphs"]

ATOM_FIELDS = ("atomic_numbers", "positions")
EDGE_FIELDS = ("edge_index", "edge_shift")
CRYSTAL_FIELDS = ("cell", "pbc", "n_atoms", "n_edges")
FIELDS = ATOM_FIELDS + EDGE_FIELDS + CRYSTAL_FIELDS
DTYPES = {
    "atomic_numbers": torch.int32,
    "positions": torch.float64,
    "edge_index": torch.int32,
    "edge_shift": torch.int8,
    "cell": torch.float64,
    "pbc": torch.bool,
    "n_atoms": torch.int64,
    "n_edges": torch.int64,
}


class CrystalGraphs:
    """Graphs of n crystals with N atoms and E edges in all, in flat tensors.

    :class:`StructureToGraph` makes it, every estimator takes it as ``X``. scikit-learn splits it
    as it splits an array (``len``, ``shape`` and an index array or mask), joblib memory-maps it
    for its workers, and :meth:`batch` assembles batches without a loop over crystals.

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
        How the edges were chosen.

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

    def __init__(
        self,
        *,
        atomic_numbers: Tensor,
        positions: Tensor,
        cell: Tensor,
        pbc: Tensor,
        n_atoms: Tensor,
        edge_index: Tensor,
        edge_shift: Tensor,
        n_edges: Tensor,
        settings: GraphSettings,
    ) -> None:
        self.atomic_numbers = atomic_numbers
        self.positions = positions
        self.cell = cell
        self.pbc = pbc
        self.n_atoms = n_atoms
        self.edge_index = edge_index
        self.edge_shift = edge_shift
        self.n_edges = n_edges
        self.settings = settings
        self._finish()

    def _finish(self) -> None:
        for name, dtype in DTYPES.items():
            setattr(self, name, getattr(self, name).to(dtype))
        self._atom_offsets = _offsets(self.n_atoms)
        self._edge_offsets = _offsets(self.n_edges)
        # On the host too, so that sizes are known without waiting for a GPU.
        self.atom_counts = self.n_atoms.cpu().numpy()
        self.edge_counts = self.n_edges.cpu().numpy()
        self._check()

    def _check(self) -> None:
        n, n_atoms, n_edges = len(self), int(self.atom_counts.sum()), int(self.edge_counts.sum())
        expected = {
            "atomic_numbers": (n_atoms,),
            "positions": (n_atoms, 3),
            "edge_index": (2, n_edges),
            "edge_shift": (n_edges, 3),
            "cell": (n, 3, 3),
            "pbc": (n, 3),
            "n_edges": (n,),
        }
        for name, shape in expected.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(
                    f"{name} has shape {tuple(getattr(self, name).shape)}; expected {shape} for "
                    f"{n} crystals with {n_atoms} atoms and {n_edges} edges."
                )

    def __len__(self) -> int:
        return len(self.n_atoms)

    @property
    def shape(self) -> tuple[int]:
        """Shape ``(n,)``: what scikit-learn asks of an X."""
        return (len(self),)

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

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError(
            "CrystalGraphs is no table and cannot become an array. Estimators that need a table "
            "take embeddings (Pretrainer.transform) or fingerprints instead."
        )

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            if not -len(self) <= key < len(self):
                raise IndexError(f"Index {key} is out of bounds for {len(self)} crystals.")
            return self[[int(key)]].to_data_list()[0]
        return self._take(normalise_key(key, len(self), "CrystalGraphs"))

    def __iter__(self) -> Any:
        return (self[index] for index in range(len(self)))

    def _take(self, indices: np.ndarray) -> "CrystalGraphs":
        rows = torch.from_numpy(indices).to(self.device)
        atoms = self._rows(self._atom_offsets, self.atom_counts, rows, indices)
        edges = self._rows(self._edge_offsets, self.edge_counts, rows, indices)
        return CrystalGraphs(
            atomic_numbers=self.atomic_numbers[atoms],
            positions=self.positions[atoms],
            edge_index=self.edge_index[:, edges],
            edge_shift=self.edge_shift[edges],
            settings=self.settings,
            **{name: getattr(self, name)[rows] for name in CRYSTAL_FIELDS},
        )

    def _rows(
        self, offsets: Tensor, counts: np.ndarray, rows: Tensor, indices: np.ndarray
    ) -> Tensor:
        """Rows of a flat tensor that belong to the crystals ``rows``."""
        total = int(counts[indices].sum())
        lengths = offsets[rows + 1] - offsets[rows]
        shift = offsets[rows] - _offsets(lengths)[:-1]
        shift = torch.repeat_interleave(shift, lengths, output_size=total)
        return shift + torch.arange(total, device=self.device)

    def batch(self, indices: Any = None, dtype: torch.dtype = torch.float32) -> CrystalBatch:
        """Assemble crystals into one batch, on the device that they are on.

        Parameters
        ----------
        indices : array-like of int, slice or mask, optional
            Which crystals, in which order; all by default.
        dtype : torch.dtype
            Precision of positions, cells and edge vectors. Edge vectors are computed in float64
            first.

        Returns
        -------
        CrystalBatch
            The batch, atoms counted through all of it.
        """
        key = slice(None) if indices is None else indices
        chosen = normalise_key(key, len(self), "CrystalGraphs")
        rows, atoms, edges = self._places(chosen)
        n_atoms, n_edges = self.n_atoms[rows], self.n_edges[rows]
        crystal = torch.arange(len(chosen), device=self.device)
        counts = int(self.atom_counts[chosen].sum()), int(self.edge_counts[chosen].sum())
        edge_crystal = torch.repeat_interleave(crystal, n_edges, output_size=counts[1])
        first = _offsets(n_atoms)[:-1].index_select(0, edge_crystal)
        edge_index = self.edge_index[:, edges] + first  # (2, E)
        positions, cell = self.positions[atoms], self.cell[rows]
        edge_shift = self.edge_shift[edges]
        vectors = _edge_vectors(positions, cell, edge_index, edge_shift, edge_crystal)
        return CrystalBatch(
            atomic_numbers=self.atomic_numbers[atoms].long(),
            positions=positions.to(dtype),
            cell=cell.to(dtype),
            pbc=self.pbc[rows],
            n_atoms=n_atoms,
            edge_index=edge_index,
            edge_shift=edge_shift,
            edge_vectors=vectors.to(dtype),
            batch=torch.repeat_interleave(crystal, n_atoms, output_size=counts[0]),
        )

    def _places(self, chosen: np.ndarray) -> tuple[Any, Any, Any]:
        """Give what picks crystals, their atoms and their edges: slices where they lie together."""
        if len(chosen) and (np.diff(chosen) == 1).all():
            start, stop = int(chosen[0]), int(chosen[-1]) + 1
            spans = []
            for counts in (self.atom_counts, self.edge_counts):
                before = int(counts[:start].sum())
                spans.append(slice(before, before + int(counts[start:stop].sum())))
            return slice(start, stop), spans[0], spans[1]
        rows = torch.from_numpy(chosen).to(self.device)
        atoms = self._rows(self._atom_offsets, self.atom_counts, rows, chosen)
        edges = self._rows(self._edge_offsets, self.edge_counts, rows, chosen)
        return rows, atoms, edges

    def to(self, device: torch.device | str) -> "CrystalGraphs":
        """Copy the graphs to a device; the same object where they are there already.

        Parameters
        ----------
        device : torch.device or str
            Where to.

        Returns
        -------
        CrystalGraphs
            The graphs on that device.
        """
        if torch.device(device) == self.device:
            return self
        tensors = {name: getattr(self, name).to(device) for name in FIELDS}
        return CrystalGraphs(**tensors, settings=self.settings)

    def __getstate__(self) -> dict[str, Any]:
        # NumPy arrays, so that joblib memory-maps them and a GPU is not needed to load them.
        arrays = {name: getattr(self, name).cpu().numpy() for name in FIELDS}
        return {**arrays, "settings": self.settings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.settings = state["settings"]
        for name in FIELDS:
            setattr(self, name, share_memory(state[name]))
        self._finish()

    def save(self, path: str | Path) -> None:
        """Write the graphs to one safetensors file.

        Parameters
        ----------
        path : str or Path
            The file to write.
        """
        tensors = {name: getattr(self, name) for name in FIELDS}
        metadata = {"settings": self.settings.to_dict()}
        save_tensors(path, tensors, kind="CrystalGraphs", metadata=metadata)

    @classmethod
    def load(cls, path: str | Path) -> "CrystalGraphs":
        """Read graphs that :meth:`save` wrote, memory-mapped.

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
            If the file is truncated or holds something else.
        """
        tensors, metadata = load_tensors(path, kind="CrystalGraphs")
        return cls(**tensors, settings=GraphSettings(**metadata["settings"]))

    @classmethod
    def concatenate(cls, parts: Sequence["CrystalGraphs"]) -> "CrystalGraphs":
        """Join graphs that were built with the same settings.

        Parameters
        ----------
        parts : sequence of CrystalGraphs
            What to join, in order.

        Returns
        -------
        CrystalGraphs
            All crystals.

        Raises
        ------
        ValueError
            If settings differ, or there is nothing to join.
        """
        if not parts:
            raise ValueError("parts is empty: there is nothing to concatenate.")
        for part in parts[1:]:
            if difference := part.settings.difference(parts[0].settings):
                raise ValueError(f"Graphs of different settings cannot be joined: {difference}.")
        tensors = {
            name: torch.cat([getattr(part, name) for part in parts], dim=int(name == "edge_index"))
            for name in FIELDS
        }
        return cls(**tensors, settings=parts[0].settings)

    def to_crystals(self) -> Crystals:
        """Return the crystals without their edges.

        Returns
        -------
        Crystals
            On the CPU, where they share the memory of these graphs.
        """
        names = ("atomic_numbers", "positions", "cell", "pbc", "n_atoms")
        arrays = {name: getattr(self, name).cpu().numpy() for name in names}
        return Crystals._from_checked(arrays, ids=None, info={}, index=None)

    def to_data_list(self) -> "list[Data]":
        """Give the crystals as torch-geometric ``Data`` objects.

        Returns
        -------
        list of torch_geometric.data.Data
            With ``z``, ``pos`` (Å), ``cell`` (1, 3, 3), ``pbc`` (1, 3), ``edge_index`` (int64)
            and ``edge_shift``.
        """
        from torch_geometric.data import Data

        atoms, edges = self._atom_offsets.tolist(), self._edge_offsets.tolist()
        return [
            Data(
                z=self.atomic_numbers[atoms[i] : atoms[i + 1]].long(),
                pos=self.positions[atoms[i] : atoms[i + 1]],
                cell=self.cell[i : i + 1],
                pbc=self.pbc[i : i + 1],
                edge_index=self.edge_index[:, edges[i] : edges[i + 1]].long(),
                edge_shift=self.edge_shift[edges[i] : edges[i + 1]],
            )
            for i in range(len(self))
        ]

    @classmethod
    def from_data_list(
        cls, data_list: "Sequence[Data]", settings: GraphSettings
    ) -> "CrystalGraphs":
        """Pack torch-geometric ``Data`` objects that have the fields of :meth:`to_data_list`.

        Parameters
        ----------
        data_list : sequence of torch_geometric.data.Data
            One object a crystal; edges run from source (row 0) to target (row 1).
        settings : GraphSettings
            How their edges were chosen.

        Returns
        -------
        CrystalGraphs
            The graphs, edges sorted by target.

        Raises
        ------
        ValueError
            If there is no object, or one lacks a field or has a shift beyond -128 to 127.
        """
        if not data_list:
            raise ValueError("data_list is empty: there is nothing to pack.")
        for index, data in enumerate(data_list):
            missing = {"z", "pos", "cell", "pbc", "edge_index", "edge_shift"} - set(data.keys())
            if missing:
                raise ValueError(f"data_list[{index}] has no {sorted(missing)}.")
            _check_shift_range(f"data_list[{index}].edge_shift", data.edge_shift)
            _check_data(index, data)
        orders = [torch.argsort(data.edge_index[1], stable=True) for data in data_list]
        pairs = list(zip(data_list, orders, strict=True))
        return cls(
            atomic_numbers=torch.cat([data.z for data in data_list]),
            positions=torch.cat([data.pos for data in data_list]),
            cell=torch.cat([data.cell.reshape(1, 3, 3) for data in data_list]),
            pbc=torch.cat([data.pbc.reshape(1, 3) for data in data_list]),
            n_atoms=torch.tensor([len(data.z) for data in data_list]),
            edge_index=torch.cat([data.edge_index[:, order] for data, order in pairs], dim=1),
            edge_shift=torch.cat([data.edge_shift[order] for data, order in pairs]),
            n_edges=torch.tensor([data.edge_index.shape[1] for data in data_list]),
            settings=settings,
        )


def _check_data(index: int, data: "Data") -> None:
    n_atoms = len(data.z)
    if not (data.z >= 1).all() or data.z.is_floating_point():
        raise ValueError(f"data_list[{index}].z must hold atomic numbers, ints from 1.")
    for name in ("pos", "cell"):
        if not torch.isfinite(getattr(data, name)).all():
            raise ValueError(f"data_list[{index}].{name} holds NaN or infinity.")
    edges = data.edge_index
    if edges.numel() and not (int(edges.min()) >= 0 and int(edges.max()) < n_atoms):
        raise ValueError(
            f"data_list[{index}].edge_index runs from {int(edges.min())} to {int(edges.max())}; "
            f"the crystal has atoms 0 to {n_atoms - 1}."
        )


def _offsets(counts: Tensor) -> Tensor:
    return torch.nn.functional.pad(counts.cumsum(0), (1, 0))


def _check_shift_range(name: str, shift: Tensor) -> None:
    limits = torch.iinfo(DTYPES["edge_shift"])
    bad = shift[(shift < limits.min) | (shift > limits.max)]
    if len(bad):
        raise ValueError(
            f"{name} holds {bad[0].item()}; shifts are int8, {limits.min} to {limits.max}. Wrap "
            "the atoms into the cell."
        )


def _edge_vectors(
    positions: Tensor, cell: Tensor, edge_index: Tensor, edge_shift: Tensor, edge_crystal: Tensor
) -> Tensor:
    vectors = positions.index_select(0, edge_index[0])  # (E, 3)
    vectors -= positions.index_select(0, edge_index[1])
    rows = cell.flatten(1).index_select(0, edge_crystal).view(-1, 3, 3)
    shift = edge_shift.to(cell.dtype)
    for axis in range(3):
        vectors += shift[:, axis, None] * rows[:, axis]
    return vectors
