"""The sum of messages by a kernel in C, which reads and writes each edge once."""

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gnnpre._warnings import warn_user
from gnnpre.graphs import EdgePairs

from ._edge_blocks import empty_gradients
from ._edge_message import EdgeMessage, KernelSpec, Optional
from ._native import CompilerError, load_kernel

__all__ = ["EdgeKernel", "find_kernel"]

REAL_BITS = {torch.float32: 32, torch.float64: 64}
#: Fewer pairs than this are not worth the start of a thread.
PAIRS_OF_A_THREAD = 2_000


class _Edges(ctypes.Structure):
    """``edges_t`` of ``kernels/edge_math.h``."""

    _fields_ = (
        ("begin", ctypes.c_int64),
        ("end", ctypes.c_int64),
        ("n", ctypes.c_int64),
        ("k", ctypes.c_int64),
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
        Where the message finds each input.
    pairs : EdgePairs
        The edges.
    n_atoms : int
        Atoms of the batch.
    """

    library: ctypes.CDLL
    spec: KernelSpec
    roles: tuple[str, ...]
    pairs: EdgePairs
    n_atoms: int

    def value(self, inputs: Sequence[Tensor], keep: bool) -> tuple[tuple[Tensor, ...], None]:
        """Give the sums."""
        sums = self._empty_sums(inputs[0])
        self._run("value", inputs, sums)
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
        self._run("gradient", inputs, cotangents, totals)
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
        self._run("second", inputs, cotangents, tangents, [*sums, *totals])
        return sums, tuple(totals)

    def _empty_sums(self, like: Tensor) -> tuple[Tensor, ...]:
        return tuple(like.new_zeros(self.n_atoms, *shape) for shape in self.spec.sums)

    def _run(self, name: str, *groups: Sequence[Tensor | None]) -> None:
        """Call a function of the kernel with groups of tensors, the last of which it writes."""
        function = getattr(self.library, name)
        groups = (*([_dense(x) for x in group] for group in groups[:-1]), groups[-1])
        target, source = self.pairs.target.contiguous(), self.pairs.source.contiguous()
        k, n = target.shape
        pointers = [_pointers(group) for group in groups]

        def work(begin: int, end: int) -> None:
            edges = _Edges(begin, end, n, k, target.data_ptr(), source.data_ptr())
            function(ctypes.byref(edges), *pointers)

        n_threads = min(torch.get_num_threads(), n // PAIRS_OF_A_THREAD)
        if n_threads < 2:
            work(0, n)
        else:
            _share(work, list(_parts(target, source, n_threads)))


def find_kernel(
    message: EdgeMessage, pairs: EdgePairs, n_atoms: int, inputs: Sequence[Tensor]
) -> EdgeKernel | None:
    """Give the kernel of a message of such inputs, None where the device or dtype has none."""
    dtype = inputs[0].dtype
    if any(x.device.type != "cpu" or x.dtype != dtype for x in inputs) or dtype not in REAL_BITS:
        return None
    spec = message.kernel(inputs)
    if spec is None:
        return None
    widths = tuple(
        x[0].numel() if len(x) else width for x, width in zip(inputs, spec.widths, strict=True)
    )
    if widths != spec.widths:
        raise ValueError(f"Rows of {spec.source} have {widths} numbers; expected {spec.widths}.")
    library = _library(spec.source, (("REAL_BITS", REAL_BITS[dtype]), *spec.constants))
    if library is None:
        return None
    return EdgeKernel(library, spec, message.roles, pairs, n_atoms)


@lru_cache
def _library(source: str, constants: tuple[tuple[str, int | str], ...]) -> ctypes.CDLL | None:
    try:
        return load_kernel(source, constants)
    except CompilerError as error:
        warn_user(
            f"compile=True: {error}. Going on with torch's own functions, which take longer. "
            "Install gcc or clang, or name one in the environment variable CC."
        )
        return None


def _dense(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous()


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


def _share(work: Callable[[int, int], None], parts: Sequence[tuple[int, int]]) -> None:
    """Work on parts at the same time: ctypes lets other threads run."""
    running = [_threads().submit(work, *part) for part in parts[1:]]
    work(*parts[0])
    for future in running:
        future.result()


@lru_cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=torch.get_num_threads())


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_threads.cache_clear)
