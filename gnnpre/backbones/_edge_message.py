"""What is sent along edges: a function of atoms and pairs with two derivatives."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

__all__ = [
    *("PAIR", "SHARED", "SOURCE", "TARGET"),
    *("EdgeMessage", "KernelSpec", "LinearMap", "Optional"),
]

#: Where a message finds an input: at the atom that receives, the one that sends, or the edge; or
#: all edges have the same.
TARGET, SOURCE, PAIR, SHARED = "target", "source", "pair", "shared"

Optional = tuple[Tensor | None, ...]


class LinearMap(NamedTuple):
    """An input of pairs that is a linear map of their features.

    Its rows are wide and made of few features: what works on an edge at a time makes each when it
    is needed, and never has all of them.

    Parameters
    ----------
    features : Tensor of shape (P, r)
        Features of the pairs.
    weight : Tensor of shape (width, r)
        Weights.
    bias : Tensor of shape (width,), optional
        What is added.
    """

    features: Tensor
    weight: Tensor
    bias: Tensor | None = None

    def product(self) -> Tensor:
        """Give the rows, (P, width)."""
        return nn.functional.linear(self.features, self.weight, self.bias)


class KernelSpec(NamedTuple):
    """A file of ``kernels/`` and what it is compiled for.

    Parameters
    ----------
    source : str
        Name of the file, without its end.
    constants : tuple of (str, int or str)
        Macros of the file.
    widths : tuple of int
        Numbers in a row of each input; of a linear map, those that come of it.
    sums : tuple of tuple of int
        Shapes of the sums, after that of the atoms.
    mapped : int, optional
        Which input is a linear map.
    """

    source: str
    constants: tuple[tuple[str, int | str], ...]
    widths: tuple[int, ...]
    sums: tuple[tuple[int, ...], ...]
    mapped: int | None = None


class EdgeMessage(ABC):
    """What is sent along edges, as a function with two derivatives.

    All methods are pure functions of the tensors of a block of p pairs in k directions: inputs
    of atoms are (k, p, ...), those of pairs (p, ...) and the same in both directions, messages
    (k, p, ...). A gradient with respect to an input of pairs is summed over k.

    """

    #: Where each input is found.
    roles: tuple[str, ...]
    #: Whether the state is kept for the derivatives, rather than made anew for each, unless the
    #: batch is large.
    keeps_state = False

    def kernel(self, widths: Sequence[int]) -> KernelSpec | None:
        """Say which kernel works on inputs with rows of so many numbers, if there is one."""
        return None

    @abstractmethod
    def prepare(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Give the state: what the other methods need to know of the inputs."""

    @abstractmethod
    def value(self, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Give the messages."""

    @abstractmethod
    def gradient(
        self, state: Sequence[Tensor], cotangents: Sequence[Tensor], needs: Sequence[bool]
    ) -> Optional:
        """Give the gradient of ``sum <cotangent, message>`` with respect to each input."""

    @abstractmethod
    def second(
        self,
        state: Sequence[Tensor],
        cotangents: Sequence[Tensor],
        tangents: Sequence[Tensor | None],
        needs: Sequence[bool],
    ) -> tuple[tuple[Tensor, ...], Optional]:
        """Give derivatives along ``tangents`` of the messages and of their gradient.

        Parameters
        ----------
        state : sequence of Tensor
            What :meth:`prepare` gave.
        cotangents : sequence of Tensor
            What the messages are multiplied by; held fixed.
        tangents : sequence of Tensor or None
            Direction in which the inputs change; None for those that do not.
        needs : sequence of bool
            Which parts of the gradient are wanted.

        Returns
        -------
        tuple of tuple of Tensor
            Derivatives of the messages, and of the gradient with respect to each input.
        """
