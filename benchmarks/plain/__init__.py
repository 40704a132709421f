"""The papers' models in plain PyTorch and torch-geometric, which gnnpre is compared with.

They are written as the papers' code is, layer by layer from published formulas, with none of
gnnpre's ways to be fast: features are concatenated, every edge is looked at on its own, and
positions and strain are the leaves of autograd. With the weights of a gnnpre model
(:func:`copy_weights`) they give its numbers, which tests/test_plain_references.py asserts.
"""

from .cgcnn import PlainCGCNN
from .data import data_from_structure, make_data
from .edges import edges_of
from .model import PlainModel, plain_loss
from .torchmdnet import PlainTorchMDNet
from .weights import copy_weights, make_plain, to_plain

__all__ = [
    "PlainCGCNN",
    "PlainModel",
    "PlainTorchMDNet",
    "copy_weights",
    "data_from_structure",
    "edges_of",
    "make_data",
    "make_plain",
    "plain_loss",
    "to_plain",
]
