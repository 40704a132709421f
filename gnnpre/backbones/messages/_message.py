"""The interface of a message along an edge: a formula, and optional fast paths."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from . import _derived
from ._roles import Gradients

__all__ = ["EdgeMessage", "KernelSpec", "LinearMap"]


class LinearMap(NamedTuple):
    """An input of pairs that is a linear map of their features.

    Its rows have many columns but depend on few features. A kernel computes each row when it is
    needed, so that the (P, width) tensor never exists.

    Parameters
    ----------
    features : Tensor of shape (P, r)
        Features of the pairs.
    weight : Tensor of shape (width, r)
        Weights.
    bias : Tensor of shape (width,), optional
        Bias.

    Examples
    --------
    >>> import torch
    >>> from gnnpre.backbones.messages import LinearMap
    >>> LinearMap(torch.ones(3, 2), torch.ones(5, 2)).product().shape
    torch.Size([3, 5])
    """

    features: Tensor
    weight: Tensor
    bias: Tensor | None = None

    def product(self) -> Tensor:
        """Return the rows, (P, width)."""
        return nn.functional.linear(self.features, self.weight, self.bias)


class KernelSpec(NamedTuple):
    """A kernel, in C in ``kernels/`` and in Triton, and the sizes that it is compiled for.

    Parameters
    ----------
    source : str
        Name of the kernel: of its files without ``.c`` and ``.py``.
    constants : tuple of (str, int or str)
        Macros to compile it with.
    widths : tuple of int
        Numbers in a row of each input; for a linear map, of its product.
    sums : tuple of tuple of int
        Shapes of the sums of an atom.
    mapped : int, optional
        Index of the input that is a linear map.
    """

    source: str
    constants: tuple[tuple[str, int | str], ...]
    widths: tuple[int, ...]
    sums: tuple[tuple[int, ...], ...]
    mapped: int | None = None


class EdgeMessage(ABC):
    """Base class of messages from one atom to another along an edge.

    A subclass sets ``roles`` and implements :meth:`formula`; its gradient and second derivative
    follow by automatic differentiation. The other methods are optional fast paths, and each must
    agree with the formula (``tests/backbones/messages/test_formulas.py``):

    - ``prepare``, ``value``, ``gradient`` and ``second`` compute a block of edges in torch;
    - ``kernel`` names a kernel that computes the same edge by edge.

    They see a block of p pairs of atoms in k directions: k is 2 where each edge comes with its
    reverse. Inputs of atoms have the shape (k, p, ...) and messages too; inputs of pairs have the
    shape (p, ...), and their gradient is summed over k.

    Examples
    --------
    A message that is damped by the distance of the two atoms:

    >>> import torch
    >>> from gnnpre.backbones.messages import PAIR, SOURCE, EdgeMessage
    >>> class Damped(EdgeMessage):
    ...     roles = (SOURCE, PAIR)
    ...
    ...     def formula(self, source, distance):
    ...         return (source * torch.exp(-distance),)
    >>> Damped().formula(torch.ones(4, 8), torch.ones(4, 1))[0].shape
    torch.Size([4, 8])
    """

    #: Owner of each input: the atom that receives (TARGET), the atom that sends (SOURCE), the pair
    #: of atoms (PAIR), or the pair with the opposite sign for the reverse edge (DIRECTION).
    roles: tuple[str, ...]
    #: Whether derivatives reuse the state from ``value``. If not, they prepare it again, as they do
    #: for batches whose states would take too much memory.
    keeps_state = False

    # The types are Any, so that type checkers let a subclass name its inputs.
    @abstractmethod
    def formula(self, *inputs: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        """Return the messages of E edges.

        Parameters
        ----------
        *inputs : Tensor of shape (E, ...)
            The inputs of each edge, in the order of ``roles``.
        **kwargs : None
            Not used.

        Returns
        -------
        tuple of Tensor of shape (E, ...)
            One or more messages of each edge; each is summed over the neighbours.
        """

    def kernel(self, widths: Sequence[int]) -> KernelSpec | None:
        """Return the kernel for inputs with rows of ``widths`` numbers, or None."""
        return None

    def prepare(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the state: all that the methods below need of the inputs."""
        return inputs

    def value(self, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the messages of a block."""
        return _derived.value(self.formula, self.roles, state)

    def gradient(
        self, state: Sequence[Tensor], cotangents: Sequence[Tensor], needs: Sequence[bool]
    ) -> Gradients:
        """Return the gradient of ``sum <cotangent, message>`` with respect to each input."""
        return _derived.gradient(self.formula, self.roles, state, cotangents, needs)

    def second(
        self,
        state: Sequence[Tensor],
        cotangents: Sequence[Tensor],
        tangents: Sequence[Tensor | None],
        needs: Sequence[bool],
    ) -> tuple[tuple[Tensor, ...], Gradients]:
        """Return derivatives along ``tangents`` of the messages and of their gradient.

        Parameters
        ----------
        state : sequence of Tensor
            The result of :meth:`prepare`.
        cotangents : sequence of Tensor
            Factors of the messages in the gradient, which do not change.
        tangents : sequence of Tensor or None
            Directions in which the inputs change; None for an input that does not.
        needs : sequence of bool
            Which parts of the gradient are needed.

        Returns
        -------
        tuple of tuple of Tensor
            Derivatives of the messages, and of the gradient with respect to each input.
        """
        return _derived.second(self.formula, self.roles, state, cotangents, tangents, needs)
