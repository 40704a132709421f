"""Losses of entries, masked where a label is missing."""

import torch
from torch import Tensor

from gnnpre._constraints import Check, number, one_of

from ._base import LossTerm

__all__ = ["LOSSES", "LOSS_CONSTRAINTS", "masked_term"]

LOSSES = ("l1", "mse", "huber")
#: Parameters of the objectives that compare numbers.
LOSS_CONSTRAINTS: dict[str, Check] = {"loss": one_of(*LOSSES), "huber_delta": number()}


def masked_term(
    prediction: Tensor,
    target: Tensor,
    *,
    loss: str,
    huber_delta: float,
    weight: float,
    sample_weight: Tensor | None = None,
) -> LossTerm:
    """Return the loss over the entries with a target (not NaN).

    A prediction that is NaN where there is a target makes the loss NaN: a training that diverged
    must not look perfect. ``sample_weight`` has a weight for each row of ``target``.
    """
    present = ~torch.isnan(target)
    # NaN is replaced before the difference: a gradient through NaN would be NaN.
    error = torch.where(present, prediction - torch.where(present, target, 0.0), 0.0)
    values = _entry_loss(error, loss, huber_delta)
    counts = present.to(values.dtype)
    entries = counts.sum()
    if sample_weight is not None:
        rows = sample_weight.reshape(-1, *[1] * (values.ndim - 1))
        values, counts = values * rows, counts * rows
    return LossTerm(values.sum(), counts.sum(), weight, entries)


def _entry_loss(error: Tensor, loss: str, huber_delta: float) -> Tensor:
    if loss == "l1":
        return error.abs()
    if loss == "mse":
        return error * error
    return torch.nn.functional.huber_loss(
        error, torch.zeros_like(error), reduction="none", delta=huber_delta
    )
