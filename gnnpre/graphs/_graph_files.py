"""Graphs in one safetensors file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnnpre._storage import load_tensors, save_tensors

from ._graph_checks import FIELDS
from ._settings import GraphSettings
from ._stored_columns import decode_index, encode_index

if TYPE_CHECKING:
    from ._crystal_graphs import CrystalGraphs

__all__ = ["read_graph_fields", "save_graphs"]

KIND = "CrystalGraphs"


def save_graphs(path: str | Path, graphs: "CrystalGraphs") -> None:
    """Write graphs with their settings and index."""
    tensors = {name: getattr(graphs, name) for name in FIELDS}
    index_tensors, index = encode_index(graphs.index)
    metadata = {"settings": graphs.settings.to_dict(), "index": index}
    save_tensors(path, {**tensors, **index_tensors}, kind=KIND, metadata=metadata)


def read_graph_fields(path: str | Path) -> dict[str, Any]:
    """Read the arguments of :class:`CrystalGraphs` from a file, whose tensors are memory-mapped."""
    tensors, metadata = load_tensors(path, kind=KIND)
    settings = GraphSettings.from_dict(metadata["settings"])
    n = len(tensors["n_atoms"])
    index = decode_index(tensors, metadata.get("index"), n)
    missing, unknown = set(FIELDS) - set(tensors), set(tensors) - set(FIELDS)
    if missing or unknown:
        raise ValueError(f"tensors missing: {sorted(missing)}, unknown: {sorted(unknown)}")
    return {**tensors, "settings": settings, "index": index}
