"""Activations with their first two derivatives, all from one exponential."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["SILU", "SOFTPLUS", "Activation"]


class Activation(ABC):
    """A function of each number of a tensor, with two derivatives.

    Calling it returns the function by torch alone, which automatic differentiation understands; the
    methods share their exponential. The caller may write to the derivatives from :meth:`second`.
    """

    #: Name of the same function in ``kernels/edge_math.h``.
    name: str

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Return the function, in plain torch."""

    @abstractmethod
    def prepare(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state, from which the other methods need no exponential."""

    @abstractmethod
    def value(self, state: Sequence[Tensor]) -> Tensor:
        """Return the function."""

    @abstractmethod
    def first(self, state: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the function and its derivative."""

    @abstractmethod
    def second(self, state: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the function and its first two derivatives."""


class _SiLU(Activation):
    """``x sigmoid(x)``; the state is x and its sigmoid."""

    name = "silu"

    def __call__(self, x: Tensor) -> Tensor:
        return nn.functional.silu(x)

    def prepare(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, torch.sigmoid(x)

    def value(self, state: Sequence[Tensor]) -> Tensor:
        x, s = state
        return x * s

    def first(self, state: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        x, s = state
        u = x * s
        return u, (1.0 - s).mul_(u).add_(s)

    def second(self, state: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        x, s = state
        one_minus_s = 1.0 - s
        u = x * s
        u2 = (one_minus_s - s).mul_(x).add_(2.0).mul_(s).mul_(one_minus_s)
        return u, one_minus_s.mul_(u).add_(s), u2


class _Softplus(Activation):
    """``log(1 + exp(x))``; the state is its value and the sigmoid of x."""

    name = "softplus"

    def __call__(self, x: Tensor) -> Tensor:
        return nn.functional.softplus(x)

    def prepare(self, x: Tensor) -> tuple[Tensor, Tensor]:
        s = torch.sigmoid(x)
        # log(1 + exp(x)) = max(x, 0) - log(1 - sigmoid(-|x|)); log1p is torch's fastest logarithm.
        return torch.relu(x).sub_(torch.minimum(s, 1.0 - s).neg_().log1p_()), s

    def value(self, state: Sequence[Tensor]) -> Tensor:
        return state[0]

    def first(self, state: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        return state[0], state[1]

    def second(self, state: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        u, s = state
        return u, s, (1.0 - s).mul_(s)


SILU: Activation = _SiLU()
SOFTPLUS: Activation = _Softplus()
