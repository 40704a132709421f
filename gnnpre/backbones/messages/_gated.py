"""The message of CGCNN, with its first two derivatives."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ._activations import Activation
from ._message import EdgeMessage, KernelSpec
from ._roles import PAIR, SOURCE, TARGET, Gradients

__all__ = ["GatedMessage"]


class GatedMessage(EdgeMessage):
    """``weight * sigmoid(gate) * g(core)`` with ``[gate, core] = target + source + edge``.

    Inputs are (N, 2C) of the atom that receives, (N, 2C) of the one that sends, a linear map
    (P, 2C) of the pair and its weight (P,). Messages are (E, C).

    Parameters
    ----------
    activation : Activation
        The function ``g``.
    """

    roles = (TARGET, SOURCE, PAIR, PAIR)
    keeps_state = True

    def __init__(self, activation: Activation) -> None:
        self.activation = activation

    def formula(
        self, target: Tensor, source: Tensor, edge: Tensor, weight: Tensor
    ) -> tuple[Tensor]:
        """Return the messages (E, C)."""
        gate, core = (target + source + edge).chunk(2, dim=1)  # (E, C) each
        return (weight[:, None] * torch.sigmoid(gate) * self.activation(core),)

    def kernel(self, widths: Sequence[int]) -> KernelSpec:
        """Return the kernel for C channels and this activation."""
        channels = widths[0] // 2
        constants = (("CHANNELS", channels), ("ACTIVATION", self.activation.name))
        return KernelSpec("gated", constants, (2 * channels,) * 3 + (1,), ((channels,),), mapped=2)

    # The formula and its derivatives by hand: a third of the time of automatic differentiation.

    def prepare(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return weight (p, 1), sigmoid of the gate (k, p, C), and the activation's state."""
        target, source, edge, weight = inputs
        gate, core = (target + source).add_(edge).chunk(2, dim=2)  # (k, p, C) each
        return weight[:, None], torch.sigmoid(gate), *self.activation.prepare(core)

    def value(self, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the messages (k, p, C)."""
        weight, s, *core = state
        return ((s * weight).mul_(self.activation.value(core)),)

    def gradient(
        self, state: Sequence[Tensor], cotangents: Sequence[Tensor], needs: Sequence[bool]
    ) -> Gradients:
        """Return the gradient with respect to each input."""
        weight, s, *core = state
        (t,) = cotangents
        u, u1 = self.activation.first(core)
        by_weight = (s * u).mul_(t).sum(dim=(0, 2)) if needs[3] else None  # (p,)
        q = (t * weight).mul_(s)
        # The same for target, source and edge, which are only added.
        z = torch.cat([(1.0 - s).mul_(u).mul_(q), u1 * q], dim=2)  # (k, p, 2C)
        return z, z, z.sum(dim=0) if needs[2] else None, by_weight

    def second(
        self,
        state: Sequence[Tensor],
        cotangents: Sequence[Tensor],
        tangents: Sequence[Tensor | None],
        needs: Sequence[bool],
    ) -> tuple[tuple[Tensor, ...], Gradients]:
        """Return derivatives of the messages and of the gradient."""
        weight, s, *core = state
        (t,) = cotangents
        one_minus_s = 1.0 - s
        s1 = s * one_minus_s
        u, u1, u2 = self.activation.second(core)

        # 1. The change of the messages, without their weight.
        by_gate, by_core = s1 * u, s * u1
        h_gate, h_core = _tangent_of_sum(tangents[:3], s)
        change = (by_gate * h_gate).addcmul_(by_core, h_core)
        by_weight = (change * t).sum(dim=(0, 2)) if needs[3] else None  # (p,)

        # 2. The change of the gradient with respect to gate and core, at constant weight.
        q = t * weight
        q_gate, q_core = q * h_gate, q.mul_(h_core)
        cross = s1.mul_(u1)
        z_gate = one_minus_s.sub_(s).mul_(by_gate).mul_(q_gate).addcmul_(cross, q_core)
        z_core = cross.mul_(q_gate).addcmul_(u2.mul_(s), q_core)

        # 3. The weight, and its own change.
        change.mul_(weight)
        if tangents[3] is not None:
            h_weight = tangents[3][:, None]
            t_weight = t * h_weight
            change.add_((s * u).mul_(h_weight))
            z_gate.addcmul_(by_gate, t_weight)
            z_core.addcmul_(by_core, t_weight)
        z = torch.cat([z_gate, z_core], dim=2)  # (k, p, 2C)
        return (change,), (z, z, z.sum(dim=0) if needs[2] else None, by_weight)


def _tangent_of_sum(tangents: Sequence[Tensor | None], like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the changes of gate and core, (k, p, C) each."""
    changing = [tangent for tangent in tangents if tangent is not None]
    if not changing:
        return torch.zeros_like(like), torch.zeros_like(like)
    total = sum(changing[1:], start=changing[0])
    gate, core = total.expand(*like.shape[:2], -1).chunk(2, dim=2)
    return gate, core
