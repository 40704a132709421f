"""Dual numbers: formulas on tensors that carry their change along a direction with them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._functions import SILU

__all__ = ["Dual", "cat", "change_of", "dot", "plus", "silu", "times"]


class Dual:
    """A tensor and its change; no change is that of a constant."""

    __slots__ = ("change", "value")

    def __init__(self, value: Tensor, change: Tensor | None) -> None:
        self.value = value
        self.change = change

    def _same(self, name: str, *args: Any, **kwargs: Any) -> "Dual":
        """Apply a linear method to both."""
        value = getattr(self.value, name)(*args, **kwargs)
        if self.change is None:
            return Dual(value, None)
        return Dual(value, getattr(self.change, name)(*args, **kwargs))

    def sum(self, dim: int | tuple[int, ...]) -> "Dual":
        return self._same("sum", dim=dim)

    def unsqueeze(self, dim: int) -> "Dual":
        return self._same("unsqueeze", dim)

    def chunk(self, chunks: int, dim: int) -> "tuple[Dual, ...]":
        values = self.value.chunk(chunks, dim)
        if self.change is None:
            return tuple(Dual(value, None) for value in values)
        changes = self.change.chunk(chunks, dim)
        return tuple(Dual(x, h) for x, h in zip(values, changes, strict=True))

    def matmul(self, matrix: Tensor) -> "Dual":
        return self._same("matmul", matrix)


def times(x: Any, *factors: Any) -> Any:
    """Multiply numbers; a function, as torch.compile knows no operators of other classes."""
    for y in factors:
        x = _product(x, y) if isinstance(x, Dual) or isinstance(y, Dual) else x * y
    return x


def _product(x: Any, y: Any) -> Dual:
    x = x if isinstance(x, Dual) else Dual(x, None)
    y = y if isinstance(y, Dual) else Dual(y, None)
    change = None
    if x.change is not None:
        change = x.change * y.value
    if y.change is not None:
        change = x.value * y.change if change is None else change.addcmul_(x.value, y.change)
    return Dual(x.value * y.value, change)


def dot(x: Any, y: Any) -> Any:
    """Give the inner products of vectors (k, p, 3, ...)."""
    if not isinstance(x, Dual) and not isinstance(y, Dual):
        return _dot(x, y)
    x = x if isinstance(x, Dual) else Dual(x, None)
    y = y if isinstance(y, Dual) else Dual(y, None)
    change = None
    if x.change is not None:
        change = _dot(x.change, y.value)
    if y.change is not None:
        change = _dot(x.value, y.change, change)
    return Dual(_dot(x.value, y.value), change)


def _dot(x: Tensor, y: Tensor, total: Tensor | None = None) -> Tensor:
    for i in range(3):  # one by one: a sum over them is slower than all else here
        xi, yi = x.select(2, i), y.select(2, i)
        total = xi * yi if total is None else total.addcmul_(xi, yi)
    assert total is not None
    return total


def plus(x: Any, y: Any) -> Any:
    """Add two numbers of a kind."""
    if not isinstance(x, Dual):
        return x + y
    if x.change is None or y.change is None:
        change = x.change if y.change is None else y.change
    else:
        change = x.change + y.change
    return Dual(x.value + y.value, change)


def silu(x: Any) -> tuple[Any, Any]:
    """Give SiLU and its derivative."""
    if not isinstance(x, Dual):
        return SILU.first(SILU.prepare(x))
    u, u1, u2 = SILU.second(SILU.prepare(x.value))
    if x.change is None:
        return Dual(u, None), Dual(u1, None)
    return Dual(u, u1 * x.change), Dual(u1, u2.mul_(x.change))


def cat(parts: Sequence[Any], dim: int) -> Any:
    """Put numbers side by side."""
    if not isinstance(parts[0], Dual):
        return torch.cat(list(parts), dim)
    return Dual(
        torch.cat([part.value for part in parts], dim),
        torch.cat([change_of(part) for part in parts], dim),
    )


def change_of(x: Any) -> Tensor:
    """Give the change, zeros for a constant."""
    return torch.zeros_like(x.value) if x.change is None else x.change
