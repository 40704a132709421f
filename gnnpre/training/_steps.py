"""Losses and gradients of the share that a process has in a batch."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from gnnpre.graphs import CrystalBatch
from gnnpre.objectives import LossTerm, ObjectiveModel

from ._average import LossTotals
from ._loader import BatchLoader
from ._randomness import PrivateRandomness
from ._state import TrainingState
from ._team import Alone

__all__ = [
    "backpropagate",
    "clear_gradients",
    "clip_gradients",
    "drawing",
    "drawn_batches",
    "evaluate",
]

_Batch = tuple[CrystalBatch, dict[str, Tensor]]


def backpropagate(
    model: ObjectiveModel,
    batch: _Batch,
    parameters: list[torch.nn.Parameter],
    totals: LossTotals,
    team: Alone,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the gradients of a batch; return its loss and its predictions."""
    # 1. loss
    terms, predictions = evaluate(model, batch)
    totals.add(terms)
    loss = team.loss(terms)
    # 2. gradient; edge vectors that forces are derivatives by need none of the loss
    loss.backward(inputs=[p for p in parameters if p.requires_grad])
    return loss, predictions


def evaluate(model: ObjectiveModel, batch: _Batch) -> tuple[dict[str, LossTerm], dict[str, Tensor]]:
    """Return the terms of the loss of a batch, and the predictions."""
    inputs, targets = batch
    predictions = model(inputs)
    return model.losses(predictions, targets, inputs), predictions


def drawing(model_draws: bool | None, randomness: PrivateRandomness) -> AbstractContextManager[Any]:
    """Return the context of code that may draw random numbers without a generator.

    The first step shows whether the model does: watching every operation of torch takes time.
    """
    return nullcontext() if model_draws is False else randomness


def drawn_batches(loader: BatchLoader, state: TrainingState) -> Iterator[_Batch]:
    """Yield the batches of an epoch; perturbing them may draw random numbers, too."""
    batches = iter(loader)
    while True:
        with drawing(state.model_draws, state.randomness):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def clear_gradients(parameters: list[torch.nn.Parameter]) -> None:
    """Forget the gradients of the last step."""
    for parameter in parameters:
        parameter.grad = None


def clip_gradients(parameters: list[torch.nn.Parameter], largest: float) -> None:
    """Scale all gradients down where the norm of all of them is above ``largest``."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    # One norm of everything: that of torch makes one of each tensor first.
    norm = torch.cat([gradient.reshape(-1) for gradient in gradients]).norm()
    if norm.device.type == "cpu" and norm <= largest:  # on a GPU, to look would mean to wait
        return
    torch._foreach_mul_(gradients, (largest / (norm + 1e-6)).clamp(max=1.0))
