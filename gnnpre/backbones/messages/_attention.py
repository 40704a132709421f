"""The message of TorchMD-Net's equivariant transformer, with its first two derivatives."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from ._dual import Dual, add, cat, change_of, dot, multiply, silu
from ._message import EdgeMessage, KernelSpec
from ._roles import DIRECTION, PAIR, SOURCE, TARGET, Gradients

__all__ = ["AttentionMessage"]


class AttentionMessage(EdgeMessage):
    """Scalars and vectors, weighted by the attention of the atom that receives them.

    With ``[key, scalar, along, gate] = source * silu(edge)``::

        scalars = envelope * silu(sum_head query * key) * scalar
        vectors = direction * along + vectors_of_source * gate * envelope

    Inputs are queries (N, C) of the atom that receives; (N, 4C) of the one that sends; for the pair
    a linear map (P, 4C), the envelope (P,) and the direction (P, 3); and, unless all are zero, the
    vectors (N, 3, C) of the atom that sends. Without vectors there is no gate, and 3C replaces 4C.

    Parameters
    ----------
    n_heads : int
        Number of heads; each has C / n_heads channels.
    vectors : bool
        Whether the atoms have vectors.
    vector_cutoff : bool
        Whether the last ``envelope`` of the equations is there.
    """

    def __init__(self, n_heads: int, *, vectors: bool, vector_cutoff: bool) -> None:
        self.n_heads = n_heads
        self.n_chunks = 4 if vectors else 3
        self.vectors = vectors
        self.vector_cutoff = vector_cutoff
        self.roles = (TARGET, SOURCE, PAIR, PAIR, DIRECTION) + ((SOURCE,) if vectors else ())

    def formula(
        self,
        query: Tensor,
        source: Tensor,
        edge: Tensor,
        envelope: Tensor,
        direction: Tensor,
        *vectors_of_source: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return scalars (E, C) and vectors (E, 3, C)."""
        chunks = (source * nn.functional.silu(edge)).chunk(self.n_chunks, dim=1)
        key, scalar, along, *gate = chunks  # (E, C) each
        heads = (query * key).unflatten(1, (self.n_heads, -1))  # (E, H, C / H)
        attention = nn.functional.silu(heads.sum(dim=2)) * envelope[:, None]  # (E, H)
        scalars = attention[:, :, None] * scalar.unflatten(1, (self.n_heads, -1))
        vectors = direction[:, :, None] * along[:, None]  # (E, 3, C)
        if self.vectors:
            weight = gate[0] * envelope[:, None] if self.vector_cutoff else gate[0]
            vectors = vectors + vectors_of_source[0] * weight[:, None]
        return scalars.flatten(1), vectors

    def kernel(self, widths: Sequence[int]) -> KernelSpec:
        """Return the kernel for C channels and these heads."""
        channels = widths[0]
        wide = self.n_chunks * channels
        constants = (
            ("CHANNELS", channels),
            ("HEADS", self.n_heads),
            ("VECTORS", int(self.vectors)),
            ("VECTOR_CUTOFF", int(self.vector_cutoff)),
        )
        expected = (channels, wide, wide, 1, 3) + ((3 * channels,) if self.vectors else ())
        return KernelSpec("attention", constants, expected, ((channels,), (3, channels)), mapped=2)

    # By hand: the same function of tensors and of dual numbers, whose changes are then the second
    # derivative. Two thirds of the time of automatic differentiation.

    def value(self, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return scalars (k, p, C) and vectors (k, p, 3, C)."""
        return tuple(self._messages_and_gradient(state, None)[0])

    def gradient(
        self, state: Sequence[Tensor], cotangents: Sequence[Tensor], needs: Sequence[bool]
    ) -> Gradients:
        """Return the gradient with respect to each input."""
        return tuple(self._messages_and_gradient(state, cotangents)[1])

    def second(
        self,
        state: Sequence[Tensor],
        cotangents: Sequence[Tensor],
        tangents: Sequence[Tensor | None],
        needs: Sequence[bool],
    ) -> tuple[tuple[Tensor, ...], Gradients]:
        """Return derivatives of the messages and of the gradient."""
        duals = [Dual(x, h) for x, h in zip(state, tangents, strict=True)]
        messages, gradients = self._messages_and_gradient(duals, cotangents)
        return tuple(map(change_of, messages)), tuple(map(change_of, gradients))

    def _messages_and_gradient(
        self, inputs: Sequence[Any], cotangents: Sequence[Tensor] | None
    ) -> tuple[Sequence[Any], Sequence[Any]]:
        """Return the messages and, with cotangents, their gradient."""
        # 1. Messages.
        query, source, edge, envelope, directions, *vectors = inputs
        envelope = envelope.unsqueeze(1)  # (p, 1)
        cutoff = [envelope] if self.vector_cutoff else []
        filters, slopes = silu(edge)  # (p, 4C)
        key, scalar, along, *gate = multiply(source, filters).chunk(self.n_chunks, -1)  # (k, p, C)
        e, e1 = silu(self._sum_heads(multiply(query, key)))  # (k, p, H)
        attention = multiply(e, envelope)
        signs = _signs(query)
        direction = multiply(directions.unsqueeze(2), signs)  # (k, p, 3, 1)
        vector = multiply(direction, along.unsqueeze(2))  # (k, p, 3, C)
        if vectors:
            weight = multiply(gate[0], *cutoff).unsqueeze(2)  # (k, p, 1, C)
            vector = add(vector, multiply(vectors[0], weight))
        messages = (self._times_heads(scalar, attention), vector)
        if cotangents is None:
            return messages, ()

        # 2. Gradient with respect to key, scalar, along and gate, side by side.
        g, g_vector = cotangents
        g_attention = self._sum_heads(multiply(scalar, g))
        g_logits = multiply(g_attention, envelope, e1)
        g_envelope = multiply(g_attention, e).sum(dim=(0, 2))
        g_chunks = [
            self._times_heads(query, g_logits),
            self._times_heads(g, attention),
            dot(direction, g_vector),
        ]
        by_vectors = []
        if vectors:
            by_vectors.append(multiply(weight, g_vector))
            g_weight = dot(vectors[0], g_vector)  # (k, p, C)
            g_chunks.append(multiply(g_weight, *cutoff))
            if cutoff:
                g_envelope = add(g_envelope, multiply(g_weight, gate[0]).sum(dim=(0, 2)))
        g_product = cat(g_chunks, -1)  # (k, p, 4C)

        # 3. Gradient with respect to the inputs; those of pairs are summed over k.
        g_direction = multiply(along.unsqueeze(2), g_vector).sum(dim=3)  # (k, p, 3)
        gradients = (
            self._times_heads(key, g_logits),
            multiply(g_product, filters),
            multiply(multiply(g_product, source).sum(dim=0), slopes),
            g_envelope,
            multiply(g_direction, signs[..., 0]).sum(dim=0),
            *by_vectors,
        )
        return messages, gradients

    def _sum_heads(self, x: Any) -> Any:
        """Sum the channels of each head, (k, p, H); a matrix product is the fastest way."""
        return x.matmul(_heads(x, self.n_heads))

    def _times_heads(self, x: Any, y: Any) -> Any:
        """Multiply each channel (k, p, C) by the number of its head (k, p, H)."""
        return multiply(y.matmul(_heads(x, self.n_heads).t()), x)


def _heads(x: Any, n_heads: int) -> Tensor:
    """Return the matrix (C, H) that is 1 where a channel belongs to a head."""
    value = x.value if isinstance(x, Dual) else x
    size = value.shape[-1] // n_heads
    return _head_matrix(n_heads, size, value.dtype, value.device)


@lru_cache
def _head_matrix(n_heads: int, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    heads = torch.eye(n_heads, dtype=dtype, device=device)
    return heads.repeat_interleave(size, dim=0)


def _signs(like: Any) -> Tensor:
    """Return 1 for an edge and -1 for its reverse, (k, 1, 1, 1)."""
    value = like.value if isinstance(like, Dual) else like
    # Not from a list, which would be copied from the host, and waited for.
    signs = 1.0 - 2.0 * torch.arange(len(value), dtype=value.dtype, device=value.device)
    return signs[:, None, None, None]
