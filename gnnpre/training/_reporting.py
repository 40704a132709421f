"""The losses of each epoch, told to whoever asks."""

from collections.abc import Callable
from typing import Any

from skorch.callbacks import Callback

__all__ = ["ReportEpoch"]


class ReportEpoch(Callback):
    """Call a function with a loss after each epoch; an error that it raises ends the training.

    Epochs count from 0. A training without validation reports nothing where the loss is one of
    validation.
    """

    def __init__(self, report: Callable[[int, float], None], monitor: str = "valid_loss") -> None:
        self.report = report
        self.monitor = monitor

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Report the epoch."""
        row = net.history[-1]
        if self.monitor in row:
            self.report(len(net.history) - 1, float(row[self.monitor]))
        elif not self.monitor.startswith("valid_") or "valid_loss" in row:
            losses = [key for key in row if key.endswith("_loss") or key.startswith("valid_")]
            raise ValueError(
                f"monitor={self.monitor!r} is no column of the history; expected one of "
                f"{sorted(losses)}."
            )
