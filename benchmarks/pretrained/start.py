"""A callback with which a training starts from the network of an earlier one."""

from pathlib import Path

import torch
from skorch.callbacks import Callback

from gnnpre import load_estimator

__all__ = ["StartFrom"]

HEAD = "formation_energy_eV_per_atom"


class StartFrom(Callback):
    """Copy the backbone and fitting readouts of an earlier model before the first epoch.

    A mixture starts from the readouts of the properties that both models learn. A force field
    starts from that of the formation energy: both add up or average values of atoms, so that a
    scale and a shift make an energy in eV per cell of the standardised energy per atom.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        if len(net.history) > 0:  # a resumed training brings its own weights
            return
        source, model = load_estimator(self.path).net_.module_, net.module_
        model.backbone.load_state_dict(source.backbone.state_dict())
        if hasattr(model, "parts"):
            copy_readouts(source.parts, model.parts)
        else:
            start_energy(source.parts[HEAD], model)


def copy_readouts(source_models, models):
    """Copy the readout of each property that both mixtures learn.

    Labels and split are the same, so that both standardise a property alike.
    """
    for name, model in models.items():
        if name not in source_models or not hasattr(model, "std"):
            continue
        # A file keeps both in single precision.
        source = source_models[name]
        if not all(torch.allclose(*pair, rtol=1e-5) for pair in pairs(model, source)):
            raise ValueError(f"{name} has another mean or spread than in the earlier training")
        model.head.load_state_dict(source.head.state_dict())


def pairs(model, source):
    """Return means and spreads of both models in double precision."""
    names = ("mean", "std")
    return [(getattr(model, name).double(), getattr(source, name).double()) for name in names]


def start_energy(formation, model):
    """Copy the readout of the formation energy to that of a force field."""
    model.head.load_state_dict(formation.head.state_dict())
    last = model.head.mlp[-1]
    with torch.no_grad():
        last.weight *= (formation.std / model.scale).float()
        last.bias.copy_(((last.bias * formation.std + formation.mean) / model.scale).float())
