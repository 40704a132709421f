"""Sums over neighbours with two derivatives, made block by block in the processor's cache.

What a layer of a network does on edges is a long row of cheap operations. Written as one
autograd expression, each of them, and each of its first and second derivatives, reads and writes
tensors of all edges, far larger than any cache, and keeps most of them. Here a *message* states
its value, its gradient and the derivative of that gradient as plain functions, which run on some
hundred edges at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gnnpre._warnings import PerformanceWarning, warn_user
from gnnpre.graphs import EdgePairs

from ._edge_message import PAIR, SOURCE, TARGET, EdgeMessage, Optional

__all__ = ["Blocks", "empty_gradients"]

#: Bytes of the widest input of a block on a CPU: all that a block needs fits a cache of 1 MB.
BLOCK_BYTES = 400_000

#: Most bytes of states that a layer keeps. More of them take longer to get from the system, page by
#: page, and to read again than to make anew.
STATE_BYTES = 300_000_000


class _Place(NamedTuple):
    """Where the edges of a block of p pairs run, in k directions."""

    target: Tensor  # (k p,)
    source: Tensor  # (k p,)
    k: int

    def gather(self, roles: Sequence[str], tensors: Sequence[Tensor | None]) -> list[Any]:
        """Give what belongs to the atoms of each edge; what belongs to pairs is there already."""
        index = {TARGET: self.target, SOURCE: self.source}
        return [
            x if x is None or role == PAIR else self._rows(x, index[role])
            for role, x in zip(roles, tensors, strict=True)
        ]

    def at_target(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Give what belongs to the atoms that receive."""
        return [self._rows(x, self.target) for x in tensors]

    def _rows(self, x: Tensor, index: Tensor) -> Tensor:
        rows = x.index_select(0, index)
        return rows.reshape(self.k, len(index) // self.k, *x.shape[1:])  # (k, p, ...)


class _Block(NamedTuple):
    """Some pairs of a batch."""

    rows: slice
    place: _Place

    def cut(self, roles: Sequence[str], tensors: Sequence[Tensor | None]) -> list[Any]:
        """Restrict what belongs to pairs to those of the block; the rest is whole."""
        return [
            x[self.rows] if x is not None and role == PAIR else x
            for role, x in zip(roles, tensors, strict=True)
        ]

    def add(self, roles: Sequence[str], totals: list[Tensor | None], parts: Optional) -> None:
        """Add parts of gradients where they belong."""
        for number, (role, part) in enumerate(zip(roles, parts, strict=True)):
            total = totals[number]
            if total is None or part is None:
                continue
            if role == PAIR and len(part) == len(total):  # the only block
                totals[number] = part
            elif role == PAIR:
                total[self.rows] = part
            else:
                index = self.place.target if role == TARGET else self.place.source
                total.index_add_(0, index, part.reshape(-1, *total.shape[1:]))


class Blocks(NamedTuple):
    """The sum of a message over the edges of a batch, made block by block by torch's functions.

    Parameters
    ----------
    message : EdgeMessage
        What is sent.
    pairs : EdgePairs
        The edges.
    n_atoms : int
        Atoms of the batch.
    compiled : bool
        Whether the functions of a block run as compiled by ``torch.compile``.
    """

    message: EdgeMessage
    pairs: EdgePairs
    n_atoms: int
    compiled: bool

    def value(
        self, inputs: Sequence[Tensor], keep: bool
    ) -> tuple[tuple[Tensor, ...], list[tuple[Tensor, ...]] | None]:
        """Give the sums, and the states of blocks if they are worth keeping."""
        keep = keep and self.message.keeps_state
        states: list[Any] = []
        sums: list[Any] = []
        run, roles = self._run("value"), self.message.roles
        for block in self.blocks(inputs):
            parts, state = run(self.message, block.place, block.cut(roles, inputs), keep)
            keep = keep and self._fits(state, block)
            if keep:
                states.append(state)
            sums = sums or [part.new_zeros(self.n_atoms, *part.shape[2:]) for part in parts]
            block.add([TARGET] * len(parts), sums, parts)
        return tuple(sums), states if keep else None

    def gradient(
        self,
        inputs: Sequence[Tensor],
        states: list[tuple[Tensor, ...]] | None,
        cotangents: Sequence[Tensor],
        needs: tuple[bool, ...],
    ) -> Optional:
        """Give the gradient of ``sum <cotangent, sum>`` with respect to each input."""
        run, roles = self._run("gradient"), self.message.roles
        totals = empty_gradients(roles, inputs, needs)
        for number, block in enumerate(self.blocks(inputs)):
            state = states[number] if states is not None else None
            cut = block.cut(roles, inputs)
            parts = run(self.message, block.place, cut, state, cotangents, needs)
            block.add(roles, totals, parts)
        return tuple(totals)

    def second(
        self,
        inputs: Sequence[Tensor],
        states: list[tuple[Tensor, ...]] | None,
        cotangents: Sequence[Tensor],
        tangents: Sequence[Tensor | None],
        needs: tuple[bool, ...],
    ) -> tuple[tuple[Tensor, ...], Optional]:
        """Give derivatives along ``tangents`` of the sums and of their gradient."""
        run, roles = self._run("second"), self.message.roles
        sums: list[Any] = [torch.zeros_like(cotangent) for cotangent in cotangents]
        totals = empty_gradients(roles, inputs, needs)
        for number, block in enumerate(self.blocks(inputs)):
            state = states[number] if states is not None else None
            cut, along = block.cut(roles, inputs), block.cut(roles, tangents)
            changes, parts = run(self.message, block.place, cut, state, cotangents, along, needs)
            block.add([TARGET] * len(sums), sums, changes)
            block.add(roles, totals, parts)
        return tuple(sums), tuple(totals)

    def blocks(self, inputs: Sequence[Tensor]) -> Iterator[_Block]:
        """Cut the pairs into blocks."""
        k, n_pairs = self.pairs.target.shape
        size = n_pairs
        if self.pairs.target.device.type == "cpu":
            widest = max(x[:1].numel() * x.element_size() for x in inputs)
            size = max(32, BLOCK_BYTES // (k * max(1, widest)))
        for start in range(0, max(1, n_pairs), max(1, size)):  # one, if only to know shapes
            rows = slice(start, start + size)
            target, source = self.pairs.target[:, rows], self.pairs.source[:, rows]
            yield _Block(rows, _Place(target.flatten(), source.flatten(), k))

    def _fits(self, state: Sequence[Tensor], block: _Block) -> bool:
        """Whether states like that of a block may be kept for all of them."""
        n_bytes = sum(x.numel() * x.element_size() for x in state)
        n_edges = len(block.place.target)
        return n_bytes * self.pairs.target.numel() <= STATE_BYTES * max(1, n_edges)

    def _run(self, name: str) -> Callable[..., Any]:
        """Give one of the functions of a block."""
        return _compiled(name) if self.compiled else _FUNCTIONS[name]


def _state(message: EdgeMessage, place: _Place, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return message.prepare(*place.gather(message.roles, inputs))


def _value(
    message: EdgeMessage, place: _Place, inputs: Sequence[Tensor], kept: bool
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...] | None]:
    state = _state(message, place, inputs)
    return message.value(state), state if kept else None


def _gradient(
    message: EdgeMessage,
    place: _Place,
    inputs: Sequence[Tensor],
    state: Sequence[Tensor] | None,
    cotangents: Sequence[Tensor],
    needs: tuple[bool, ...],
) -> Optional:
    state = _state(message, place, inputs) if state is None else state
    return message.gradient(state, place.at_target(cotangents), needs)


def _second(
    message: EdgeMessage,
    place: _Place,
    inputs: Sequence[Tensor],
    state: Sequence[Tensor] | None,
    cotangents: Sequence[Tensor],
    tangents: Sequence[Tensor | None],
    needs: tuple[bool, ...],
) -> tuple[tuple[Tensor, ...], Optional]:
    state = _state(message, place, inputs) if state is None else state
    along = place.gather(message.roles, tangents)
    return message.second(state, place.at_target(cotangents), along, needs)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "value": _value,
    "gradient": _gradient,
    "second": _second,
}


class _Compiled:
    """A function of a block under ``torch.compile``, or as it is where that fails."""

    def __init__(self, function: Callable[..., Any]) -> None:
        import torch._dynamo  # takes seconds, which those without it do not wait

        # Each kind of message, and edges with and without reverse ones, is a version of its own.
        torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
        self.plain = function
        self.function = torch.compile(function, dynamic=False)

    def __call__(self, *args: Any) -> Any:
        _let_lengths_vary(args)
        try:
            return self.function(*args)
        except torch._dynamo.exc.TorchDynamoException as error:
            warn_user(
                f"compile=True: torch.compile failed ({type(error).__name__}: "
                f"{str(error).splitlines()[0]}); going on without. It needs Triton on a GPU; "
                "compile=False leaves it out.",
                PerformanceWarning,
            )
            self.function = self.plain
            return self.plain(*args)


def _let_lengths_vary(args: Sequence[Any]) -> None:
    """Tell torch.compile that numbers of atoms and pairs change; channels are compiled in."""
    place = next(x for x in args if isinstance(x, _Place))
    n_pairs = len(place.target) // place.k
    for x in _tensors_of(args):
        per_direction = x.dim() == 3 and x.shape[:2] == (place.k, n_pairs)
        torch._dynamo.maybe_mark_dynamic(x, int(per_direction))


def _tensors_of(args: Sequence[Any]) -> Iterator[Tensor]:
    for x in args:
        if isinstance(x, Tensor):
            yield x
        elif isinstance(x, list | tuple):
            yield from _tensors_of(x)


@lru_cache
def _compiled(name: str) -> Callable[..., Any]:
    return _Compiled(_FUNCTIONS[name])


def empty_gradients(
    roles: Sequence[str], inputs: Sequence[Tensor], needs: Sequence[bool]
) -> list[Tensor | None]:
    """Make room for gradients: those of pairs are written once, those of atoms added up."""
    rooms = []
    for role, x, need in zip(roles, inputs, needs, strict=True):
        room = None
        if need:
            make = torch.empty_like if role == PAIR else torch.zeros_like
            room = make(x, memory_format=torch.contiguous_format)
        rooms.append(room)
    return rooms
