"""A small TorchMDNet and a batch for it."""

import torch

from cases import CUTOFF, SMALL_ET, make_model, random_structures
from gnnpre import ForceField, StructureToGraph, TorchMDNet

STRUCTURES = list(random_structures().values())


def make_module(seed: int = 0, **settings):
    """In float64, with random weights, none of them 0 or 1."""
    config = TorchMDNet(**{**SMALL_ET, **settings})
    return make_model(config, ForceField(), seed=seed).backbone


def make_batch(structures=STRUCTURES, cutoff: float = CUTOFF):
    return StructureToGraph(cutoff).transform(structures).batch(dtype=torch.float64)
