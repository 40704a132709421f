"""Architectures: a config and its module a file, and the layers that they share."""

from ._base import AtomFeatures, Backbone
from ._cgcnn import CGCNN
from ._readout import Readout

__all__ = ["CGCNN", "AtomFeatures", "Backbone", "Readout"]
