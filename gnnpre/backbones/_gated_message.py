"""The message of CGCNN, with its first two derivatives."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ._edge_message import PAIR, SOURCE, TARGET, EdgeMessage, KernelSpec, Optional
from ._functions import ScalarFunction

__all__ = ["GatedMessage"]


class GatedMessage(EdgeMessage):
    """``weight * sigmoid(gate) * g(core)`` with ``[gate, core] = target + source + edge``.

    Inputs are (N, 2C) of the atom that receives, (N, 2C) of the one that sends, (P, 2C), a linear
    map, and the weight (P,) of the pair; messages are (N, C) when summed.

    """

    roles = (TARGET, SOURCE, PAIR, PAIR)
    keeps_state = True

    def __init__(self, activation: ScalarFunction) -> None:
        self.activation = activation

    def kernel(self, widths: Sequence[int]) -> KernelSpec:
        """Name the kernel of so many channels and this activation."""
        channels = widths[0] // 2
        constants = (("CHANNELS", channels), ("ACTIVATION", self.activation.name))
        return KernelSpec("gated", constants, (2 * channels,) * 3 + (1,), ((channels,),), mapped=2)

    def prepare(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Give the weight (p, 1), the gate (k, p, C) and what the activation keeps."""
        target, source, edge, weight = inputs
        gate, core = (target + source).add_(edge).chunk(2, dim=2)
        return weight[:, None], torch.sigmoid(gate), *self.activation.prepare(core)

    def value(self, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Give the messages (k, p, C)."""
        weight, s, *core = state
        return ((s * weight).mul_(self.activation.value(core)),)

    def gradient(
        self, state: Sequence[Tensor], cotangents: Sequence[Tensor], needs: Sequence[bool]
    ) -> Optional:
        """Give the gradient with respect to each input."""
        weight, s, *core = state
        (t,) = cotangents
        u, u1 = self.activation.first(core)
        by_weight = (s * u).mul_(t).sum(dim=(0, 2)) if needs[3] else None
        q = (t * weight).mul_(s)
        z = torch.cat([(1.0 - s).mul_(u).mul_(q), u1 * q], dim=2)  # (k, p, 2C)
        return z, z, z.sum(dim=0) if needs[2] else None, by_weight

    def second(
        self,
        state: Sequence[Tensor],
        cotangents: Sequence[Tensor],
        tangents: Sequence[Tensor | None],
        needs: Sequence[bool],
    ) -> tuple[tuple[Tensor, ...], Optional]:
        """Give derivatives of the messages and of the gradient."""
        weight, s, *core = state
        (t,) = cotangents
        rest = 1.0 - s
        s1 = s * rest
        u, u1, u2 = self.activation.second(core)
        by_gate, by_core = s1 * u, s * u1  # derivatives of the message without its weight
        h_gate, h_core = _tangent(tangents, s)
        change = (by_gate * h_gate).addcmul_(by_core, h_core)
        by_weight = (change * t).sum(dim=(0, 2)) if needs[3] else None
        q = t * weight
        q_gate, q_core = q * h_gate, q.mul_(h_core)
        cross = s1.mul_(u1)
        z_gate = rest.sub_(s).mul_(by_gate).mul_(q_gate).addcmul_(cross, q_core)
        z_core = cross.mul_(q_gate).addcmul_(u2.mul_(s), q_core)
        change.mul_(weight)
        if tangents[3] is not None:
            h_weight = tangents[3][:, None]
            t_weight = t * h_weight
            change.add_((s * u).mul_(h_weight))
            z_gate.addcmul_(by_gate, t_weight)
            z_core.addcmul_(by_core, t_weight)
        z = torch.cat([z_gate, z_core], dim=2)
        return (change,), (z, z, z.sum(dim=0) if needs[2] else None, by_weight)


def _tangent(tangents: Sequence[Tensor | None], like: Tensor) -> tuple[Tensor, Tensor]:
    known = [tangent for tangent in tangents[:3] if tangent is not None]
    if not known:
        return torch.zeros_like(like), torch.zeros_like(like)
    total = sum(known[1:], start=known[0])
    gate, core = total.expand(*like.shape[:2], -1).chunk(2, dim=2)
    return gate, core  # (k, p, C) each
