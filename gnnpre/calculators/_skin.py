"""Neighbour lists that stay valid while atoms and cells move a little."""

from dataclasses import dataclass

import numpy as np
import torch

from gnnpre.graphs import CrystalBatch, CrystalGraphs, Crystals, GraphSettings, build_graphs

__all__ = ["SkinGraphs"]

# A cell so far from the one of the search has another set of images: search anew.
LARGEST_STRAIN = 0.2


@dataclass
class _List:
    """Edges within cutoff + skin, and the crystals that they were searched for."""

    crystals: Crystals
    batch: CrystalBatch  # float64
    reach: float


class SkinGraphs:
    """Batches of crystals that move, with a neighbour search only when one is needed.

    Edges are searched within ``cutoff + skin``. They hold every edge within the cutoff as long as

    ``s * (cutoff + skin) - 2 * u >= cutoff``

    for each crystal, where ``s`` is the smallest singular value of the deformation of its cell
    since the search, and ``u`` the longest displacement beyond that deformation: an edge that
    was longer than ``cutoff + skin`` is still longer than the cutoff then.

    Parameters
    ----------
    settings : GraphSettings
        The cutoff, and how neighbours are cut. With ``max_neighbors`` each batch is searched.
    skin : float
        Additional reach in Å.
    """

    def __init__(self, settings: GraphSettings, skin: float) -> None:
        self.settings = settings
        self.skin = skin if settings.max_neighbors is None else 0.0
        self.n_searches = 0
        self._list: _List | None = None

    def batch(self, crystals: Crystals, dtype: torch.dtype) -> CrystalBatch:
        """Return the crystals with every edge within the cutoff, and no other.

        Parameters
        ----------
        crystals : Crystals
            The crystals, positions continuous from one call to the next (not wrapped).
        dtype : torch.dtype
            Precision.

        Returns
        -------
        CrystalBatch
            The batch.
        """
        if self.settings.max_neighbors is not None:
            return self._search(crystals, self.settings).batch(dtype=dtype)
        if self._list is None or not self._still_valid(self._list, crystals):
            reach = self.settings.cutoff + self.skin
            graphs = self._search(crystals, GraphSettings(cutoff=reach))
            self._list = _List(crystals, graphs.batch(dtype=torch.float64), reach)
        return _within(self._list.batch, crystals, self.settings.cutoff, dtype)

    def _search(self, crystals: Crystals, settings: GraphSettings) -> CrystalGraphs:
        self.n_searches += 1
        return build_graphs(crystals, settings)

    def _still_valid(self, neighbors: _List, crystals: Crystals) -> bool:
        before = neighbors.crystals
        same = (
            np.array_equal(before.n_atoms, crystals.n_atoms)
            and np.array_equal(before.atomic_numbers, crystals.atomic_numbers)
            and np.array_equal(before.pbc, crystals.pbc)
        )
        if not same:
            return False
        deformation = _deformations(before.cell, crystals.cell)  # (n, 3, 3)
        if np.abs(deformation - np.eye(3)).max() > LARGEST_STRAIN:
            return False
        crystal = np.repeat(np.arange(len(crystals)), crystals.n_atoms)
        carried = np.einsum("na,nab->nb", before.positions, deformation[crystal])
        moved = np.linalg.norm(crystals.positions - carried, axis=1)  # (N,)
        farthest = np.maximum.reduceat(moved, crystals.offsets[:-1])
        smallest = np.linalg.svd(deformation, compute_uv=False)[:, -1]
        return bool((smallest * neighbors.reach - 2 * farthest >= self.settings.cutoff).all())


def _deformations(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return F with ``after = before @ F`` for each cell, ``(n, 3, 3)``; 1 where equal."""
    deformations = np.tile(np.eye(3), (len(before), 1, 1))
    # Cells of molecules may be zero, and then stay so.
    changed = np.flatnonzero((before != after).any(axis=(1, 2)))
    for row in changed:
        deformations[row] = np.linalg.lstsq(before[row], after[row], rcond=None)[0]
    return deformations


def _within(
    listed: CrystalBatch, crystals: Crystals, cutoff: float, dtype: torch.dtype
) -> CrystalBatch:
    """Return the batch with the new positions and cells, and only the edges within the cutoff."""
    positions, cell = torch.from_numpy(crystals.positions), torch.from_numpy(crystals.cell)
    source, target = listed.edge_index
    vectors = positions[source] - positions[target]  # (E, 3)
    images = listed.edge_shift.to(torch.float64)  # (E, 3)
    if len(crystals) == 1:
        vectors += images @ cell[0]
    else:
        vectors += torch.einsum("ea,eab->eb", images, cell[listed.batch[target]])
    (near,) = torch.nonzero(vectors.square().sum(dim=1) <= cutoff**2, as_tuple=True)
    return CrystalBatch(
        atomic_numbers=listed.atomic_numbers,
        positions=positions.to(dtype),
        cell=cell.to(dtype),
        pbc=listed.pbc,
        n_atoms=listed.n_atoms,
        edge_index=listed.edge_index[:, near],
        edge_shift=listed.edge_shift[near],
        edge_vectors=vectors[near].to(dtype),
        batch=listed.batch,
    )
