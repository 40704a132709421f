"""Architectures, one in each file, and the layers and messages that they share."""

from ._base import AtomFeatures, Backbone, BackboneModule
from ._cgcnn import CGCNN
from ._layers import sum_by_index as sum_by_index
from ._readout import ENERGY_POOLINGS as ENERGY_POOLINGS
from ._readout import POOLINGS as POOLINGS
from ._readout import READOUTS as READOUTS
from ._readout import Readout
from ._readout import check_pooling_order as check_pooling_order
from ._readout import pool as pool
from ._schnet import SchNet
from ._torchmdnet import TorchMDNet
from .messages import has_compiler as has_compiler
from .messages import has_triton as has_triton

__all__ = ["CGCNN", "AtomFeatures", "Backbone", "BackboneModule", "Readout", "SchNet", "TorchMDNet"]
