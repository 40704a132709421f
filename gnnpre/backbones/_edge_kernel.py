"""The sum of messages by a kernel in C, which reads and writes each edge once."""

import ctypes
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gnnpre._warnings import warn_user
from gnnpre.graphs import EdgePairs

from ._edge_blocks import empty_gradients
from ._edge_message import SHARED, EdgeMessage, KernelSpec, LinearMap, Optional
from ._native import CompilerError, load_kernel

__all__ = ["EdgeKernel", "find_kernel", "kernel_inputs"]

REAL_BITS = {torch.float32: 32, torch.float64: 64}
#: Rows of maps are filled up to a multiple of this; ``PADDED`` of ``kernels/edge_map.h``.
PADDING = 16
#: Fewer pairs than this are not worth the start of a thread.
PAIRS_OF_A_THREAD = 2_000
#: Pairs whose weights' gradients add up in one sum; more would cost digits in single precision.
PAIRS_OF_A_SUM = 8_192

Rooms = Sequence[Tensor | None]


class _Edges(ctypes.Structure):
    """``edges_t`` of ``kernels/edge_math.h``."""

    _fields_ = (
        ("begin", ctypes.c_int64),
        ("end", ctypes.c_int64),
        ("n", ctypes.c_int64),
        ("k", ctypes.c_int64),
        ("r", ctypes.c_int64),
        ("target", ctypes.c_void_p),
        ("source", ctypes.c_void_p),
    )


