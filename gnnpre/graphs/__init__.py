"""Crystals as graphs, and the labels of frames."""

from ._batch import CrystalBatch
from ._build_graphs import build_graphs as build_graphs
from ._columns import LARGEST_EXACT as LARGEST_EXACT
from ._columns import as_column as as_column
from ._containers import as_crystals as as_crystals
from ._containers import as_structure_list as as_structure_list
from ._crystal_graphs import CrystalGraphs
from ._crystals import Crystals
from ._file_texts import parse_cifs as parse_cifs
from ._file_texts import parse_poscar as parse_poscar
from ._frame_labels import FrameLabels
from ._gather import BlockRows as BlockRows
from ._indexing import all_rows as all_rows
from ._indexing import flat_indices as flat_indices
from ._indexing import offsets_from_counts as offsets_from_counts
from ._indexing import resolve_rows as resolve_rows
from ._lazy_crystals import LazyCrystals as LazyCrystals
from ._lazy_crystals import LazyLabels as LazyLabels
from ._lazy_graphs import LazyGraphs as LazyGraphs
from ._lazy_graphs import is_on_disk as is_on_disk
from ._pairs import EdgePairs as EdgePairs
from ._pooling import pool_atoms as pool_atoms
from ._settings import LARGEST_CUTOFF as LARGEST_CUTOFF
from ._settings import GraphSettings
from ._stream import stream_batches as stream_batches
from ._stream import stream_graphs as stream_graphs
from ._structure_dicts import StructureArrays as StructureArrays
from ._structure_dicts import arrays_from_dict as arrays_from_dict
from ._structure_dicts import atomic_number as atomic_number
from ._structure_dicts import optimade_numbers as optimade_numbers
from ._structure_to_graph import StructureToGraph
from ._structures import check_occupancy as check_occupancy
from ._tables import IndexedTransformerMixin as IndexedTransformerMixin
from ._tables import index_of as index_of
from ._tensors import send as send
from ._tensors import share_memory as share_memory
from ._transformers import POOLINGS as POOLINGS
from ._transformers import PoolingTransformer as PoolingTransformer
from ._transformers import StatelessTransformerMixin as StatelessTransformerMixin

__all__ = [
    "CrystalBatch",
    "CrystalGraphs",
    "Crystals",
    "FrameLabels",
    "GraphSettings",
    "StructureToGraph",
]
