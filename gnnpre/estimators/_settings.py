"""Checks of parameters that pre-training and fine-tuning share."""

from collections.abc import Callable
from numbers import Integral
from pathlib import Path
from typing import Any

from gnnpre import training
from gnnpre.backbones import Backbone
from gnnpre.objectives import ObjectiveModel

from ._embedding import check_layer

__all__ = ["check_backbone", "draw_seed", "prepare_model"]


def check_backbone(backbone: Any) -> None:
    """Raise TypeError unless ``backbone`` is a config or None.

    Parameters
    ----------
    backbone : object
        Value of the parameter.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if backbone is None or isinstance(backbone, Backbone):
        return
    hint = ""
    if isinstance(backbone, (str, Path)):
        hint = f" A pre-trained model goes into pretrained={str(backbone)!r}."
    raise TypeError(f"backbone is {backbone!r}; expected a Backbone config such as CGCNN().{hint}")


def draw_seed(random_state: Any, resume: bool, n_processes: int | str | None = 1) -> int:
    """Return the seed of one fit, which a resumed training and all processes have to share."""
    if resume and not isinstance(random_state, Integral):
        raise ValueError(
            f"resume=True needs random_state, an int; with {random_state} each fit draws "
            "another seed, and no training would be found to continue."
        )
    return training.agreed_seed(training.draw_seed(random_state), n_processes)


def prepare_model(
    embedding_layer: int, load_weights: Callable[[ObjectiveModel], None] | None = None
) -> Callable[[ObjectiveModel], None]:
    """Return the function that checks a new model, and loads weights into it, before training."""

    def prepare(model: ObjectiveModel) -> None:
        # Here, not after hours of training, comes the error about a layer that does not exist.
        check_layer(embedding_layer, model.backbone, "embedding_layer")
        if load_weights is not None:
            load_weights(model)

    return prepare
