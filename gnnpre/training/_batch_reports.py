"""Announcements of single batches to the user's callbacks, and records of their losses."""

import torch
from skorch.callbacks import Callback
from skorch.history import History
from torch import Tensor

from gnnpre.graphs import CrystalBatch

from ._net import CrystalNet

__all__ = ["begin_batch", "end_batch", "read_losses", "sees_batches"]

#: Methods that are called for each batch.
_OF_BATCHES = ("on_batch_begin", "on_batch_end", "on_grad_computed")

_Batch = tuple[CrystalBatch, dict[str, Tensor]]


def sees_batches(net: CrystalNet) -> bool:
    """Return whether a callback of the net is called for single batches."""
    return any(
        getattr(type(callback), name) is not getattr(Callback, name)
        for _, callback in net.callbacks_
        for name in _OF_BATCHES
    )


def begin_batch(net: CrystalNet, batch: _Batch, *, training: bool) -> None:
    """Announce a batch to the callbacks, if there are any."""
    if net.callbacks_:
        net.notify("on_batch_begin", batch=batch, training=training)


def end_batch(
    net: CrystalNet,
    batch: _Batch,
    loss: Tensor,
    predictions: dict[str, Tensor],
    *,
    training: bool,
) -> None:
    """Record the loss of a batch, as skorch does, and announce its end.

    Parameters
    ----------
    net : CrystalNet
        The net that holds the callbacks and the history.
    batch : tuple of CrystalBatch and dict of str to Tensor
        The batch and its targets.
    loss : Tensor
        Its loss.
    predictions : dict of str to Tensor
        Its predictions.
    training : bool
        Whether it is a step of the training, and not of the validation.
    """
    if not net.callbacks_:
        return
    prefix = "train" if training else "valid"
    # To read a loss is to wait for the GPU: where nobody looks, that has time until the epoch ends.
    net.history.record_batch(f"{prefix}_loss", loss.item() if sees_batches(net) else loss)
    net.history.record_batch(f"{prefix}_batch_size", len(batch[0].n_atoms))
    net.notify("on_batch_end", batch=batch, training=training, loss=loss, y_pred=predictions)


def read_losses(history: History) -> None:
    """Read the losses of the batches of an epoch, all at once, where they are tensors still."""
    cells = [
        (batch, name)
        for batch in history[-1]["batches"]
        for name in ("train_loss", "valid_loss")
        if isinstance(batch.get(name), Tensor)
    ]
    losses = torch.stack([batch[name] for batch, name in cells]).tolist() if cells else []
    for (batch, name), loss in zip(cells, losses, strict=True):
        batch[name] = loss
