"""Activations with their first two derivatives, all from one exponential."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["SILU", "SOFTPLUS", "ScalarFunction"]


class ScalarFunction(ABC):
    """A function of each number of a tensor, with two derivatives.

    The derivatives that :meth:`second` gives are the caller's, to write on.

    """

    #: Its name in ``kernels/edge_math.h``.
    name: str

    @abstractmethod
    def prepare(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give the state, from which all else is a few products."""

    @abstractmethod
    def value(self, state: Sequence[Tensor]) -> Tensor:
        """Give the function."""

    @abstractmethod
    def first(self, state: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Give the function and its derivative."""

    @abstractmethod
    def second(self, state: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Give the function and its first two derivatives."""


class _SiLU(ScalarFunction):
    """``x sigmoid(x)``; the state is x and its sigmoid."""

    name = "silu"

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
        rest = 1.0 - s
        u = x * s
        u2 = (rest - s).mul_(x).add_(2.0).mul_(s).mul_(rest)
        return u, rest.mul_(u).add_(s), u2


class _Softplus(ScalarFunction):
    """``log(1 + exp(x))``; the state is its value and the sigmoid of x."""

    name = "softplus"

    def prepare(self, x: Tensor) -> tuple[Tensor, Tensor]:
        s = torch.sigmoid(x)
        # log(1 + exp(x)) = max(x, 0) - log(1 - sigmoid(-|x|)): the fastest of torch's logarithms.
        return torch.relu(x).sub_(torch.minimum(s, 1.0 - s).neg_().log1p_()), s

    def value(self, state: Sequence[Tensor]) -> Tensor:
        return state[0]

    def first(self, state: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        return state[0], state[1]

    def second(self, state: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        u, s = state
        return u, s, (1.0 - s).mul_(s)


SILU: ScalarFunction = _SiLU()
SOFTPLUS: ScalarFunction = _Softplus()
