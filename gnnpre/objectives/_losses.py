"""Terms of a loss, and losses of entries that leave missing labels out."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gnnpre._constraints import Check, number, one_of

__all__ = ["LOSSES", "LOSS_CONSTRAINTS", "LossTerm", "loss_unit", "masked_term", "unit_of_labels"]

LOSSES = ("l1", "mse", "huber")
#: Parameters of the objectives that compare numbers.
LOSS_CONSTRAINTS: dict[str, Check] = {"loss": one_of(*LOSSES), "huber_delta": number()}


def loss_unit(unit: str, loss: str) -> str:
    """Return the unit of a loss of numbers in ``unit``; that of a Huber loss is mixed."""
    return {"l1": unit, "mse": f"({unit})²"}.get(loss, "")


def unit_of_labels(loss: str, standardize: bool) -> str:
    """Return the unit of a loss of labels, which may be learnt in units of their spread."""
    return loss_unit("standard deviation of y" if standardize else "unit of y", loss)


@dataclass(frozen=True)
class LossTerm:
    """One named term of a loss, as a sum and its divisor.

    Sums and counts are added up over an epoch, so that the mean over a data set does not depend on
    the batches it was cut into.

    Parameters
    ----------
    total : Tensor
        Sum of the losses of all entries.
    count : Tensor
        Number of entries, or the sum of their weights.
    weight : float
        Factor of the mean in the loss.
    entries : Tensor, optional
        Number of entries, where ``count`` is a sum of weights. A training step divides by it:
        weights that were normalised batch by batch would have no effect between batches.

    Examples
    --------
    >>> import torch
    >>> from gnnpre.objectives import LossTerm
    >>> float(LossTerm(torch.tensor(6.0), torch.tensor(3.0), 10.0).mean)
    2.0
    """

    total: Tensor
    count: Tensor
    weight: float
    entries: Tensor | None = None

    @property
    def mean(self) -> Tensor:
        """Mean over the entries; 0 without entries."""
        return _divide(self.total, self.count)

    @property
    def step_mean(self) -> Tensor:
        """Sum over the weighted entries of a batch, divided by their number."""
        return _divide(self.total, self.count if self.entries is None else self.entries)


def _divide(total: Tensor, count: Tensor) -> Tensor:
    return total / count.clamp(min=torch.finfo(total.dtype).tiny)


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
