"""The messages of TorchMD-Net's equivariant transformer, with their first two derivatives."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ._dual import Dual, cat, change_of, dot, plus, silu, times
from ._edge_message import PAIR, SOURCE, TARGET, EdgeMessage, KernelSpec, Optional

__all__ = ["AttentionMessage", "FilteredMessage"]


class DualMessage(EdgeMessage):
    """A message whose second derivative is that of its formulas on dual numbers."""

    def prepare(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Keep the inputs."""
        return inputs

    def second(
        self,
        state: Sequence[Tensor],
        cotangents: Sequence[Tensor],
        tangents: Sequence[Tensor | None],
        needs: Sequence[bool],
    ) -> tuple[tuple[Tensor, ...], Optional]:
        """Give derivatives of the messages and of the gradient."""
        duals: Any = [Dual(x, h) for x, h in zip(state, tangents, strict=True)]
        messages, gradients = self.both(duals, cotangents, needs)
        changes = tuple(change_of(x) for x in messages)
        return changes, tuple(None if x is None else change_of(x) for x in gradients)

    def value(self, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Give the messages."""
        return tuple(self.both(state, None, ())[0])

    def gradient(
        self, state: Sequence[Tensor], cotangents: Sequence[Tensor], needs: Sequence[bool]
    ) -> Optional:
        """Give the gradient with respect to each input."""
        return tuple(self.both(state, cotangents, needs)[1])

    def both(
        self, inputs: Sequence[Any], cotangents: Sequence[Any] | None, needs: Sequence[bool]
    ) -> tuple[Sequence[Any], Sequence[Any]]:
        """Give the messages and, with cotangents, their gradient; of tensors or dual numbers."""
        raise NotImplementedError


class FilteredMessage(DualMessage):
    """``filter * source``, of (P, C) and (N, C)."""

    roles = (PAIR, SOURCE)

    def kernel(self, widths: Sequence[int]) -> KernelSpec:
        """Name the kernel of so many channels."""
        channels = widths[0]
        return KernelSpec("filtered", (("CHANNELS", channels),), (channels,) * 2, ((channels,),))

    def both(
        self, inputs: Sequence[Any], cotangents: Sequence[Any] | None, needs: Sequence[bool]
    ) -> tuple[Sequence[Any], Sequence[Any]]:
        """Give the messages (k, p, C) and their gradient."""
        filters, source = inputs
        messages = (times(source, filters),)
        if cotangents is None:
            return messages, ()
        (g,) = cotangents
        return messages, (times(source, g).sum(dim=0), times(filters, g))


class AttentionMessage(DualMessage):
    """Scalars and vectors that atoms send to those that attend to them.

    With ``[k, s, d, g] = source * silu(edge)``::

        scalars = envelope * silu(sum_head query * k) * s
        vectors = direction * d + vectors_of_source * g * envelope

    Inputs are (N, C) queries of the atom that receives, (N, 4C) of the one that sends, (P, 4C),
    a linear map, of the pair, its envelope (P,), its direction (P, 3), which turns round with the
    edge, and (N, 3, C) vectors of the atom that sends. Without those, ``g`` is not there, and 4C
    are 3C.

    """

    def __init__(self, n_heads: int, *, vectors: bool, vector_cutoff: bool) -> None:
        self.n_heads = n_heads
        self.n_parts = 4 if vectors else 3
        self.vector_cutoff = vector_cutoff
        self.vectors = vectors
        self.roles = (TARGET, SOURCE, PAIR, PAIR, PAIR) + ((SOURCE,) if vectors else ())

    def kernel(self, widths: Sequence[int]) -> KernelSpec:
        """Name the kernel of so many channels and heads."""
        channels = widths[0]
        wide = self.n_parts * channels
        constants = (
            ("CHANNELS", channels),
            ("HEADS", self.n_heads),
            ("VECTORS", int(self.vectors)),
            ("VECTOR_CUTOFF", int(self.vector_cutoff)),
        )
        expected = (channels, wide, wide, 1, 3) + ((3 * channels,) if self.vectors else ())
        return KernelSpec("attention", constants, expected, ((channels,), (3, channels)), mapped=2)

    def both(
        self, inputs: Sequence[Any], cotangents: Sequence[Any] | None, needs: Sequence[bool]
    ) -> tuple[Sequence[Any], Sequence[Any]]:
        """Give scalars (k, p, C) and vectors (k, p, 3, C), and their gradient."""
        query, sent, edge, envelope, directions, *vectors = inputs
        envelope = envelope.unsqueeze(1)  # (p, 1)
        cut = [envelope] if self.vector_cutoff else []
        filters, slopes = silu(edge)  # (p, 4C)
        key, scalar, direction, *gate = times(sent, filters).chunk(self.n_parts, -1)  # (k, p, C)
        e, e1 = silu(self._sum_heads(times(query, key)))  # (k, p, H)
        attention = times(e, envelope)
        signs = _signs(query)
        along = times(directions.unsqueeze(2), signs)  # (k, p, 3, 1)
        vector = times(along, direction.unsqueeze(2))  # (k, p, 3, C)
        if vectors:
            weight = times(gate[0], *cut).unsqueeze(2)  # (k, p, 1, C)
            vector = plus(vector, times(vectors[0], weight))
        messages = (self._times_heads(scalar, attention), vector)
        if cotangents is None:
            return messages, ()
        g, g_vector = cotangents
        g_attention = self._sum_heads(times(scalar, g))
        g_logits = times(g_attention, envelope, e1)
        g_envelope = times(g_attention, e).sum(dim=(0, 2))
        g_products = [
            self._times_heads(query, g_logits),
            self._times_heads(g, attention),
            dot(along, g_vector),
        ]
        by_vectors = []
        if vectors:
            by_vectors.append(times(weight, g_vector))
            g_weight = dot(vectors[0], g_vector)  # (k, p, C)
            g_products.append(times(g_weight, *cut))
            if cut:
                g_envelope = plus(g_envelope, times(g_weight, gate[0]).sum(dim=(0, 2)))
        g_product = cat(g_products, -1)  # (k, p, 4C)
        g_along = times(direction.unsqueeze(2), g_vector).sum(dim=3)  # (k, p, 3)
        gradients = (
            self._times_heads(key, g_logits),
            times(g_product, filters),
            times(times(g_product, sent).sum(dim=0), slopes),
            g_envelope,
            times(g_along, signs[..., 0]).sum(dim=0),
            *by_vectors,
        )
        return messages, gradients

    def _sum_heads(self, x: Any) -> Any:
        return x.matmul(_heads(x, self.n_heads))  # (k, p, H)

    def _times_heads(self, x: Any, y: Any) -> Any:
        """Multiply (k, p, C) by (k, p, H), each channel by what its head has."""
        return times(y.matmul(_heads(x, self.n_heads).t()), x)


def _heads(x: Any, n_heads: int) -> Tensor:
    """Say which channel belongs to which head (C, H): sums as matrix products are the fastest."""
    value = x.value if isinstance(x, Dual) else x
    size = value.shape[-1] // n_heads
    if torch.compiler.is_compiling():
        return _head_table(n_heads, size, value.dtype, value.device)
    return _kept_head_table(n_heads, size, value.dtype, value.device)


def _head_table(n_heads: int, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    heads = torch.eye(n_heads, dtype=dtype, device=device)
    return heads.repeat_interleave(size, dim=0)


_kept_head_table = lru_cache(_head_table)


def _signs(like: Any) -> Tensor:
    """Give 1 and -1 for an edge and its reverse (k, 1, 1, 1)."""
    value = like.value if isinstance(like, Dual) else like
    return value.new_tensor([1.0, -1.0])[: len(value), None, None, None]
