"""Callbacks that pass the losses and scores of each epoch on: to searches, logs and users."""

from collections.abc import Callable
from typing import Any

from skorch.callbacks import Callback

__all__ = ["ReportEpoch", "ScoreEpoch"]


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
                f"monitor={self.monitor!r} is not a column of the history; expected one of "
                f"{sorted(losses)}."
            )


class ScoreEpoch(Callback):
    """Record scores of the validation crystals after each epoch, as columns ``valid_NAME``.

    The net predicts the validation crystals once more, in the units of the labels, with the
    weights that validation uses. Crystals of sample weight 0 are left out; without any other there
    are no scores, as there is no validation loss.

    Parameters
    ----------
    score : callable
        Function of predictions and labels that returns scores by name.
    """

    def __init__(self, score: Callable[[Any, Any], dict[str, float]]) -> None:
        self.score = score

    def on_epoch_end(
        self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any
    ) -> None:
        """Record the scores."""
        counts = dataset_valid.targets.weights[dataset_valid.indices] > 0
        if not counts.any():
            return
        scored = dataset_valid.subset(dataset_valid.indices[counts])
        predicted = net.predict(scored.X)
        for name, value in self.score(predicted, scored.y).items():
            net.history.record(f"valid_{name}", value)
