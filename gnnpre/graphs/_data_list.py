"""Graphs as torch-geometric objects, and back. torch-geometric is imported only for these."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch_geometric.data import Data

__all__ = ["fields_from_data", "to_data"]

KEYS = {"z", "pos", "cell", "pbc", "edge_index", "edge_shift"}


def to_data(fields: dict[str, Tensor]) -> "Data":
    """Build the ``Data`` object of one crystal from its fields."""
    from torch_geometric.data import Data

    return Data(
        z=fields["atomic_numbers"].long(),
        pos=fields["positions"],
        cell=fields["cell"],
        pbc=fields["pbc"],
        edge_index=fields["edge_index"].long(),
        edge_shift=fields["edge_shift"],
    )


def fields_from_data(data_list: "Sequence[Data]") -> dict[str, Tensor]:
    """Concatenate the fields of ``Data`` objects, edges sorted by target."""
    for number, data in enumerate(data_list):
        _check_data(number, data)
    # torch-geometric leaves the order of edges open; sums over neighbours need them by target.
    orders = [torch.argsort(data.edge_index[1], stable=True) for data in data_list]
    pairs = list(zip(data_list, orders, strict=True))
    return {
        "atomic_numbers": torch.cat([data.z for data in data_list]),
        "positions": torch.cat([data.pos for data in data_list]),
        "cell": torch.cat([data.cell.reshape(1, 3, 3) for data in data_list]),
        "pbc": torch.cat([data.pbc.reshape(1, 3) for data in data_list]),
        "n_atoms": torch.tensor([len(data.z) for data in data_list]),
        "edge_index": torch.cat([data.edge_index[:, order] for data, order in pairs], dim=1),
        "edge_shift": torch.cat([data.edge_shift[order] for data, order in pairs]),
        "n_edges": torch.tensor([data.edge_index.shape[1] for data in data_list]),
    }


def _check_data(number: int, data: Any) -> None:
    """Check fields and shapes; values are checked with those of all crystals."""
    if not hasattr(data, "keys"):
        raise TypeError(
            f"data_list[{number}] is of type {type(data).__name__}; expected a torch-geometric "
            "Data."
        )
    # 1. fields
    missing = KEYS - set(data.keys())
    if missing:
        raise ValueError(f"data_list[{number}] has no {sorted(missing)}.")
    not_tensors = sorted(name for name in KEYS if not isinstance(data[name], Tensor))
    if not_tensors:
        raise ValueError(f"data_list[{number}]: {not_tensors} are not tensors.")
    # 2. shapes
    n_atoms, n_edges = data.z.numel(), data.edge_shift.shape[:1].numel()
    shapes = {"z": (n_atoms,), "pos": (n_atoms, 3), "edge_index": (2, n_edges)}
    for name, shape in {**shapes, "edge_shift": (n_edges, 3)}.items():
        if tuple(data[name].shape) != shape:
            raise ValueError(
                f"data_list[{number}].{name} has shape {tuple(data[name].shape)}; expected {shape}."
            )
    for name, size in (("cell", 9), ("pbc", 3)):
        if data[name].numel() != size:
            raise ValueError(f"data_list[{number}].{name} holds {data[name].numel()} numbers.")
