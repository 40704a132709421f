"""What comes of an epoch, and of a whole training: records, the best weights, and a divergence."""

import math

from skorch.history import History

from gnnpre._warnings import TrainingWarning, warn_user

from ._average import LossTotals
from ._net import CrystalNet
from ._settings import TrainingSettings
from ._state import TrainingState
from ._strategies import unfreeze_all

__all__ = ["finish", "judge_epoch", "record_losses"]


def record_losses(history: History, prefix: str, totals: LossTotals, n_batches: int) -> None:
    """Record the losses of an epoch: means over entries, not over batches.

    Parameters
    ----------
    history : History
        The history, whose last row is that of the epoch.
    prefix : {"train", "valid"}
        Beginning of the names of the columns.
    totals : LossTotals
        Sums of the losses.
    n_batches : int
        Number of batches.
    """
    history.record(f"{prefix}_batch_count", n_batches)
    for name, value in totals.means().items():
        history.record(f"{prefix}_{name}", value)
    if totals.terms:
        # skorch's Checkpoint monitors this one.
        losses = [row.get(f"{prefix}_loss", math.inf) for row in history]
        history.record(f"{prefix}_loss_best", losses[-1] <= min(losses))


def judge_epoch(state: TrainingState) -> None:
    """Keep the best weights, adapt the learning rate, and notice that a training diverged."""
    row = state.history[-1]
    if not math.isfinite(row["train_loss"]):
        state.diverged = True
        return
    state.rate.after_epoch(row)
    state.best.update(state.epoch, row["train_loss"], row.get("valid_loss"), state.snapshot)


def finish(state: TrainingState, net: CrystalNet, settings: TrainingSettings) -> None:
    """Leave the model with the weights that the training ends with.

    Parameters
    ----------
    state : TrainingState
        State at the end, or where Ctrl-C ended it.
    net : CrystalNet
        The net that holds the model.
    settings : TrainingSettings
        The user's settings.

    Raises
    ------
    FloatingPointError
        If the training diverged and no earlier weights are better.
    """
    history, model = state.history, state.model
    if history and "train_loss" not in history[-1]:
        history.pop()  # an epoch that was interrupted
    # The average stays in the model for good; predictions need not swap it in any more.
    if state.average is not None:
        state.average.swap()
    net.average_ = None
    if state.diverged:
        loss = history[-1]["train_loss"]
        _restore_after_divergence(state, f"The training loss is {loss} in epoch {state.epoch}")
    elif state.validates:
        if settings.restore_best and state.best.weights is not None:
            model.load_state_dict(state.best.weights)
        if state.best.epoch == 0:
            warn_user(
                "The validation loss was not finite in any epoch: the model has the weights of "
                "the last one. Look for outliers among the labels, or lower learning_rate.",
                TrainingWarning,
            )
    # No loss has seen what the last step did, unless a validation came after it.
    if not all(bool(weight.isfinite().all()) for weight in model.parameters()):
        _restore_after_divergence(state, f"Weights are not finite after epoch {state.epoch}")
    unfreeze_all(model, settings)


def _restore_after_divergence(state: TrainingState, symptom: str) -> None:
    """Go back to the best weights so far, or raise an error if there are none."""
    message = f"{symptom}: training diverged. "
    advice = "Lower learning_rate or gradient_clip, or look for outliers among the labels."
    if state.best.weights is None:
        raise FloatingPointError(message + advice)
    state.model.load_state_dict(state.best.weights)
    warn_user(
        f"{message}The model has the weights of epoch {state.best.epoch}. {advice}",
        TrainingWarning,
    )
