"""Sums over neighbours that can be differentiated twice."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gnnpre.graphs import EdgePairs

from ._edge_blocks import Blocks
from ._edge_kernel import EdgeKernel, find_kernel, kernel_inputs
from ._edge_message import EdgeMessage, LinearMap, Optional

__all__ = ["Neighbors"]

_Engine = Blocks | EdgeKernel


class Neighbors(NamedTuple):
    """The neighbours of the N atoms of a batch, as all layers of a network see them.

    Parameters
    ----------
    pairs : EdgePairs
        The edges.
    n_atoms : int
        Atoms N of the batch.
    scale : Tensor or None
        What sums over neighbours are multiplied by, a number or (N, 1).
    compiled : bool
        Whether kernels in C, or on other devices ``torch.compile``, do the work.
    """

    pairs: EdgePairs
    n_atoms: int
    scale: Tensor | None = None
    compiled: bool = False

    def sum(self, message: EdgeMessage, *inputs: Tensor | LinearMap) -> tuple[Tensor, ...]:
        """Sum messages over the neighbours of each atom.

        Parameters
        ----------
        message : EdgeMessage
            What is sent.
        *inputs : Tensor or LinearMap
            What the message depends on: (N, ...) of atoms, or (P, ...) of pairs.

        Returns
        -------
        tuple of Tensor
            Sums of shape (N, ...), which can be differentiated twice.
        """
        engine, tensors = self._engine(message, inputs)
        sums: tuple[Tensor, ...] = _Sum.apply(engine, *tensors)
        return sums if self.scale is None else tuple(x * self.scale for x in sums)

    def _engine(
        self, message: EdgeMessage, inputs: Sequence[Tensor | LinearMap]
    ) -> tuple[_Engine, list[Tensor]]:
        """Choose what does the work, and give it its inputs."""
        by_kernel = self.compiled and _has_kernels(self.pairs.target.device)
        if by_kernel and (kernel := find_kernel(message, self.pairs, self.n_atoms, inputs)):
            return kernel, kernel_inputs(inputs)
        blocks = Blocks(message, self.pairs, self.n_atoms, self.compiled and not by_kernel)
        return blocks, [x.product() if isinstance(x, LinearMap) else x for x in inputs]


def _has_kernels(device: torch.device) -> bool:
    return device.type == "cpu"


class _Sum(torch.autograd.Function):
    """The sum of messages."""

    @staticmethod
    def forward(ctx: Any, engine: _Engine, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.engine = engine
        ctx.save_for_backward(*inputs)
        sums, ctx.states = engine.value(_plain(inputs), any(ctx.needs_input_grad))
        return sums

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        fixed = (ctx.engine, ctx.states, _wanted(ctx, len(inputs)), len(inputs))
        return (None, *_Gradient.apply(*fixed, *inputs, *cotangents))


class _Gradient(torch.autograd.Function):
    """The gradient of the sum of messages."""

    @staticmethod
    def forward(
        ctx: Any,
        engine: _Engine,
        states: Any,
        needs: tuple[bool, ...],
        n_inputs: int,
        *tensors: Tensor,
    ) -> Optional:
        ctx.fixed = (engine, states, n_inputs)
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        tensors = _plain(tensors)
        return engine.gradient(tensors[:n_inputs], states, tensors[n_inputs:], needs)

    @staticmethod
    def backward(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        engine, states, n_inputs = ctx.fixed
        tensors = _plain(ctx.saved_tensors)
        if all(tangent is None for tangent in tangents):
            return (None,) * (4 + len(tensors))
        inputs, cotangents = tensors[:n_inputs], tensors[n_inputs:]
        needs = _wanted(ctx, len(tensors))[:n_inputs]
        sums, totals = engine.second(inputs, states, cotangents, tangents, needs)
        return (None,) * 4 + (*totals, *sums)


def _wanted(ctx: Any, n_tensors: int) -> tuple[bool, ...]:
    """Say for which of the last inputs, all tensors, this run of autograd needs the gradient.

    Forces need those that lead to the positions, a step of training those that lead to weights.
    """
    needs = ctx.needs_input_grad[-n_tensors:]
    return tuple(
        need and _leads_somewhere(node)
        for need, (node, _) in zip(needs, ctx.next_functions, strict=True)
    )


def _leads_somewhere(node: Any) -> bool:
    try:
        return bool(torch._C._will_engine_execute_node(node))
    except RuntimeError:  # a leaf whose own gradient is asked for
        return True


def _plain(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Detach, so that compiled functions meet one kind of tensors only."""
    return tuple(x.detach() for x in tensors)
