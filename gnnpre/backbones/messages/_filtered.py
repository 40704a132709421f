"""The message of continuous-filter convolutions."""

from collections.abc import Sequence

from torch import Tensor

from ._message import EdgeMessage, KernelSpec
from ._roles import PAIR, SOURCE, Gradients

__all__ = ["FilteredMessage"]


class FilteredMessage(EdgeMessage):
    """``filter * source``: (P, C) filters of pairs times (N, C) features of the sender."""

    roles = (PAIR, SOURCE)

    def formula(self, filters: Tensor, source: Tensor) -> tuple[Tensor]:
        """Return the messages (E, C)."""
        return (filters * source,)

    def kernel(self, widths: Sequence[int]) -> KernelSpec:
        """Return the kernel for C channels."""
        channels = widths[0]
        return KernelSpec("filtered", (("CHANNELS", channels),), (channels,) * 2, ((channels,),))

    # By hand: the product is linear in each factor, so that every derivative is a product too.

    def value(self, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the messages (k, p, C)."""
        filters, source = state
        return (filters * source,)

    def gradient(
        self, state: Sequence[Tensor], cotangents: Sequence[Tensor], needs: Sequence[bool]
    ) -> Gradients:
        """Return the gradient with respect to each input."""
        filters, source = state
        (g,) = cotangents
        return (source * g).sum(dim=0) if needs[0] else None, filters * g if needs[1] else None

    def second(
        self,
        state: Sequence[Tensor],
        cotangents: Sequence[Tensor],
        tangents: Sequence[Tensor | None],
        needs: Sequence[bool],
    ) -> tuple[tuple[Tensor, ...], Gradients]:
        """Return derivatives of the messages and of the gradient."""
        filters, source = state
        d_filters, d_source = tangents
        products = []
        if d_filters is not None:
            products.append(d_filters * source)
        if d_source is not None:
            products.append(filters * d_source)
        # The gradient is linear in the other factor: its change is that for the changed factor.
        moved = [source if x is None else x for x in (d_filters, d_source)]
        by_filters, by_source = self.gradient(moved, cotangents, needs)
        return (sum(products[1:], start=products[0]),), (
            None if d_source is None else by_filters,
            None if d_filters is None else by_source,
        )
