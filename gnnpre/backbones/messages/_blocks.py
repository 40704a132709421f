"""Sums over neighbours, computed by torch's functions in blocks that fit the processor's cache.

A layer of a network applies a long row of cheap operations to edges. Written as one autograd
expression, each operation, and each of its first and second derivatives, reads and writes tensors
of all edges, which are far larger than any cache, and keeps most of them. Here a message states its
value, its gradient and the derivative of its gradient as plain functions, which run on some hundred
edges at a time.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gnnpre.graphs import EdgePairs

from ._message import EdgeMessage
from ._roles import DIRECTION, PAIR, SOURCE, TARGET, Gradients

__all__ = ["Blocks", "empty_gradients"]

#: Bytes of the widest input of a block on a CPU: all that a block needs fits a cache of 1 MB.
BLOCK_BYTES = 400_000

#: Largest total size of the states that a layer keeps. To get more memory from the system, page by
#: page, and to read it again takes longer than to prepare the states again.
STATE_BYTES = 300_000_000


class Ends(NamedTuple):
    """The atoms at the ends of the edges of p pairs in k directions."""

    target: Tensor  # (k p,)
    source: Tensor  # (k p,)
    k: int

    def gather(self, roles: Sequence[str], tensors: Sequence[Tensor | None]) -> list[Any]:
        """Return the rows of each edge for inputs of atoms; inputs of pairs stay as they are."""
        index = {TARGET: self.target, SOURCE: self.source}
        return [
            self._rows(x, index[role]) if x is not None and role in index else x
            for role, x in zip(roles, tensors, strict=True)
        ]

    def at_target(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the rows of the receiving atom of each edge."""
        return [self._rows(x, self.target) for x in tensors]

    def _rows(self, x: Tensor, index: Tensor) -> Tensor:
        rows = x.index_select(0, index)
        return rows.reshape(self.k, len(index) // self.k, *x.shape[1:])  # (k, p, ...)


class Block(NamedTuple):
    """A range of the pairs of a batch."""

    rows: slice
    ends: Ends

    def cut(self, roles: Sequence[str], tensors: Sequence[Tensor | None]) -> list[Any]:
        """Return inputs of pairs for the pairs of this block; inputs of atoms stay whole."""
        return [
            x[self.rows] if x is not None and role in (PAIR, DIRECTION) else x
            for role, x in zip(roles, tensors, strict=True)
        ]

    def add(
        self, roles: Sequence[str], totals: list[Tensor | None], of_block: Sequence[Tensor | None]
    ) -> None:
        """Add the results of this block to the totals of the batch."""
        for number, (role, x) in enumerate(zip(roles, of_block, strict=True)):
            total = totals[number]
            if total is None:
                continue
            if role in (TARGET, SOURCE):
                index = self.ends.target if role == TARGET else self.ends.source
                if x is not None:
                    total.index_add_(0, index, x.reshape(-1, *total.shape[1:]))
            elif x is not None and len(x) == len(total):  # the only block: no need to copy
                totals[number] = x
            else:
                total[self.rows] = 0.0 if x is None else x


class _Results(NamedTuple):
    """Results of one block, or of all."""

    messages: Sequence[Tensor]  # or their derivatives along tangents; of all blocks, their sums
    gradients: Gradients
    states: Any = None


class Blocks(NamedTuple):
    """The sums of a message over the edges of a batch, block by block.

    Parameters
    ----------
    message : EdgeMessage
        The message.
    pairs : EdgePairs
        The edges.
    n_atoms : int
        Number of atoms of the batch.
    """

    message: EdgeMessage
    pairs: EdgePairs
    n_atoms: int

    def value(
        self, inputs: Sequence[Tensor], keep: bool
    ) -> tuple[tuple[Tensor, ...], list[tuple[Tensor, ...]] | None]:
        """Return the sums, and the states of all blocks if they are worth keeping."""
        keep = keep and self.message.keeps_state
        results = self._run("value", inputs, keep=keep)
        return tuple(results.messages), results.states

    def gradient(
        self,
        inputs: Sequence[Tensor],
        states: list[tuple[Tensor, ...]] | None,
        cotangents: Sequence[Tensor],
        needs: tuple[bool, ...],
    ) -> Gradients:
        """Return the gradient of ``sum <cotangent, sum>`` with respect to each input."""
        return self._run("gradient", inputs, states, cotangents, needs=needs).gradients

    def second(
        self,
        inputs: Sequence[Tensor],
        states: list[tuple[Tensor, ...]] | None,
        cotangents: Sequence[Tensor],
        tangents: Sequence[Tensor | None],
        needs: tuple[bool, ...],
    ) -> tuple[tuple[Tensor, ...], Gradients]:
        """Return derivatives along ``tangents`` of the sums and of their gradient."""
        results = self._run("second", inputs, states, cotangents, tangents, needs)
        return tuple(results.messages), results.gradients

    def _run(
        self,
        name: str,
        inputs: Sequence[Tensor],
        states: list[tuple[Tensor, ...]] | None = None,
        cotangents: Sequence[Tensor] = (),
        tangents: Sequence[Tensor | None] | None = None,
        needs: tuple[bool, ...] = (),
        keep: bool = False,
    ) -> _Results:
        """Call a method of the message on each block and add up the results."""
        roles = self.message.roles
        tangents = tangents or (None,) * len(inputs)
        sums: list[Any] = []
        gradients = empty_gradients(roles, inputs, needs) if needs else []
        new_states: list[Any] = []
        for number, block in enumerate(self.blocks(inputs)):
            of_pairs = block.cut(roles, inputs)
            # 1. the block, prepared before (state) or from its inputs
            state = None if states is None else states[number]
            along = block.cut(roles, tangents)
            results = run_block(
                name, self.message, block.ends, of_pairs, state, cotangents, along, needs, keep
            )
            # 2. its messages and gradients, added to those of all blocks
            sums = sums or [x.new_zeros(self.n_atoms, *x.shape[2:]) for x in results.messages]
            block.add([TARGET] * len(sums), sums, results.messages)
            if needs:
                block.add(roles, gradients, results.gradients)
            # 3. its state for the backward passes, as long as all states fit
            keep = keep and self._is_small(results.states, block)
            if keep:
                new_states.append(results.states)
        return _Results(sums, tuple(gradients), new_states if keep else None)

    def blocks(self, inputs: Sequence[Tensor]) -> Iterator[Block]:
        """Yield the pairs in blocks: one at least, for the shapes of its results."""
        k, n_pairs = self.pairs.target.shape
        size = n_pairs
        if self.pairs.target.device.type == "cpu":
            widest = max(x[:1].numel() * x.element_size() for x in inputs)
            size = max(32, BLOCK_BYTES // (k * max(1, widest)))
        for start in range(0, max(1, n_pairs), max(1, size)):
            rows = slice(start, start + size)
            target, source = self.pairs.target[:, rows], self.pairs.source[:, rows]
            yield Block(rows, Ends(target.flatten(), source.flatten(), k))

    def _is_small(self, state: Sequence[Tensor], block: Block) -> bool:
        """Return whether states like that of a block may be kept for all of them."""
        n_bytes = sum(x.numel() * x.element_size() for x in state)
        n_edges = len(block.ends.target)
        return n_bytes * self.pairs.target.numel() <= STATE_BYTES * max(1, n_edges)


def run_block(
    name: str,
    message: EdgeMessage,
    ends: Ends,
    inputs: Sequence[Tensor],
    state: Sequence[Tensor] | None,
    cotangents: Sequence[Tensor],
    tangents: Sequence[Tensor | None],
    needs: tuple[bool, ...],
    keep: bool,
) -> _Results:
    """Call a method of a message on a block."""
    if state is None:
        state = message.prepare(*ends.gather(message.roles, inputs))
    if name == "value":
        return _Results(message.value(state), (), state if keep else None)
    cotangents = ends.at_target(cotangents)
    if name == "gradient":
        return _Results((), message.gradient(state, cotangents, needs))
    tangents = ends.gather(message.roles, tangents)
    return _Results(*message.second(state, cotangents, tangents, needs))


def empty_gradients(
    roles: Sequence[str], inputs: Sequence[Tensor], needs: Sequence[bool]
) -> list[Tensor | None]:
    """Return tensors for the gradients: rows of pairs are written once, others are added to."""
    gradients = []
    for role, x, need in zip(roles, inputs, needs, strict=True):
        make = torch.empty_like if role in (PAIR, DIRECTION) else torch.zeros_like
        gradients.append(make(x, memory_format=torch.contiguous_format) if need else None)
    return gradients
