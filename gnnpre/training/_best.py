"""Weights of the best epoch so far."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

__all__ = ["BestWeights"]

Weights = dict[str, Tensor]


class BestWeights:
    """Weights of the epoch with the lowest validation loss.

    Without a validation set, weights are judged by the training loss of the epoch that starts from
    them: they serve only if the training diverges later.
    """

    def __init__(self) -> None:
        self.loss = math.inf
        self.epoch = 0  # 0: no epoch had a finite loss yet
        self.weights: Weights | None = None
        self._previous: Weights | None = None

    def update(
        self,
        epoch: int,
        train_loss: float,
        valid_loss: float | None,
        snapshot: Callable[[], Weights],
    ) -> None:
        """Compare the losses of an epoch with the lowest so far; ``snapshot`` copies weights."""
        if valid_loss is not None:
            # NaN is never lower, so that a loss that is not finite is never the best.
            if valid_loss < self.loss:
                self.loss, self.epoch, self.weights = valid_loss, epoch, snapshot()
            return
        # The first epoch starts from random weights, which are not a result.
        if self._previous is not None and train_loss < self.loss:
            self.loss, self.epoch, self.weights = train_loss, epoch - 1, self._previous
        self._previous = snapshot()

    def has_stalled(self, epoch: int, patience: int | None) -> bool:
        """Return whether the lowest loss is ``patience`` epochs old after ``epoch`` epochs."""
        return patience is not None and self.epoch > 0 and epoch - self.epoch >= patience

    def state_dict(self) -> dict[str, Any]:
        """Return loss and epoch, JSON-serializable; weights are saved as tensors."""
        return {"loss": self.loss, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any], weights: Weights, current: Weights) -> None:
        """Restore the best epoch; ``current`` are the weights that the next epoch starts from."""
        if weights:
            _check_weights(weights, current)
        self.loss, self.epoch = state["loss"], state["epoch"]
        self.weights = weights or None
        self._previous = current


def _check_weights(weights: Weights, current: Weights) -> None:
    """Raise ValueError unless the weights of a file are finite and fit the model."""
    shapes, expected = (
        {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        for tensors in (weights, current)
    )
    if shapes != expected:
        different = sorted(set(shapes.items()) ^ set(expected.items()))[0][0]
        raise ValueError(f"the best weights do not fit the model, first in {different!r}")
    infinite = [name for name, tensor in weights.items() if not bool(tensor.isfinite().all())]
    if infinite:
        raise ValueError(f"the best weights are not finite, first in {infinite[0]!r}")
