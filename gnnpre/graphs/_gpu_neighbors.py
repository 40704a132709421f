"""Neighbour lists on a GPU: many crystals at a time, by nvalchemi-toolkit-ops."""

import importlib.util
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ._crystals import Crystals
from ._indexing import flat_indices, offsets_from_counts
from ._search import CUTOFF_TOLERANCE, NeighborPairs
from ._settings import GraphSettings

__all__ = ["check_installed", "search_on_device"]

# The one that works for cells of any size and shape; its work grows with the number of atoms.
METHOD = "cell_list_atom_centric"
# Places for neighbours in one search, atoms times places an atom; 16 bytes each on the device.
MATRIX_SIZE = 2**23
# An atom gets so many times the places that it needs on average, and some.
ROOM, MORE_ROOM = 1.3, 8
# How thick (Å) the sheet of atoms is that lie in one plane.
LAYER = 3.0
# The search is for distances below a radius: this much (Å) further than any that is kept.
MARGIN = 1e-6


def check_installed() -> None:
    """Refuse to go on without nvalchemi-toolkit-ops, which takes seconds to import."""
    if importlib.util.find_spec("nvalchemiops") is None:
        raise ImportError(
            "A neighbour search on a GPU needs nvalchemi-toolkit-ops: "
            'pip install "gnnpre[gpu]", or leave device="cpu".'
        )


def search_on_device(
    crystals: Crystals, settings: GraphSettings, device: torch.device
) -> NeighborPairs:
    """Find all pairs within the cutoff, in an order that is the same every time.

    Crystals with about as many neighbours an atom are searched together: each atom of one search
    has the same number of places for neighbours.
    """
    room = _estimate_neighbors(crystals, settings.cutoff)
    order = np.argsort(room, kind="stable")
    found = [
        pairs
        for part, places in _cut(crystals[order], room[order])
        for pairs in _search(part, places, settings.cutoff, device)
    ]
    return _join(found, order)


def _estimate_neighbors(crystals: Crystals, cutoff: float) -> np.ndarray:
    """Estimate from its density how many neighbours an atom of each crystal may have: (n,)."""
    inverse = np.linalg.inv(crystals.cell)
    rows = np.repeat(np.arange(len(crystals)), crystals.n_atoms)
    fractional = np.einsum("ni,nij->nj", crystals.positions, inverse[rows])
    starts = crystals.offsets[:-1]
    extent = np.maximum.reduceat(fractional, starts) - np.minimum.reduceat(fractional, starts)
    extent += LAYER * np.linalg.norm(inverse, axis=1)
    # The part of the cell with atoms in it, without the vacuum of a slab, say.
    extent = np.where(crystals.pbc, np.minimum(extent, 1.0), extent)
    volume = np.abs(np.linalg.det(crystals.cell)) * extent.prod(axis=1)
    mean = 4.0 / 3.0 * np.pi * cutoff**3 * crystals.n_atoms / volume
    mean = np.where(crystals.pbc.any(axis=1), mean, np.minimum(mean, crystals.n_atoms))
    return np.ceil(ROOM * mean + MORE_ROOM).astype(np.int64)


def _cut(crystals: Crystals, room: np.ndarray) -> Iterator[tuple[Crystals, int]]:
    """Cut into parts for one search each; with each, the places for neighbours of an atom."""
    start, atoms, places = 0, 0, 0
    for row in range(len(crystals)):
        count, wanted = int(crystals.n_atoms[row]), int(room[row])
        if atoms and (atoms + count) * max(places, wanted) > MATRIX_SIZE:
            yield crystals[start:row], places
            start, atoms, places = row, 0, 0
        atoms, places = atoms + count, max(places, wanted)
    yield crystals[start:], places


def _search(
    crystals: Crystals, places: int, cutoff: float, device: torch.device
) -> list[NeighborPairs]:
    """Search with so many places an atom; where that is too few, again with what is needed."""
    from nvalchemiops.torch.neighbors import NeighborOverflowError

    try:
        return [_find_pairs(crystals, places, cutoff, device)]
    except NeighborOverflowError as error:
        needed = np.full(len(crystals), error.num_neighbors)
    return [_find_pairs(part, most, cutoff, device) for part, most in _cut(crystals, needed)]


def _find_pairs(
    crystals: Crystals, places: int, cutoff: float, device: torch.device
) -> NeighborPairs:
    from nvalchemiops.torch.neighbors import neighbor_list

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
        max_neighbors=places,
    )
    target, source = index.long()
    vectors = torch.einsum("ei,eij->ej", shift.double(), cell[crystal[target]])
    squared = (vectors + positions[source] - positions[target]).square().sum(dim=1)
    rows = torch.nonzero(squared <= largest).squeeze(1)
    rows = rows[_sorting(target[rows], source[rows], shift[rows].long())]
    target, source, shift, squared = target[rows], source[rows], shift[rows], squared[rows]
    first = (n_atoms.cumsum(0) - n_atoms)[crystal[target]]
    return NeighborPairs(
        index=torch.stack([source - first, target - first]).int().cpu().numpy(),
        shift=shift.cpu().numpy(),
        distance=squared.sqrt().cpu().numpy(),
        n_pairs=torch.bincount(crystal[target], minlength=len(crystals)).cpu().numpy(),
    )


def _sorting(target: Tensor, source: Tensor, shift: Tensor) -> Tensor:
    """Sort by target, source and shift: threads of a GPU find neighbours in any order."""
    if len(target) == 0:
        return target
    # Shifts as digits of one number, and pairs of atoms as those of another.
    base = int(shift.max() - shift.min()) + 1
    order = torch.argsort((shift[:, 0] * base + shift[:, 1]) * base + shift[:, 2])
    pair = target * (int(source.max()) + 1) + source
    return order[torch.argsort(pair[order], stable=True)]


def _join(found: list[NeighborPairs], order: np.ndarray) -> NeighborPairs:
    """Put the pairs of all searches together, crystal ``order[i]`` being the i-th searched."""
    n_pairs = np.concatenate([pairs.n_pairs for pairs in found])
    place = np.argsort(order)
    rows = flat_indices(offsets_from_counts(n_pairs), place)
    index = np.concatenate([pairs.index for pairs in found], axis=1)
    shift = np.concatenate([pairs.shift for pairs in found])
    distance = np.concatenate([pairs.distance for pairs in found])
    return NeighborPairs(
        index.take(rows, axis=1), shift.take(rows, axis=0), distance.take(rows), n_pairs[place]
    )
