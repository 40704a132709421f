"""From many crystals to one batch: gathers of rows, without a loop over crystals."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ._batch import CrystalBatch
from ._gather import take_rows

if TYPE_CHECKING:
    from ._crystal_graphs import CrystalGraphs

__all__ = ["assemble_batch"]


def assemble_batch(
    graphs: "CrystalGraphs", rows: slice | np.ndarray, dtype: torch.dtype
) -> CrystalBatch:
    """Return the crystals ``rows`` as one batch on the device of the graphs."""
    # 1. the rows of these crystals in the flat tensors of crystals, atoms and edges
    crystals = graphs._crystal_picker(rows)
    atoms, edges = graphs._atom_rows.picker(rows), graphs._edge_rows.picker(rows)
    n_atoms, n_edges = graphs.n_atoms[crystals], graphs.n_edges[crystals]
    # 2. the crystal of each atom and edge; output_size spares a GPU the wait for the sum
    number = torch.arange(len(n_atoms), device=graphs.device)
    edge_crystal = torch.repeat_interleave(
        number, n_edges, output_size=graphs._edge_rows.total(rows)
    )
    atom_crystal = torch.repeat_interleave(
        number, n_atoms, output_size=graphs._atom_rows.total(rows)
    )
    # 3. edges count atoms from the first one of the batch instead of that of their crystal
    first = (n_atoms.cumsum(0) - n_atoms).index_select(0, edge_crystal)
    edge_index = take_rows(graphs.edge_index, 1, edges) + first  # (2, E)
    # 4. vectors in float64: differences of coordinates lose digits in single precision
    positions, cell = take_rows(graphs.positions, 0, atoms), graphs.cell[crystals]
    edge_shift = take_rows(graphs.edge_shift, 0, edges)
    vectors = _edge_vectors(positions, cell, edge_index, edge_shift, edge_crystal)
    batch = CrystalBatch(
        atomic_numbers=take_rows(graphs.atomic_numbers, 0, atoms).long(),
        positions=positions.to(dtype),
        cell=cell.to(dtype),
        pbc=graphs.pbc[crystals],
        n_atoms=n_atoms,
        edge_index=edge_index,
        edge_shift=edge_shift,
        edge_vectors=vectors.to(dtype),
        batch=atom_crystal,
    )
    batch.remember_pairs(graphs._mirrored, rows)
    return batch


def _edge_vectors(
    positions: Tensor, cell: Tensor, edge_index: Tensor, edge_shift: Tensor, edge_crystal: Tensor
) -> Tensor:
    """Return ``r[source] + shift @ cell - r[target]`` of each edge, (E, 3)."""
    vectors = positions.index_select(0, edge_index[0])  # (E, 3)
    vectors -= positions.index_select(0, edge_index[1])
    rows = cell.flatten(1).index_select(0, edge_crystal).view(-1, 3, 3)
    shift = edge_shift.to(cell.dtype)
    # In place: this is the largest tensor of a batch.
    for axis in range(3):
        vectors += shift[:, axis, None] * rows[:, axis]
    return vectors
