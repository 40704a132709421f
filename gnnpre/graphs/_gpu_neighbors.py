"""Neighbour lists on a GPU: many crystals at a time, by nvalchemi-toolkit-ops."""

import importlib.util
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ._crystals import Crystals
from ._indexing import flat_indices, offsets_from_counts
from ._search import CUTOFF_TOLERANCE, SHORTEST_DISTANCE, NeighborPairs
from ._settings import GraphSettings

__all__ = ["check_installed", "search_on_device"]

# The method for cells of any size and shape; its work grows linearly with the number of atoms.
METHOD = "cell_list_atom_centric"
# Slots for neighbours in one search, atoms times slots per atom; 16 bytes each on the device.
MATRIX_SIZE = 2**23
# An atom gets this many times the slots that it needs on average, and some more.
SLOT_FACTOR, EXTRA_SLOTS = 1.3, 8
# Thickness (Å) of a layer of atoms that lie in one plane.
LAYER = 3.0
# The search takes distances below a radius, which exceeds the cutoff by this much (Å).
MARGIN = 1e-6


def check_installed() -> None:
    """Check that nvalchemi-toolkit-ops is installed, without importing it, which takes seconds."""
    if importlib.util.find_spec("nvalchemiops") is None:
        raise ImportError(
            "A neighbour search on a GPU needs nvalchemi-toolkit-ops: "
            'pip install "gnnpre[gpu]", or leave device="cpu".'
        )


def search_on_device(
    crystals: Crystals, settings: GraphSettings, device: torch.device
) -> NeighborPairs:
    """Search all pairs within the cutoff, in crystals with complete cells, in a fixed order.

    Crystals with about the same number of neighbours per atom are searched together: each atom of
    a search has the same number of slots for neighbours.
    """
    slots = _estimate_neighbors(crystals, settings.cutoff)
    order = np.argsort(slots, kind="stable")
    results = [
        pairs
        for piece, n_slots in _cut(crystals[order], slots[order])
        for pairs in _search(piece, n_slots, settings.cutoff, device)
    ]
    return _join(results, order)


def _estimate_neighbors(crystals: Crystals, cutoff: float) -> np.ndarray:
    """Estimate from its density how many neighbours an atom of each crystal may have: (n,)."""
    inverse = np.linalg.inv(crystals.cell)
    rows = np.repeat(np.arange(len(crystals)), crystals.n_atoms)
    fractional = np.einsum("ni,nij->nj", crystals.positions, inverse[rows])
    starts = crystals.offsets[:-1]
    extent = np.maximum.reduceat(fractional, starts) - np.minimum.reduceat(fractional, starts)
    extent += LAYER * np.linalg.norm(inverse, axis=1)
    # The fraction of the cell that holds atoms, without the vacuum of a slab for example.
    extent = np.where(crystals.pbc, np.minimum(extent, 1.0), extent)
    volume = np.abs(np.linalg.det(crystals.cell)) * extent.prod(axis=1)
    mean = 4.0 / 3.0 * np.pi * cutoff**3 * crystals.n_atoms / volume
    mean = np.where(crystals.pbc.any(axis=1), mean, np.minimum(mean, crystals.n_atoms))
    return np.ceil(SLOT_FACTOR * mean + EXTRA_SLOTS).astype(np.int64)


def _cut(crystals: Crystals, slots: np.ndarray) -> Iterator[tuple[Crystals, int]]:
    """Cut into pieces for one search each, with the number of slots of an atom."""
    start, atoms, n_slots = 0, 0, 0
    for row in range(len(crystals)):
        count, needed = int(crystals.n_atoms[row]), int(slots[row])
        if atoms and (atoms + count) * max(n_slots, needed) > MATRIX_SIZE:
            yield crystals[start:row], n_slots
            start, atoms, n_slots = row, 0, 0
        atoms, n_slots = atoms + count, max(n_slots, needed)
    yield crystals[start:], n_slots


def _search(
    crystals: Crystals, n_slots: int, cutoff: float, device: torch.device
) -> list[NeighborPairs]:
    """Search with a number of slots per atom; if those are too few, again with enough of them."""
    from nvalchemiops.torch.neighbors import NeighborOverflowError

    try:
        return [_find_pairs(crystals, n_slots, cutoff, device)]
    except NeighborOverflowError as error:
        needed = np.full(len(crystals), error.num_neighbors)
    return [_find_pairs(piece, most, cutoff, device) for piece, most in _cut(crystals, needed)]


def _find_pairs(
    crystals: Crystals, n_slots: int, cutoff: float, device: torch.device
) -> NeighborPairs:
    from nvalchemiops.torch.neighbors import neighbor_list

    # 1. the search, on the device
    positions, cell, pbc, n_atoms = (
        torch.from_numpy(np.ascontiguousarray(array)).to(device)
        for array in (crystals.positions, crystals.cell, crystals.pbc, crystals.n_atoms)
    )
    crystal = torch.repeat_interleave(n_atoms)
    largest = cutoff**2 + CUTOFF_TOLERANCE
    index, _, shift = neighbor_list(
        positions,
        largest**0.5 + MARGIN,
        cell=cell,
        pbc=pbc,
        batch_idx=crystal.int(),
        return_neighbor_list=True,
        method=METHOD,
        max_neighbors=n_slots,
    )
    # 2. distances in float64, and the pairs within the cutoff in a fixed order
    target, source = index.long()
    vectors = torch.einsum("ei,eij->ej", shift.double(), cell[crystal[target]])
    squared = (vectors + positions[source] - positions[target]).square().sum(dim=1)
    rows = torch.nonzero(squared <= largest).squeeze(1)
    rows = rows[_sorting(target[rows], source[rows], shift[rows].long())]
    target, source, shift, squared = target[rows], source[rows], shift[rows], squared[rows]
    # 3. atoms counted from the first of their crystal
    first = (n_atoms.cumsum(0) - n_atoms)[crystal[target]]
    return NeighborPairs(
        index=torch.stack([source - first, target - first]).int().cpu().numpy(),
        shift=shift.cpu().numpy(),
        distance=squared.sqrt().cpu().numpy(),
        n_pairs=torch.bincount(crystal[target], minlength=len(crystals)).cpu().numpy(),
    )


def _sorting(target: Tensor, source: Tensor, shift: Tensor) -> Tensor:
    """Return the order by target, source and shift: threads of a GPU return pairs in any order."""
    if len(target) == 0:
        return target
    # Shifts as digits of one number, and pairs of atoms as those of another.
    base = int(shift.max() - shift.min()) + 1
    order = torch.argsort((shift[:, 0] * base + shift[:, 1]) * base + shift[:, 2])
    pair = target * (int(source.max()) + 1) + source
    return order[torch.argsort(pair[order], stable=True)]


def _join(results: list[NeighborPairs], order: np.ndarray) -> NeighborPairs:
    """Join the pairs of all searches; crystal ``order[i]`` was the i-th in them."""
    n_pairs = np.concatenate([pairs.n_pairs for pairs in results])
    position = np.argsort(order)
    rows = flat_indices(offsets_from_counts(n_pairs), position)
    index = np.concatenate([pairs.index for pairs in results], axis=1)
    shift = np.concatenate([pairs.shift for pairs in results])
    distance = np.concatenate([pairs.distance for pairs in results]).take(rows)
    near = np.flatnonzero(distance < SHORTEST_DISTANCE)
    return NeighborPairs(
        index.take(rows, axis=1),
        shift.take(rows, axis=0),
        distance,
        n_pairs[position],
        int(near[0]) if len(near) else None,
    )
