"""Checks of the tensors of CrystalGraphs: each field, crystal by crystal, before any use."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._crystal_arrays import check_atoms, check_cells, check_counts, crystal_of_row, number_array
from ._indexing import offsets_from_counts
from ._search import index_type
from ._tensors import share_memory

__all__ = ["DTYPES", "FIELDS", "check_graphs"]

DTYPES = {
    "atomic_numbers": torch.int32,
    "positions": torch.float64,
    "edge_index": torch.int32,  # int16 unless a crystal has more atoms than that can count
    "edge_shift": torch.int8,
    "cell": torch.float64,
    "pbc": torch.bool,
    "n_atoms": torch.int64,
    "n_edges": torch.int64,
}
FIELDS = tuple(DTYPES)
# Edges that are looked at together when their order is checked.
BLOCK = 2**22


def check_graphs(fields: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the fields of graphs as tensors of their types, after a check of every value.

    Values are checked before they are cast, and counts before anything is indexed with them.
    """
    # 1. arrays on the host, all from one device
    arrays, devices = {}, set()
    for name in FIELDS:
        value = fields[name]
        devices.add(value.device if isinstance(value, Tensor) else torch.device("cpu"))
        arrays[name] = _as_array(name, value)
    if len(devices) != 1:
        raise ValueError(f"Tensors are on several devices: {sorted(map(str, devices))}.")
    (device,) = devices
    # 2. types and counts first: values are only looked up once rows belong to crystals
    checked = _check_types(arrays)
    check_cells(checked["cell"])
    check_atoms(checked["atomic_numbers"], checked["positions"], checked["n_atoms"])
    _check_edges(checked)
    narrow = torch.from_numpy(np.empty(0, dtype=index_type(checked["n_atoms"]))).dtype
    dtypes = {**DTYPES, "edge_index": narrow}
    return {
        name: _as_tensor(array, dtypes[name], fields[name], device)
        for name, array in checked.items()
    }


def _as_array(name: str, value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    try:
        return value.detach().cpu().numpy()
    except (RuntimeError, TypeError) as error:  # bfloat16, sparse, ...
        raise ValueError(f"{name} is a tensor of {value.dtype} ({error}).") from error


def _as_tensor(array: np.ndarray, dtype: torch.dtype, original: Any, device: Any) -> Tensor:
    # The tensor that came in is used as it is: memory of millions of edges is not copied.
    if isinstance(original, Tensor) and original.dtype == dtype:
        return original.detach()
    return share_memory(array).to(device, dtype)


def _check_types(arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Check types, shapes and counts, on which the assignment of rows to crystals relies."""

    def read(name: str, shape: tuple[int, ...]) -> np.ndarray:
        dtype = str(DTYPES[name]).removeprefix("torch.")
        if name == "edge_index" and getattr(arrays[name], "dtype", None) == np.int16:
            dtype = "int16"  # as graphs hold them: not copied
        return number_array(name, arrays[name], dtype, shape)

    n_atoms = read("n_atoms", (-1,))
    n = len(n_atoms)
    n_edges = read("n_edges", (n,))
    numbers = read("atomic_numbers", (-1,))
    shift = read("edge_shift", (-1, 3))
    # A crystal has at least one atom, and may have no edge.
    check_counts("n_atoms", n_atoms, len(numbers), 1, "atoms")
    check_counts("n_edges", n_edges, len(shift), 0, "edges")
    return {
        "atomic_numbers": numbers,
        "positions": read("positions", (len(numbers), 3)),
        "edge_index": read("edge_index", (2, len(shift))),
        "edge_shift": shift,
        "cell": read("cell", (n, 3, 3)),
        "pbc": read("pbc", (n, 3)),
        "n_atoms": n_atoms,
        "n_edges": n_edges,
    }


def _check_edges(arrays: Mapping[str, np.ndarray]) -> None:
    n_edges, n_atoms = arrays["n_edges"], arrays["n_atoms"]
    crystals = np.flatnonzero(n_edges)
    if len(crystals) == 0:
        return
    # reduceat would return a wrong value for a crystal without edges: those are left out.
    starts = offsets_from_counts(n_edges)[:-1][crystals]
    for ends in arrays["edge_index"]:
        low, high = np.minimum.reduceat(ends, starts), np.maximum.reduceat(ends, starts)
        bad = np.flatnonzero((low < 0) | (high >= n_atoms[crystals]))
        if len(bad):
            crystal = crystals[bad[0]]
            raise ValueError(
                f"edge_index of crystal {crystal} runs from {low[bad[0]]} to {high[bad[0]]}; the "
                f"crystal has atoms 0 to {n_atoms[crystal] - 1}, counted from its first one."
            )
    _check_order(arrays["edge_index"][1], n_edges, starts)
    _check_loops(arrays["edge_index"], arrays["edge_shift"], n_edges)


def _check_order(target: np.ndarray, n_edges: np.ndarray, starts: np.ndarray) -> None:
    """Check that targets do not decrease within a crystal, which sums over neighbours rely on."""
    for first in range(0, len(target) - 1, BLOCK):
        block = target[first : first + BLOCK + 1]
        descents = first + 1 + np.flatnonzero(block[1:] < block[:-1])
        bad = descents[~np.isin(descents, starts)]
        if len(bad):
            raise ValueError(
                f"edge_index of crystal {crystal_of_row(bad[0], n_edges)[0]} is not sorted by "
                "target (row 1). CrystalGraphs.from_data_list sorts edges."
            )


def _check_loops(index: np.ndarray, shift: np.ndarray, n_edges: np.ndarray) -> None:
    """Check that no atom is its own neighbour without a shift: at distance zero."""
    for first in range(0, index.shape[1], BLOCK):
        block = slice(first, first + BLOCK)
        loops = first + np.flatnonzero(index[0, block] == index[1, block])
        bad = loops[~shift[loops].any(axis=1)]
        if len(bad):
            raise ValueError(
                f"edge_index of crystal {crystal_of_row(bad[0], n_edges)[0]} joins atom "
                f"{index[0, bad[0]]} with itself in the same cell (edge_shift 0, 0, 0)."
            )
