"""torch-geometric ``Data``, one object a crystal, as the papers' code has it."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch_geometric.data import Data

from gnnpre.graphs import CrystalGraphs
from gnnpre.objectives import Targets

if TYPE_CHECKING:
    from pymatgen.core import Structure


def make_data(graphs: CrystalGraphs, targets: Targets | None, dtype: torch.dtype) -> list[Data]:
    """Turn packed graphs into ``Data`` with the same edges, and with their targets.

    Targets of crystals get a leading axis of length one, along which batches join them.
    """
    data_list = graphs.to_data_list()
    for index, data in enumerate(data_list):
        for name in ("pos", "cell", "edge_shift"):
            data[name] = data[name].to(dtype)
        if targets is not None:
            for name, values in targets.batch(np.array([index]), dtype).items():
                data[name] = values
    return data_list


def data_from_structure(
    structure: "Structure", cutoff: float, max_neighbors: int | None, dtype: torch.dtype
) -> Data:
    """Build the graph of one structure with pymatgen's neighbour list."""
    target, source, shift, distances = structure.get_neighbor_list(cutoff)
    if max_neighbors is not None:
        order = np.lexsort((distances, target))
        target, source, shift = target[order], source[order], shift[order]
        rank = np.arange(len(target)) - np.searchsorted(target, target)
        near = rank < max_neighbors
        target, source, shift = target[near], source[near], shift[near]
    return Data(
        z=torch.tensor(structure.atomic_numbers),
        pos=torch.tensor(structure.cart_coords, dtype=dtype),
        cell=torch.tensor(structure.lattice.matrix, dtype=dtype)[None],
        edge_index=torch.tensor(np.stack([source, target])).long(),
        edge_shift=torch.tensor(shift, dtype=dtype),
    )
