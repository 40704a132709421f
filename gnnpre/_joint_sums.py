"""Sums over all crystals of a batch, wherever they are: on this process or on several.

A batch of one training may be split between processes. Most of a model treats crystals one by one;
statistics over crystals (those of batch norm, for example) add up with these functions.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

__all__ = ["batch_is_split", "joint_mean", "joint_sum", "split_batch"]

#: Adds up a tensor, in place, over the processes that share a batch.
AddUp = Callable[[Tensor], None]

_add_up: ContextVar[AddUp | None] = ContextVar("add_up", default=None)


@contextmanager
def split_batch(add_up: AddUp | None) -> Iterator[None]:
    """Run a block of code on one share of a batch; ``add_up`` sums over all of them.

    All processes have to compute the same sums in the same order. None stands for a whole batch.
    """
    token = _add_up.set(add_up)
    try:
        yield
    finally:
        _add_up.reset(token)


def batch_is_split() -> bool:
    """Return whether this process sees one share of a batch only."""
    return _add_up.get() is not None


def joint_sum(values: Tensor) -> Tensor:
    """Add up a tensor of equal shape over the shares of a batch; it can be differentiated twice."""
    add_up = _add_up.get()
    if add_up is None:
        return values
    total: Tensor = _JointSum.apply(values, add_up)
    return total


def joint_mean(values: Tensor, dim: int) -> Tensor:
    """Return the mean along a dimension that runs over the crystals or atoms of a batch."""
    if not batch_is_split():
        return values.mean(dim)
    count = joint_sum(values.new_full((), values.shape[dim]))
    return joint_sum(values.sum(dim)) / count


class _JointSum(torch.autograd.Function):
    """Sum over processes. Each gradient reaches every summand, from the losses of all processes."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, add_up: AddUp) -> Tensor:
        ctx.add_up = add_up
        total = values.detach().clone().contiguous()
        add_up(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _JointSum.apply(gradient, ctx.add_up), None
