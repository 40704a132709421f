"""Crystals as graphs, and the labels of frames."""

from ._batch import CrystalBatch
from ._crystal_graphs import CrystalGraphs
from ._frame_labels import FrameLabels
from ._settings import GraphSettings
from ._stream import stream_batches as stream_batches
from ._structure_to_graph import StructureToGraph

__all__ = ["CrystalBatch", "CrystalGraphs", "FrameLabels", "GraphSettings", "StructureToGraph"]
