"""The sum of messages by a kernel in C, which reads and writes each edge once."""

import ctypes
import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gnnpre._warnings import PerformanceWarning, warn_user
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
        groups: Sequence[Sequence[Tensor | None]],
        sums: Sequence[Tensor],
        totals: Sequence[Tensor | None] = (),
    ) -> None:
        """Call a function of the kernel: it reads groups of tensors, and writes the rest."""
        dense = [[None if x is None else x.contiguous() for x in group] for group in groups]
        target, source = self.pairs.target.contiguous(), self.pairs.source.contiguous()
        k, n = target.shape
        n_threads = max(1, min(torch.get_num_threads(), n // PAIRS_OF_A_THREAD))
        parts = _parts(target, source, n_threads)
        # What all edges add to, each part adds to for itself.
        own = [
            x.new_zeros(len(parts), *x.shape) if x is not None and role == SHARED else None
            for role, x in zip(self.roles, totals, strict=False)
        ]
        outputs = [
            x if mine is None else mine[part]
            for part in range(len(parts))
            for x, mine in zip((*sums, *totals), (*(None for _ in sums), *own), strict=True)
        ]
        addresses = target.data_ptr(), source.data_ptr()
        edges = [_Edges(*bounds, n, k, self.n_features, *addresses) for bounds in parts]
        getattr(self.library, f"{name}_of_parts")(
            ctypes.c_int64(len(parts)),
            ctypes.c_int64(n_threads),
            (_Edges * len(edges))(*edges),
            ctypes.c_int64(len(sums) + len(totals)),
            _pointers(outputs),
            *(_pointers(group) for group in dense),
        )
        for total, mine in zip(totals, own, strict=True):
            if total is not None and mine is not None:
                torch.sum(mine, dim=0, out=total)


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
            "Install gcc or clang, name one in the environment variable CC, or set compile=False.",
            PerformanceWarning,
        )
        return None


def _pointers(tensors: Sequence[Tensor | None]) -> Any:
    addresses = [None if x is None else x.data_ptr() for x in tensors]
    return (ctypes.c_void_p * len(addresses))(*addresses)


def _parts(target: Tensor, source: Tensor, n_threads: int) -> list[tuple[int, int]]:
    """Cut the pairs into parts; for threads, where no atom has edges on both sides.

    So threads write to rows of their own, and sums over neighbours do not depend on their number.
    """
    n = target.shape[1]
    n_parts = n_threads * max(1, math.ceil(n / (n_threads * PAIRS_OF_A_SUM)))
    bounds = [n * part // n_parts for part in range(n_parts + 1)]
    if n_threads > 1:
        atoms = torch.cat([target, source])  # (2 k, P)
        last = atoms.amax(dim=0).cummax(dim=0).values
        first = atoms.amin(dim=0).flip(0).cummin(dim=0).values.flip(0)
        cuts = (last[:-1] < first[1:]).nonzero()[:, 0] + 1
        places = torch.searchsorted(cuts, torch.tensor(bounds[1:-1]))
        bounds = [0, *cuts[places[places < len(cuts)]].unique().tolist(), n]
    return list(pairwise(bounds))