class EdgeKernel(NamedTuple):
    """The sum of a message over the edges of a batch, made by a kernel; nothing is kept.

    Parameters
    ----------
    library : ctypes.CDLL
        The compiled kernel.
    spec : KernelSpec
        What it computes.
    roles : tuple of str
        Where each input is found.
    n_features : int
        Features of a pair that are mapped.
    pairs : EdgePairs
        The edges.
    n_atoms : int
        Atoms of the batch.
    """

    library: ctypes.CDLL
    spec: KernelSpec
    roles: tuple[str, ...]
    n_features: int
    pairs: EdgePairs
    n_atoms: int

    def value(self, inputs: Sequence[Tensor], keep: bool) -> tuple[tuple[Tensor, ...], None]:
        """Give the sums."""
        sums = self._empty_sums(inputs[0])
        self._run("value", (inputs,), sums)
        return sums, None

    def gradient(
        self,
        inputs: Sequence[Tensor],
        states: None,
        cotangents: Sequence[Tensor],
        needs: tuple[bool, ...],
    ) -> Optional:
        """Give the gradient of ``sum <cotangent, sum>`` with respect to each input."""
        totals = empty_gradients(self.roles, inputs, needs)
        self._run("gradient", (inputs, cotangents), (), totals)
        return tuple(totals)

    def second(
        self,
        inputs: Sequence[Tensor],
        states: None,
        cotangents: Sequence[Tensor],
        tangents: Sequence[Tensor | None],
        needs: tuple[bool, ...],
    ) -> tuple[tuple[Tensor, ...], Optional]:
        """Give derivatives along ``tangents`` of the sums and of their gradient."""
        sums = self._empty_sums(inputs[0])
        totals = empty_gradients(self.roles, inputs, needs)
        self._run("second", (inputs, cotangents, tangents), sums, totals)
        return sums, tuple(totals)

    def _empty_sums(self, like: Tensor) -> tuple[Tensor, ...]:
        return tuple(like.new_zeros(self.n_atoms, *shape) for shape in self.spec.sums)

    def _run(
        self,
        name: str,
        groups: Sequence[Rooms],
        sums: Sequence[Tensor],
        totals: Rooms = (),
    ) -> None:
        """Call a function of the kernel: it reads groups of tensors, and writes the rest."""
        function = getattr(self.library, name)
        dense = [[None if x is None else x.contiguous() for x in group] for group in groups]
        read = [_pointers(group) for group in dense]
        target, source = self.pairs.target.contiguous(), self.pairs.source.contiguous()
        k, n = target.shape

        def work(begin: int, end: int, totals: Rooms) -> None:
            for start in range(begin, end, PAIRS_OF_A_SUM):
                own = totals if start == begin else _own_rooms(self.roles, totals)
                stop = min(start + PAIRS_OF_A_SUM, end)
                addresses = target.data_ptr(), source.data_ptr()
                edges = _Edges(start, stop, n, k, self.n_features, *addresses)
                function(ctypes.byref(edges), *read, _pointers([*sums, *own]))
                _add_rooms(totals, own)

        n_threads = min(torch.get_num_threads(), n // PAIRS_OF_A_THREAD)
        if n_threads < 2:
            work(0, n, totals)
        else:
            _share(work, list(_parts(target, source, n_threads)), self.roles, totals)


def kernel_inputs(inputs: Sequence[Tensor | LinearMap]) -> list[Tensor]:
    """Give the tensors of inputs: features for a map, with its weights and bias at the end."""
    tensors = [x.features if isinstance(x, LinearMap) else x for x in inputs]
    for x in inputs:
        if isinstance(x, LinearMap):
            padding = (0, -len(x.weight) % PADDING)
            bias = x.weight.new_zeros(len(x.weight)) if x.bias is None else x.bias
            tensors += [nn.functional.pad(y, padding) for y in (x.weight.t(), bias)]
    return tensors


def find_kernel(
    message: EdgeMessage, pairs: EdgePairs, n_atoms: int, inputs: Sequence[Tensor | LinearMap]
) -> EdgeKernel | None:
    """Give the kernel of a message of such inputs, None where the device or dtype has none."""
    parts = [y for x in inputs for y in (x if isinstance(x, LinearMap) else (x,))]
    tensors = [x for x in parts if x is not None]
    dtype = tensors[0].dtype
    if any(x.device.type != "cpu" or x.dtype != dtype for x in tensors) or dtype not in REAL_BITS:
        return None
    widths = tuple(_width(x) for x in inputs)
    spec = message.kernel(widths)
    if spec is None:
        return None
    mapped = [number for number, x in enumerate(inputs) if isinstance(x, LinearMap)]
    if widths != spec.widths or mapped != [n for n in (spec.mapped,) if n is not None]:
        raise ValueError(
            f"Rows of {spec.source} have {widths} numbers, linear maps are {mapped}; expected "
            f"{spec.widths}, and {spec.mapped}."
        )
    library = _library(spec.source, (("REAL_BITS", REAL_BITS[dtype]), *spec.constants))
    if library is None:
        return None
    roles = (*message.roles, *(SHARED, SHARED) * len(mapped))
    n_features = sum(x.features.shape[1] for x in inputs if isinstance(x, LinearMap))
    return EdgeKernel(library, spec, roles, n_features, pairs, n_atoms)


def _width(x: Tensor | LinearMap) -> int:
    return len(x.weight) if isinstance(x, LinearMap) else math.prod(x.shape[1:])


@lru_cache
def _library(source: str, constants: tuple[tuple[str, int | str], ...]) -> ctypes.CDLL | None:
    try:
        return load_kernel(source, constants)
    except CompilerError as error:
        warn_user(
            f"No compiled kernel: {error}. Going on with torch's own functions, which take longer. "
            "Install gcc or clang, name one in the environment variable CC, or set compile=False."
        )
        return None


def _pointers(tensors: Sequence[Tensor | None]) -> Any:
    addresses = [None if x is None else x.data_ptr() for x in tensors]
    return (ctypes.c_void_p * len(addresses))(*addresses)


def _parts(target: Tensor, source: Tensor, n_parts: int) -> Iterator[tuple[int, int]]:
    """Cut the pairs where no atom has edges on both sides, into parts of about one size.

    So threads write to rows of their own, and sums do not depend on their number.
    """
    atoms = torch.cat([target, source])  # (2 k, P)
    last = atoms.amax(dim=0).cummax(dim=0).values
    first = atoms.amin(dim=0).flip(0).cummin(dim=0).values.flip(0)
    cuts = (last[:-1] < first[1:]).nonzero()[:, 0] + 1
    n = target.shape[1]
    wanted = torch.arange(1, n_parts) * n // n_parts
    places = torch.searchsorted(cuts, wanted)
    chosen = cuts[places[places < len(cuts)]].unique().tolist()
    bounds = [0, *chosen, n]
    yield from pairwise(bounds)


def _share(
    work: Callable[[int, int, Rooms], None],
    parts: Sequence[tuple[int, int]],
    roles: Sequence[str],
    totals: Rooms,
) -> None:
    """Work on parts at the same time: ctypes lets other threads run."""
    rooms = [_own_rooms(roles, totals) for _ in parts[1:]]
    running = [
        _threads().submit(work, *part, own) for part, own in zip(parts[1:], rooms, strict=True)
    ]
    work(*parts[0], totals)
    for future in running:
        future.result()
    for own in rooms:
        _add_rooms(totals, own)


def _own_rooms(roles: Sequence[str], totals: Rooms) -> Rooms:
    """Give rooms to write to: fresh ones for what all edges add to."""
    return [
        torch.zeros_like(x) if x is not None and role == SHARED else x
        for role, x in zip(roles, totals, strict=False)
    ]


def _add_rooms(totals: Rooms, own: Rooms) -> None:
    for total, x in zip(totals, own, strict=True):
        if total is not None and x is not None and x is not total:
            total.add_(x)


@lru_cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=torch.get_num_threads())


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_threads.cache_clear)
