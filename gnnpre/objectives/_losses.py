"""Losses of entries, masked where a label is missing."""

import torch
from torch import Tensor

from ._base import LossTerm

__all__ = ["LOSSES", "masked_term"]

LOSSES = ("l1", "mse", "huber")


def masked_term(
    prediction: Tensor,
    target: Tensor,
    *,
    loss: str,
    huber_delta: float,
    weight: float,
    sample_weight: Tensor | None = None,
) -> LossTerm:
    """Loss over the entries whose target is there (not NaN).

    A prediction that is NaN where there is a target makes the loss NaN: a training that diverged
    must not look perfect. ``sample_weight`` has a weight for each row of ``target``.
    """
    present = ~torch.isnan(target)
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
