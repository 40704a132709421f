"""A batch of crystals as tensors: the input of a backbone."""

from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from gnnpre._exporting import lazy_property

from ._pairs import EdgePairs, MirroredCrystals, find_pairs

__all__ = ["CrystalBatch"]


@dataclass(frozen=True)
class CrystalBatch:
    """A batch of n crystals with N atoms and E edges, ready for a backbone.

    Positions and strain reach a backbone through ``edge_vectors`` alone: one gradient with respect
    to it yields forces and stress.

    Parameters
    ----------
    atomic_numbers : Tensor of shape (N,)
        Atomic numbers, int64.
    positions : Tensor of shape (N, 3)
        Positions in Å.
    cell : Tensor of shape (n, 3, 3)
        Cell vectors in Å, as rows.
    pbc : Tensor of shape (n, 3)
        Periodic directions.
    n_atoms : Tensor of shape (n,)
        Atoms of each crystal.
    edge_index : Tensor of shape (2, E)
        Source (row 0) and target (row 1) of each edge, int64; targets do not decrease.
    edge_shift : Tensor of shape (E, 3)
        Cells between the source and its image, int8.
    edge_vectors : Tensor of shape (E, 3)
        ``r[source] + shift @ cell - r[target]`` in Å.
    batch : Tensor of shape (N,)
        Crystal of each atom.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from gnnpre.graphs import StructureToGraph
    >>> copper = Structure(Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]])
    >>> batch = StructureToGraph(cutoff=4.0).transform([copper, copper]).batch([1, 0])
    >>> len(batch), batch.edge_vectors.shape
    (2, torch.Size([12, 3]))
    >>> batch.with_edge_vectors(1.1 * batch.edge_vectors).distances[0]
    tensor(3.9600)
    """

    atomic_numbers: Tensor
    positions: Tensor
    cell: Tensor
    pbc: Tensor
    n_atoms: Tensor
    edge_index: Tensor
    edge_shift: Tensor
    edge_vectors: Tensor
    batch: Tensor

    def __post_init__(self) -> None:
        # Shapes and types alone: to look at values would make a GPU wait in every step.
        n, n_atoms, n_edges = len(self.n_atoms), len(self.atomic_numbers), len(self.edge_vectors)
        expected = {
            "atomic_numbers": (n_atoms,),
            "positions": (n_atoms, 3),
            "cell": (n, 3, 3),
            "pbc": (n, 3),
            "n_atoms": (n,),
            "edge_index": (2, n_edges),
            "edge_shift": (n_edges, 3),
            "edge_vectors": (n_edges, 3),
            "batch": (n_atoms,),
        }
        for name, shape in expected.items():
            tensor = getattr(self, name)
            if tensor.shape != shape:
                raise ValueError(
                    f"{name} has shape {tuple(tensor.shape)}; expected {shape} for {n} crystals "
                    f"with {n_atoms} atoms and {n_edges} edges."
                )
        for name in ("atomic_numbers", "edge_index", "batch"):
            if getattr(self, name).dtype != torch.int64:
                raise ValueError(f"{name} has dtype {getattr(self, name).dtype}; expected int64.")

    def __len__(self) -> int:
        return len(self.n_atoms)

    @property
    def source(self) -> Tensor:
        """Atoms that send, ``(E,)``."""
        return self.edge_index[0]

    @property
    def target(self) -> Tensor:
        """Atoms that receive, ``(E,)``."""
        return self.edge_index[1]

    @lazy_property
    def distances(self) -> Tensor:
        """Edge lengths in Å, ``(E,)``."""
        return self.edge_vectors.norm(dim=1)

    @lazy_property
    def pairs(self) -> EdgePairs:
        """Edges in pairs of opposite edges, so that a backbone computes each pair once.

        Edge vectors of a pair have to be opposite too. The gradient of an energy then lies on one
        edge of each pair, which leaves forces and stress unchanged.
        """
        find = self.__dict__.get("_find_pairs", find_pairs)
        pairs: EdgePairs = find(self.edge_index, self.edge_shift)
        return pairs

    def remember_pairs(self, mirrored: MirroredCrystals, rows: slice | np.ndarray) -> None:
        """Skip the proof that edges come in pairs, for crystals of earlier batches.

        Parameters
        ----------
        mirrored : MirroredCrystals
            Crystals of the data set for which it is known.
        rows : slice or ndarray
            Crystals of this batch.
        """
        self.__dict__["_find_pairs"] = partial(mirrored.find_pairs, rows)

    @property
    def pair_vectors(self) -> Tensor:
        """Edge vectors of one edge of each pair in Å, ``(P, 3)``."""
        pairs = self.pairs
        # Single edges are all of the edges, in order: no need to copy them, nor their gradients.
        if len(pairs.target) == 1:
            return self.edge_vectors
        return self.edge_vectors.index_select(0, pairs.edges)

    @lazy_property
    def volume(self) -> Tensor:
        """Cell volumes in Å^3, ``(n,)``; NaN where a direction is not periodic."""
        # Not torch.linalg.det: factorising many small matrices takes a GPU far longer.
        first, second, third = self.cell.unbind(1)  # (n, 3) each
        volume = (first * torch.linalg.cross(second, third)).sum(1).abs()  # (n,)
        return torch.where(self.pbc.all(dim=1), volume, torch.nan)

    def with_edge_vectors(self, edge_vectors: Tensor) -> "CrystalBatch":
        """Return the same batch with different edge vectors.

        Parameters
        ----------
        edge_vectors : Tensor of shape (E, 3)
            New edge vectors in Å.

        Returns
        -------
        CrystalBatch
            The batch; it shares all other tensors with this one.
        """
        return self._replace(edge_vectors=edge_vectors)

    def with_atomic_numbers(self, atomic_numbers: Tensor) -> "CrystalBatch":
        """Return the same batch with other elements.

        Parameters
        ----------
        atomic_numbers : Tensor of shape (N,)
            New atomic numbers.

        Returns
        -------
        CrystalBatch
            The rest is shared with this batch.
        """
        return self._replace(atomic_numbers=atomic_numbers)

    def displaced(self, displacements: Tensor) -> "CrystalBatch":
        """Return the batch with moved atoms and the same edges.

        Parameters
        ----------
        displacements : Tensor of shape (N, 3)
            Displacement of each atom in Å.

        Returns
        -------
        CrystalBatch
            The batch with moved atoms; its edges are those from before the move.
        """
        change = displacements[self.source] - displacements[self.target]  # (E, 3)
        return self._replace(
            positions=self.positions + displacements,
            edge_vectors=self.edge_vectors + change,
        )

    def strained(self, strain: Tensor) -> "CrystalBatch":
        """Deform crystals homogeneously, and keep the edges.

        Parameters
        ----------
        strain : Tensor of shape (n, 3, 3)
            Strain of each crystal: a vector v (a row) becomes ``v (1 + strain)``.

        Returns
        -------
        CrystalBatch
            The batch with deformed cells, positions and edge vectors.
        """
        gradient = torch.eye(3, dtype=strain.dtype, device=strain.device) + strain
        of_atoms = gradient[self.batch]  # (N, 3, 3)
        # Both ends of an edge belong to one crystal.
        of_edges = of_atoms[self.target]  # (E, 3, 3)
        return self._replace(
            cell=self.cell @ gradient,
            positions=(self.positions[:, None] @ of_atoms)[:, 0],
            edge_vectors=(self.edge_vectors[:, None] @ of_edges)[:, 0],
        )

    def select(self, chosen: Tensor) -> "CrystalBatch":
        """Return some crystals of the batch, in their order.

        Parameters
        ----------
        chosen : Tensor of shape (n,)
            Mask of the crystals.

        Returns
        -------
        CrystalBatch
            A batch of these crystals alone.
        """
        atoms = chosen[self.batch]  # (N,)
        edges = atoms[self.target]  # (E,)
        new_atom, new_crystal = atoms.cumsum(0) - 1, chosen.cumsum(0) - 1
        return CrystalBatch(
            atomic_numbers=self.atomic_numbers[atoms],
            positions=self.positions[atoms],
            cell=self.cell[chosen],
            pbc=self.pbc[chosen],
            n_atoms=self.n_atoms[chosen],
            edge_index=new_atom[self.edge_index[:, edges]],
            edge_shift=self.edge_shift[edges],
            edge_vectors=self.edge_vectors[edges],
            batch=new_crystal[self.batch[atoms]],
        )

    def _replace(self, **changes: Tensor) -> "CrystalBatch":
        changed = replace(self, **changes)
        # cached_property keeps its value in __dict__.
        for name in ("pairs", "_find_pairs"):  # the edges are the same ones
            if name in self.__dict__:
                changed.__dict__[name] = self.__dict__[name]
        return changed

    def to(self, device: torch.device | str) -> "CrystalBatch":
        """Copy the batch to a device.

        Parameters
        ----------
        device : torch.device or str
            The device.

        Returns
        -------
        CrystalBatch
            The copy.
        """
        # The fields of this class: a subclass may have others.
        names = [field.name for field in fields(CrystalBatch)]
        return CrystalBatch(**{name: getattr(self, name).to(device) for name in names})
