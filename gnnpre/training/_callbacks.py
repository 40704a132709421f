"""Callbacks of the training loop: schedules, the best weights, early stopping, progress."""

import math
from typing import Any

import torch
from skorch.callbacks import Callback

from ._net import StopTraining
from ._schedules import CosineSchedule, PlateauSchedule

__all__ = ["BestModel", "CosineRate", "Divergence", "PlateauRate", "Progress"]


class CosineRate(Callback):
    """Set the learning rate before each step from the part of the training that is over."""

    def __init__(self, schedule: CosineSchedule) -> None:
        self.schedule = schedule

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Remember the largest rate of each group of weights."""
        self.rates_ = [group["lr"] for group in net.optimizer_.param_groups]

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Count the steps of an epoch from zero."""
        self.step_ = 0

    def on_batch_begin(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Set the rate of a step."""
        if not training:
            return
        self.step_ += 1
        epoch = len(net.history) - 1 + self.step_ / net.train_loader.n_batches
        factor = self.schedule.factor(epoch / net.max_epochs)
        for group, rate in zip(net.optimizer_.param_groups, self.rates_, strict=True):
            group["lr"] = rate * factor


class PlateauRate(Callback):
    """Lower the learning rate when a loss stays where it is."""

    def __init__(self, schedule: PlateauSchedule) -> None:
        self.schedule = schedule

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Start torch's scheduler."""
        config = self.schedule
        self.scheduler_ = torch.optim.lr_scheduler.ReduceLROnPlateau(
            net.optimizer_,
            factor=config.factor,
            patience=config.patience,
            threshold=config.threshold,
            min_lr=config.min_learning_rate,
        )

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Show it the loss of the epoch."""
        row = net.history[-1]
        self.scheduler_.step(row.get(self.schedule.monitor, row["train_loss"]))

    def state(self) -> dict[str, Any]:
        """Give what a resumed training needs, JSON-able."""
        state = self.scheduler_.state_dict()
        return {key: state[key] for key in ("best", "num_bad_epochs", "last_epoch", "_last_lr")}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up what :meth:`state` gave."""
        self.scheduler_.load_state_dict({**self.scheduler_.state_dict(), **state})

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Let go of the optimizer."""
        del self.scheduler_


class Divergence(Callback):
    """End a training whose loss is no number any more, saying so."""

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Look at the loss of the epoch."""
        loss = net.history[-1, "train_loss"]
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"The training loss is {loss} in epoch {len(net.history)}: training diverged. "
                "Lower learning_rate or gradient_clip, or look for outliers among the labels."
            )


class BestModel(Callback):
    """Keep the weights of the lowest validation loss, and stop when it falls no more."""

    def __init__(self, restore: bool, patience: int | None) -> None:
        self.restore = restore
        self.patience = patience

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Start without a best."""
        self.loss_ = math.inf
        self.epoch_ = 0
        self.weights_: dict[str, torch.Tensor] | None = None

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Stop here, not at the end of an epoch, so that a resumed training stops too."""
        done = len(net.history) - 1
        if self.patience is not None and self.epoch_ and done - self.epoch_ >= self.patience:
            raise StopTraining

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Compare the validation loss of the epoch, where there is one, with the best."""
        loss = net.history[-1].get("valid_loss", math.nan)
        if not loss < self.loss_:
            return
        self.loss_, self.epoch_ = loss, len(net.history)
        if self.restore:
            with net._averaged_weights(True):
                state = net.module_.state_dict()
                self.weights_ = {name: value.detach().clone() for name, value in state.items()}

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Put the best weights back."""
        if self.weights_ is not None:
            net.module_.load_state_dict(self.weights_)
            self.weights_ = None

    def state(self) -> dict[str, Any]:
        """Give what a resumed training needs beside the weights, JSON-able."""
        return {"loss": self.loss_, "epoch": self.epoch_}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up what :meth:`state` gave."""
        self.loss_, self.epoch_ = state["loss"], state["epoch"]


class Progress(Callback):
    """A progress bar over epochs, with the losses of the last one."""

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Show the bar."""
        from tqdm import tqdm

        self.bar_ = tqdm(total=net.max_epochs, unit="epoch")

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Count the epochs that a resumed training does not repeat."""
        self.bar_.update(len(net.history) - 1 - self.bar_.n)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Move it on."""
        row = net.history[-1]
        shown = {key: row[key] for key in ("train_loss", "valid_loss") if key in row}
        self.bar_.set_postfix({key: f"{value:.4g}" for key, value in shown.items()})
        self.bar_.update(len(net.history) - self.bar_.n)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Close it."""
        self.bar_.close()
        del self.bar_
