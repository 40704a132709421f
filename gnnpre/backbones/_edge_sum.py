"""Sums over neighbours with two derivatives, made block by block in the processor's cache.

What a layer of a network does on edges is a long row of cheap operations. Written as one
autograd expression, each of them, and each of its first and second derivatives, reads and writes
tensors of all edges, far larger than any cache, and keeps most of them. Here a *message* states
its value, its gradient and the derivative of that gradient as plain functions, which run on some
hundred edges at a time.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gnnpre._warnings import warn_user
from gnnpre.graphs import EdgePairs

__all__ = ["PAIR", "SOURCE", "TARGET", "EdgeMessage", "Neighbors", "Optional"]

#: Where a message finds an input: at the atom that receives, the one that sends, or the edge.
TARGET, SOURCE, PAIR = "target", "source", "pair"

Optional = tuple[Tensor | None, ...]

#: Bytes of the widest input of a block. Operations one by one want all that a block needs in a
#: cache of 1 MB; compiled, they read and write once, and calls cost more than the cache gains.
BLOCK_BYTES = {False: 400_000, True: 16_000_000}


#: Most bytes of states that a layer keeps. More of them take longer to get from the system, page by
#: page, and to read again than to make anew.
STATE_BYTES = 300_000_000


class EdgeMessage(ABC):
    """What is sent along edges, as a function with two derivatives.

    All methods are pure functions of the tensors of a block of p pairs in k directions: inputs
    of atoms are (k, p, ...), those of pairs (p, ...) and the same in both directions, messages
    (k, p, ...). A gradient with respect to an input of pairs is summed over k.

    """

    #: Where each input is found.
    roles: tuple[str, ...]
    #: Whether the state is kept for the derivatives, rather than made anew for each, unless the
    #: batch is large.
    keeps_state = False

    @abstractmethod
    def prepare(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Give the state: what the other methods need to know of the inputs."""

    @abstractmethod
    def value(self, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Give the messages."""

    @abstractmethod
    def gradient(
        self, state: Sequence[Tensor], cotangents: Sequence[Tensor], needs: Sequence[bool]
    ) -> Optional:
        """Give the gradient of ``sum <cotangent, message>`` with respect to each input."""

    @abstractmethod
    def second(
        self,
        state: Sequence[Tensor],
        cotangents: Sequence[Tensor],
        tangents: Sequence[Tensor | None],
        needs: Sequence[bool],
    ) -> tuple[tuple[Tensor, ...], Optional]:
        """Give derivatives along ``tangents`` of the messages and of their gradient.

        Parameters
        ----------
        state : sequence of Tensor
            What :meth:`prepare` gave.
        cotangents : sequence of Tensor
            What the messages are multiplied by; held fixed.
        tangents : sequence of Tensor or None
            Direction in which the inputs change; None for those that do not.
        needs : sequence of bool
            Which parts of the gradient are wanted.

        Returns
        -------
        tuple of tuple of Tensor
            Derivatives of the messages, and of the gradient with respect to each input.
        """


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


class _Job(NamedTuple):
    """A message on the edges of a batch."""

    message: EdgeMessage
    pairs: EdgePairs
    compiled: bool

    def blocks(self, inputs: Sequence[Tensor]) -> Iterator[_Block]:
        """Cut the pairs into blocks."""
        k, n_pairs = self.pairs.target.shape
        size = n_pairs
        if self.pairs.target.device.type == "cpu":
            widest = max(x[:1].numel() * x.element_size() for x in inputs)
            size = max(32, BLOCK_BYTES[self.compiled] // (k * max(1, widest)))
        for start in range(0, max(1, n_pairs), max(1, size)):  # one, if only to know shapes
            rows = slice(start, start + size)
            target, source = self.pairs.target[:, rows], self.pairs.source[:, rows]
            yield _Block(rows, _Place(target.flatten(), source.flatten(), k))

    def fits(self, state: Sequence[Tensor], block: _Block) -> bool:
        """Whether states like that of a block may be kept for all of them."""
        n_bytes = sum(x.numel() * x.element_size() for x in state)
        n_edges = len(block.place.target)
        return n_bytes * self.pairs.target.numel() <= STATE_BYTES * max(1, n_edges)

    def run(self, name: str) -> Callable[..., Any]:
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
                f"{str(error).splitlines()[0]}); going on without. It needs a C++ compiler such as "
                "g++ on a CPU, and Triton on a GPU."
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
        Whether the functions of a block run as compiled by ``torch.compile``.
    """

    pairs: EdgePairs
    n_atoms: int
    scale: Tensor | None = None
    compiled: bool = False

    def sum(self, message: EdgeMessage, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Sum messages over the neighbours of each atom.

        Parameters
        ----------
        message : EdgeMessage
            What is sent.
        *inputs : Tensor
            What the message depends on: (N, ...) of atoms, or (P, ...) of pairs.

        Returns
        -------
        tuple of Tensor
            Sums of shape (N, ...), which can be differentiated twice.
        """
        job = _Job(message, self.pairs, self.compiled)
        sums: tuple[Tensor, ...] = _Sum.apply(job, self.n_atoms, *inputs)
        return sums if self.scale is None else tuple(x * self.scale for x in sums)


class _Sum(torch.autograd.Function):
    """The sum of messages."""

    @staticmethod
    def forward(ctx: Any, job: _Job, n_atoms: int, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.job = job
        ctx.save_for_backward(*inputs)
        kept = job.message.keeps_state and any(ctx.needs_input_grad)
        ctx.states = [] if kept else None
        sums: list[Any] = []
        run, roles = job.run("value"), job.message.roles
        inputs = _plain(inputs)
        for block in job.blocks(inputs):
            parts, state = run(job.message, block.place, block.cut(roles, inputs), kept)
            if ctx.states == [] and not job.fits(state, block):
                ctx.states, kept = None, False
            if kept:
                ctx.states.append(state)
            sums = sums or [part.new_zeros(n_atoms, *part.shape[2:]) for part in parts]
            block.add([TARGET] * len(parts), sums, parts)
        return tuple(sums)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        needs = ctx.needs_input_grad[2:]
        fixed = (ctx.job, ctx.states, needs, len(inputs))
        return (None, None, *_Gradient.apply(*fixed, *inputs, *cotangents))


class _Gradient(torch.autograd.Function):
    """The gradient of the sum of messages."""

    @staticmethod
    def forward(
        ctx: Any,
        job: _Job,
        states: list[tuple[Tensor, ...]] | None,
        needs: tuple[bool, ...],
        n_inputs: int,
        *tensors: Tensor,
    ) -> Optional:
        ctx.fixed = (job, states, needs, n_inputs)
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        tensors = _plain(tensors)
        inputs, cotangents = tensors[:n_inputs], tensors[n_inputs:]
        run, roles = job.run("gradient"), job.message.roles
        totals = _totals(roles, inputs, needs)
        for number, block in enumerate(job.blocks(inputs)):
            state = states[number] if states is not None else None
            cut = block.cut(roles, inputs)
            parts = run(job.message, block.place, cut, state, cotangents, needs)
            block.add(roles, totals, parts)
        return tuple(totals)

    @staticmethod
    def backward(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        job, states, needs, n_inputs = ctx.fixed
        tensors = _plain(ctx.saved_tensors)
        inputs, cotangents = tensors[:n_inputs], tensors[n_inputs:]
        if all(tangent is None for tangent in tangents):
            return (None,) * (4 + len(tensors))
        sums = [torch.zeros_like(cotangent) for cotangent in cotangents]
        run, roles = job.run("second"), job.message.roles
        totals = _totals(roles, inputs, needs)
        for number, block in enumerate(job.blocks(inputs)):
            state = states[number] if states is not None else None
            cut, along = block.cut(roles, inputs), block.cut(roles, tangents)
            changes, parts = run(job.message, block.place, cut, state, cotangents, along, needs)
            block.add([TARGET] * len(sums), sums, changes)
            block.add(roles, totals, parts)
        return (None,) * 4 + (*totals, *sums)


def _plain(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Detach, so that compiled functions meet one kind of tensors only."""
    return tuple(x.detach() for x in tensors)


def _totals(
    roles: Sequence[str], inputs: Sequence[Tensor], needs: Sequence[bool]
) -> list[Tensor | None]:
    """Make room for gradients: those of pairs are written once, those of atoms added up."""
    rooms = []
    for role, x, need in zip(roles, inputs, needs, strict=True):
        room = None
        if need:
            room = torch.empty_like(x) if role == PAIR else torch.zeros_like(x)
        rooms.append(room)
    return rooms
