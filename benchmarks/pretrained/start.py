"""A callback with which the force field starts from a model that knows formation energies."""

from pathlib import Path

import torch
from skorch.callbacks import Callback

from gnnpre import load_estimator

__all__ = ["StartFrom"]

HEAD = "formation_energy_eV_per_atom"


class StartFrom(Callback):
    """Copy backbone and readout of the formation energy before the first epoch.

    Both readouts add up or average values of atoms, so that a scale and a shift make an energy in
    eV per cell of the standardised energy per atom.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        if len(net.history) > 0:  # a resumed training brings its own weights
            return
        source, model = load_estimator(self.path).net_.module_, net.module_
        model.backbone.load_state_dict(source.backbone.state_dict())
        formation = source.parts[HEAD]
        model.head.load_state_dict(formation.head.state_dict())
        last = model.head.mlp[-1]
        with torch.no_grad():
            last.weight *= (formation.std / model.scale).float()
            last.bias.copy_(((last.bias * formation.std + formation.mean) / model.scale).float())
