"""Graphs in one safetensors file."""

from pathlib import Path
from typing import TYPE_CHECKING

from gnnpre._storage import load_tensors, reading, save_tensors

from ._graph_checks import FIELDS
from ._settings import GraphSettings
from ._stored_columns import check_names, decode_index, encode_index

if TYPE_CHECKING:
    from ._crystal_graphs import CrystalGraphs

__all__ = ["load_graphs", "save_graphs"]

KIND = "CrystalGraphs"


def save_graphs(path: str | Path, graphs: "CrystalGraphs") -> None:
    """Write graphs with their settings and index."""
    tensors = {name: getattr(graphs, name) for name in FIELDS}
    index_tensors, index = encode_index(graphs.index)
    metadata = {"settings": graphs.settings.to_dict(), "index": index}
    save_tensors(path, {**tensors, **index_tensors}, kind=KIND, metadata=metadata)


def load_graphs(path: str | Path, cls: "type[CrystalGraphs]") -> "CrystalGraphs":
    """Read graphs; every field is checked, and the tensors are memory-mapped."""
    tensors, metadata = load_tensors(path, kind=KIND)
    with reading(path):
        settings = GraphSettings.from_dict(metadata["settings"])
        index = decode_index(tensors, metadata["index"], len(tensors["n_atoms"]))
        check_names(tensors, FIELDS)
        return cls(**tensors, settings=settings, index=index)
