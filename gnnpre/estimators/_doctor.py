"""Does fine-tuning pay? What the pre-trained model gave before it, and without it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor

from gnnpre._warnings import TrainingWarning, warn_user
from gnnpre.graphs import CrystalGraphs
from gnnpre.objectives import ObjectiveModel

__all__ = ["compare_starts", "unmoved_weights", "warn_of_failure", "with_weights"]

# With fewer crystals to validate on, a difference means nothing.
LEAST_VALID = 10


@contextmanager
def with_weights(model: ObjectiveModel, weights: dict[str, Tensor]) -> Iterator[None]:
    """Lend a model other weights."""
    own = {name: value.detach().clone() for name, value in model.state_dict().items()}
    model.load_state_dict(weights)
    try:
        yield
    finally:
        model.load_state_dict(own)


def compare_starts(
    model: ObjectiveModel,
    start: dict[str, Tensor],
    graphs: CrystalGraphs,
    train: np.ndarray,
    valid: np.ndarray,
    *,
    error: Callable[[], float],
    embed: Callable[[CrystalGraphs], np.ndarray],
    probe: Callable[[np.ndarray, np.ndarray], float],
) -> dict[str, float]:
    """Give validation errors of the model before training, of a probe, and of the model now.

    ``error`` is that of the model as it stands; ``probe`` fits a linear model on the first of two
    tables of embeddings and gives its error on the second.
    """
    if len(valid) < LEAST_VALID:
        return {}
    with with_weights(model, start):
        before = error()
        probed = probe(embed(graphs[train]), embed(graphs[valid]))
    return {"zero_epochs": before, "frozen_probe": probed, "final": error()}


def unmoved_weights(model: ObjectiveModel, start: dict[str, Tensor]) -> list[str]:
    """Name weights that got gradients in the last step and are what they were at the start."""
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        and parameter.grad is not None
        and bool((parameter.detach().cpu() == start[name].cpu()).all())
    ]


def warn_of_failure(diagnosis: dict[str, Any]) -> None:
    """Warn where fine-tuning made things worse, or left alone what it should have trained."""
    for message in _failures(diagnosis):
        warn_user(message, TrainingWarning)


def _failures(diagnosis: dict[str, Any]) -> Iterator[str]:
    final = diagnosis.get("final", 0.0)
    if final > diagnosis.get("frozen_probe", np.inf):
        yield (
            f"Fine-tuning ended with a validation error of {final:.4g}, a linear model on the "
            f"frozen embeddings has {diagnosis['frozen_probe']:.4g}: the labels do not pay for the "
            "weights that were trained. Try strategy='head' or 'frozen_then_full', a lower "
            "learning_rate, or make_pipeline(FrozenEstimator(pretrainer), Ridge())."
        )
    if final > diagnosis.get("zero_epochs", np.inf):
        yield (
            f"Fine-tuning ended with a validation error of {final:.4g}, worse than the "
            f"{diagnosis['zero_epochs']:.4g} before its first step: it undid what was there. Look "
            "at units and signs of y, and try a lower learning_rate."
        )
    if unmoved := diagnosis.get("unmoved"):
        yield (
            f"{len(unmoved)} weights have not moved from where they started ({unmoved[0]}, ...): "
            "their learning rate is too small for the precision. Raise learning_rate or "
            "backbone_lr_scale, or say so with strategy='head'."
        )
