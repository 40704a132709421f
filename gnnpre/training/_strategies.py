"""Which weights of the backbone are trained when, and at what rate."""

from fnmatch import fnmatch

from gnnpre.backbones import BackboneModule
from gnnpre.objectives import ObjectiveModel

from ._settings import TrainingSettings

__all__ = ["layer_of", "parameter_groups", "set_trainable", "unfreeze_all"]


def parameter_groups(
    backbone: BackboneModule, settings: TrainingSettings
) -> list[tuple[str, dict[str, float]]]:
    """Return skorch's parameter groups: patterns of names (the first that fits counts), rates."""
    rate = settings.learning_rate * settings.backbone_lr_scale
    if settings.strategy != "layerwise":
        return [] if settings.backbone_lr_scale == 1.0 else [("backbone.*", {"lr": rate})]
    groups = []
    for depth, patterns in enumerate(reversed(backbone.layer_patterns()), start=1):
        slower = {"lr": rate * settings.layer_decay**depth}
        groups += [(f"backbone.{pattern}", slower) for pattern in patterns]
    return groups


def set_trainable(model: ObjectiveModel, settings: TrainingSettings, n_done: float) -> bool:
    """Freeze and unfreeze the backbone for the next epoch; return whether all of it is frozen.

    Under ``"frozen_then_full"`` the head is trained alone at first. Layers of the backbone join
    from its output to its input, at equal intervals over the first ``frozen_epochs`` of the
    training, after which all are trained. It depends on the epochs that are done alone, so that
    a resumed training goes on alike.
    """
    if settings.strategy == "head":
        model.backbone.requires_grad_(False)
        return True
    if settings.strategy != "frozen_then_full":
        return False
    patterns = model.backbone.layer_patterns()
    n_open = int(len(patterns) * n_done / (settings.frozen_epochs * settings.max_epochs))
    for name, parameter in model.backbone.named_parameters():
        parameter.requires_grad_(layer_of(name, patterns) >= len(patterns) - n_open)
        if not parameter.requires_grad:
            parameter.grad = None
    return n_open == 0


def unfreeze_all(model: ObjectiveModel, settings: TrainingSettings) -> None:
    """Leave no layer frozen after a training that unfroze them one by one."""
    if settings.strategy == "frozen_then_full":
        model.backbone.requires_grad_(True)


def layer_of(name: str, patterns: list[tuple[str, ...]]) -> int:
    """Return the index of the last layer that has a pattern for the name of a weight."""
    fitting = [i for i, layer in enumerate(patterns) if any(fnmatch(name, p) for p in layer)]
    return fitting[-1]
