"""Models that are saved after chosen epochs of one training."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gnnpre._atomic import remove_stale

from ._state import TrainingState

__all__ = ["EpochCheckpoints", "WriteEpoch"]

#: Writes a model to the last of some paths, given its weights, its history and all paths so far.
WriteEpoch = Callable[[dict[int, str], dict[str, Tensor], list[dict[str, Any]]], None]


class EpochCheckpoints:
    """Save the models that trainings of fewer epochs would have ended with.

    That is the best one so far if the best is restored, else the (averaged) weights of the epoch.
    It is saved before the state of the training: a kill between the two repeats the epoch, and no
    file is missed.
    """

    def __init__(
        self, epochs: Iterable[int], folder: Path, write: WriteEpoch, *, best: bool
    ) -> None:
        self.epochs = sorted(int(epoch) for epoch in epochs)
        self.folder = folder
        self.write = write
        self.best = best
        folder.mkdir(parents=True, exist_ok=True)
        remove_stale(folder)

    def path(self, epoch: int) -> Path:
        """Return the file of an epoch."""
        return self.folder / f"epoch_{epoch:04d}.gnnpre"

    def resume(self, state: TrainingState) -> None:
        """Enter the files of the epochs that a resumed training does not repeat."""
        done = [epoch for epoch in self.epochs if epoch <= state.epoch]
        missing = [epoch for epoch in done if not self.path(epoch).is_file()]
        if missing:
            raise ValueError(
                f"checkpoint_epochs={tuple(self.epochs)}, but the training to resume has done "
                f"{state.epoch} epochs, and {str(self.path(missing[0]))!r} is not there: its "
                "weights are lost. Leave such epochs out of checkpoint_epochs, or set "
                "resume=False to start anew."
            )
        state.checkpoints = {epoch: str(self.path(epoch)) for epoch in done}

    def save(self, state: TrainingState) -> None:
        """Save the model if this is one of the epochs."""
        if state.epoch not in self.epochs:
            return
        paths = {**state.checkpoints, state.epoch: str(self.path(state.epoch))}
        # The same weights that the training would leave if it ended now.
        best = state.best.weights if self.best and state.validates else None
        with torch.no_grad(), state.evaluation_weights():
            weights = state.model.state_dict() if best is None else best
            self.write(paths, weights, list(state.history))
        state.checkpoints = paths
