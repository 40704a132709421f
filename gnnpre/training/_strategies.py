"""Which weights of the backbone are trained when, and at what rate."""

from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any

import torch
from skorch.callbacks import Callback

from gnnpre.backbones import BackboneModule

from ._settings import TrainingSettings

__all__ = ["GradualUnfreezing", "parameter_groups"]


def parameter_groups(
    build: Callable[[], BackboneModule], settings: TrainingSettings
) -> list[tuple[str, dict[str, float]]]:
    """Give skorch's groups of weights: patterns of names, the first that fits counts, and rates."""
    rate = settings.learning_rate * settings.backbone_lr_scale
    if settings.strategy != "layerwise":
        return [] if settings.backbone_lr_scale == 1.0 else [("backbone.*", {"lr": rate})]
    with torch.random.fork_rng():  # only the names are of interest here
        layers = build().layer_patterns()
    groups = []
    for depth, patterns in enumerate(reversed(layers), start=1):
        slower = {"lr": rate * settings.layer_decay**depth}
        groups += [(f"backbone.{pattern}", slower) for pattern in patterns]
    return groups


class GradualUnfreezing(Callback):
    """Train the head alone at first; layers of the backbone join from its output to its input.

    They join at equal intervals over the first ``part`` of the epochs, after which all are
    trained.
    """

    def __init__(self, part: float) -> None:
        self.part = part

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Open the layers whose time has come; the same for a training that is resumed."""
        done = len(net.history) - 1
        backbone = net.module_.backbone
        patterns = backbone.layer_patterns()
        opened = int(len(patterns) * done / (self.part * net.max_epochs))
        for name, parameter in backbone.named_parameters():
            parameter.requires_grad_(layer_of(name, patterns) >= len(patterns) - opened)
            if not parameter.requires_grad:
                parameter.grad = None
        net.freeze = opened == 0

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Leave nothing frozen behind."""
        net.module_.backbone.requires_grad_(True)
        net.freeze = False


def layer_of(name: str, patterns: list[tuple[str, ...]]) -> int:
    """Give the layer of a weight: the last that has a pattern for its name."""
    fitting = [i for i, layer in enumerate(patterns) if any(fnmatch(name, p) for p in layer)]
    return fitting[-1]
