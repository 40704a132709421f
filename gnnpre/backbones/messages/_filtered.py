"""The message of continuous-filter convolutions."""

from collections.abc import Sequence

from torch import Tensor

from ._message import EdgeMessage, KernelSpec
from ._roles import PAIR, SOURCE

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
