"""Models kept after chosen epochs of one training."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from skorch.callbacks import Callback
from torch import Tensor

from gnnpre._atomic import remove_stale

__all__ = ["EpochCheckpoints", "WriteEpoch"]

#: Writes a model to the last of some paths, given its weights, its history and all paths so far.
WriteEpoch = Callable[[dict[int, str], dict[str, Tensor], list[dict[str, Any]]], None]


class EpochCheckpoints(Callback):
    """Keep the model that a training of so many epochs would have ended with.

    That is the best one so far where the best is kept, else the (averaged) weights of the epoch.
    It comes after :class:`BestModel`, which it asks, and before the state of the training is
    written: a kill between the two repeats the epoch, and no file is missed.
    """

    def __init__(self, epochs: Iterable[int], folder: Path, write: WriteEpoch) -> None:
        self.epochs = sorted(int(epoch) for epoch in epochs)
        self.folder = folder
        self.write: WriteEpoch | None = write

    def path(self, epoch: int) -> Path:
        """Give the file of an epoch."""
        return self.folder / f"epoch_{epoch:04d}.gnnpre"

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Clear away what a kill left half written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_stale(self.folder)

    def take_up(self, net: Any) -> None:
        """Find the files of the epochs that a resumed training does not repeat."""
        over = [epoch for epoch in self.epochs if epoch <= len(net.history)]
        missing = [epoch for epoch in over if not self.path(epoch).is_file()]
        if missing:
            raise ValueError(
                f"checkpoint_epochs={tuple(self.epochs)}, but the training to resume has done "
                f"{len(net.history)} epochs, and {str(self.path(missing[0]))!r} is not there: what "
                "it would hold is gone. Take such epochs out of checkpoint_epochs, or set "
                "resume=False to start anew."
            )
        net.checkpoints_ = {epoch: str(self.path(epoch)) for epoch in over}

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Write the model, if it is time."""
        epoch = len(net.history)
        if epoch not in self.epochs or self.write is None:
            return
        paths = {**net.checkpoints_, epoch: str(self.path(epoch))}
        best = dict(net.callbacks_)["best"].weights_
        with torch.no_grad(), net._averaged_weights(True):
            weights = net.module_.state_dict() if best is None else best
            self.write(paths, weights, list(net.history))
        net.checkpoints_ = paths

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Let go of the function, which cannot be pickled."""
        self.write = None
