"""Sums over neighbours by a kernel in C, which reads and writes each edge once."""

import ctypes
import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gnnpre._compiler import CompilerError
from gnnpre._kernel_cache import load_kernel
from gnnpre._warnings import PerformanceWarning, warn_user
from gnnpre.graphs import EdgePairs

from ._blocks import empty_gradients
from ._kernel_inputs import PADDING, kernel_roles, shapes_of, spec_for
from ._message import EdgeMessage, KernelSpec, LinearMap
from ._roles import SHARED, Gradients

__all__ = ["EdgeRanges", "KernelSums", "find_kernel"]

#: ``INTERFACE_VERSION`` of ``kernels/edge_ranges.h``: raise both when arguments change.
INTERFACE_VERSION = 2
#: Fewer pairs than this are not worth the start of a thread.
MIN_PAIRS_PER_THREAD = 2_000
#: Most pairs whose gradients of weights add up in one sum; more would cost digits in float32.
MAX_PAIRS_PER_SUM = 8_192


class _Edges(ctypes.Structure):
    """``edges_t`` of ``kernels/edge_math.h``: a range of the pairs of a batch."""

    _fields_ = (
        ("begin", ctypes.c_int64),
        ("end", ctypes.c_int64),
        ("n", ctypes.c_int64),
        ("k", ctypes.c_int64),
        ("r", ctypes.c_int64),
        ("target", ctypes.c_void_p),
        ("source", ctypes.c_void_p),
    )


class EdgeRanges(NamedTuple):
    """Ranges of pairs that threads take one after the other, for all layers of a network.

    Parameters
    ----------
    n_threads : int
        Number of threads.
    bounds : list of (int, int)
        First pair and end of each range.
    """

    n_threads: int
    bounds: list[tuple[int, int]]

    @classmethod
    def of(cls, pairs: EdgePairs) -> "EdgeRanges":
        """Return the ranges for as many threads as torch may use, and as are worth it."""
        n_pairs = pairs.target.shape[1]
        n_threads = max(1, min(torch.get_num_threads(), n_pairs // MIN_PAIRS_PER_THREAD))
        return cls(n_threads, cut_pairs(pairs.target, pairs.source, n_threads))


class KernelSums(NamedTuple):
    """The sums of a message over the edges of a batch, by a kernel; it keeps no states.

    Parameters
    ----------
    library : ctypes.CDLL
        The compiled kernel.
    spec : KernelSpec
        Its source, sizes and sums.
    roles : tuple of str
        Roles of the inputs, with those of a linear map.
    n_features : int
        Features of a pair in the linear map.
    pairs : EdgePairs
        The edges.
    n_atoms : int
        Number of atoms of the batch.
    ranges : EdgeRanges
        Ranges of the pairs, for threads.
    """

    library: ctypes.CDLL
    spec: KernelSpec
    roles: tuple[str, ...]
    n_features: int
    pairs: EdgePairs
    n_atoms: int
    ranges: EdgeRanges

    def value(self, inputs: Sequence[Tensor], keep: bool) -> tuple[tuple[Tensor, ...], None]:
        """Return the sums."""
        sums = self._empty_sums(inputs[0])
        self._run("value", (inputs,), sums)
        return sums, None

    def gradient(
        self,
        inputs: Sequence[Tensor],
        states: None,
        cotangents: Sequence[Tensor],
        needs: tuple[bool, ...],
    ) -> Gradients:
        """Return the gradient of ``sum <cotangent, sum>`` with respect to each input."""
        gradients = empty_gradients(self.roles, inputs, needs)
        self._run("gradient", (inputs, cotangents), (), gradients)
        return tuple(gradients)

    def second(
        self,
        inputs: Sequence[Tensor],
        states: None,
        cotangents: Sequence[Tensor],
        tangents: Sequence[Tensor | None],
        needs: tuple[bool, ...],
    ) -> tuple[tuple[Tensor, ...], Gradients]:
        """Return derivatives along ``tangents`` of the sums and of their gradient."""
        sums = self._empty_sums(inputs[0])
        gradients = empty_gradients(self.roles, inputs, needs)
        self._run("second", (inputs, cotangents, tangents), sums, gradients)
        return sums, tuple(gradients)

    def _empty_sums(self, like: Tensor) -> tuple[Tensor, ...]:
        return tuple(like.new_zeros(self.n_atoms, *shape) for shape in self.spec.sums)

    def _run(
        self,
        name: str,
        groups: Sequence[Sequence[Tensor | None]],
        sums: Sequence[Tensor],
        gradients: Sequence[Tensor | None] = (),
    ) -> None:
        """Call a function of the kernel: it reads groups of tensors and writes to the others."""
        # 1. The kernel reads rows one after the other.
        dense = [[None if x is None else x.contiguous() for x in group] for group in groups]
        target, source = self.pairs.target.contiguous(), self.pairs.source.contiguous()

        # 2. Ranges of pairs. Gradients to which all edges add get a tensor for each of several.
        k, n = target.shape
        n_threads, ranges = self.ranges
        per_range = [
            x.new_zeros(len(ranges), *x.shape)
            if x is not None and role == SHARED and len(ranges) > 1
            else None
            for role, x in zip(self.roles, gradients, strict=False)
        ]
        outputs = [
            *sums,
            *(x if many is None else many for x, many in zip(gradients, per_range, strict=True)),
        ]
        shared = [False] * len(sums) + [many is not None for many in per_range]
        addresses = [
            x[number] if x is not None and split else x
            for number in range(len(ranges))
            for x, split in zip(outputs, shared, strict=True)
        ]

        # 3. The call, and the sums over ranges.
        ends = target.data_ptr(), source.data_ptr()
        edges = [_Edges(*bounds, n, k, self.n_features, *ends) for bounds in ranges]
        getattr(self.library, f"{name}_of_ranges")(
            len(ranges),
            n_threads,
            (_Edges * len(edges))(*edges),
            len(outputs),
            _pointers(addresses),
            *(_pointers(group) for group in dense),
        )
        for x, many in zip(gradients, per_range, strict=True):
            if x is not None and many is not None:
                torch.sum(many, dim=0, out=x)


def find_kernel(
    message: EdgeMessage,
    pairs: EdgePairs,
    n_atoms: int,
    inputs: Sequence[Tensor | LinearMap],
    ranges: EdgeRanges | None = None,
) -> KernelSums | None:
    """Return the kernel for a message of such inputs, None if there is none for device or dtype."""
    shapes = shapes_of(inputs, torch.device("cpu"))
    if shapes is None:
        return None
    kernel = _kernel_of(message, shapes.widths, shapes.mapped, shapes.real_bits)
    if kernel is None:
        return None
    library, spec = kernel
    roles = kernel_roles(message, spec)
    ranges = EdgeRanges.of(pairs) if ranges is None else ranges
    return KernelSums(library, spec, roles, shapes.n_features, pairs, n_atoms, ranges)


@lru_cache
def _kernel_of(
    message: EdgeMessage, widths: tuple[int, ...], mapped: tuple[int, ...], real_bits: int
) -> tuple[ctypes.CDLL, KernelSpec] | None:
    """Return the library for a message with rows of these widths, and its description."""
    spec = spec_for(message, widths, mapped)
    library = None if spec is None else _library(spec, real_bits)
    return None if spec is None or library is None else (library, spec)


@lru_cache
def _library(spec: KernelSpec, real_bits: int) -> ctypes.CDLL | None:
    """Load the kernel; warn and return None if there is no compiler or it fails."""
    try:
        constants = (("REAL_BITS", real_bits), *spec.constants)
        library = load_kernel(spec.source, constants, __package__)
        declare_functions(library, spec, real_bits)
    except CompilerError as error:
        warn_user(
            f"No compiled kernel: {error}. Going on with torch's own functions, which take longer. "
            "Install gcc or clang, name one in the environment variable CC, or set compile=False.",
            PerformanceWarning,
        )
        return None
    return library


def declare_functions(library: ctypes.CDLL, spec: KernelSpec, real_bits: int) -> None:
    """Declare the arguments of a kernel's functions, and check that it agrees on their layout.

    Parameters
    ----------
    library : ctypes.CDLL
        The kernel.
    spec : KernelSpec
        The expected source, sizes and sums.
    real_bits : int
        Bits of a number.

    Raises
    ------
    CompilerError
        If the library lacks a function, or was compiled with another layout.
    """
    # 1. argument types: without them ctypes would cut addresses to 32 bits
    size, pointers = ctypes.c_int64, ctypes.POINTER(ctypes.c_void_p)
    try:
        library.interface.argtypes = [ctypes.POINTER(size)]
        library.interface.restype = size
        functions = [library.value_of_ranges, library.gradient_of_ranges, library.second_of_ranges]
    except AttributeError as error:
        raise CompilerError(f"the library of {spec.source}.c is incomplete: {error}") from error
    for n_groups, function in enumerate(functions, start=1):
        function.argtypes = [size, size, ctypes.POINTER(_Edges), size, *[pointers] * (1 + n_groups)]
        function.restype = None
    # 2. the layout that the library was compiled with, against that of this module
    mapped_width = 0 if spec.mapped is None else spec.widths[spec.mapped]
    expected = {
        "version": INTERFACE_VERSION,
        "bytes of a number": real_bits // 8,
        "bytes of edges_t": ctypes.sizeof(_Edges),
        "place of its last field": _Edges.source.offset,
        "inputs": len(spec.widths) + (2 if mapped_width else 0),
        "sums": len(spec.sums),
        "numbers in a row of the map": mapped_width + -mapped_width % PADDING,
    }
    numbers = (size * len(expected))()
    count = library.interface(numbers)
    if count != len(expected) or list(numbers) != list(expected.values()):
        raise CompilerError(
            f"the library of {spec.source}.c reports {list(numbers)} as its interface; expected "
            f"{expected}"
        )


def _pointers(tensors: Sequence[Tensor | None]) -> Any:
    addresses = [None if x is None else x.data_ptr() for x in tensors]
    return (ctypes.c_void_p * len(addresses))(*addresses)


def cut_pairs(target: Tensor, source: Tensor, n_threads: int) -> list[tuple[int, int]]:
    """Cut the pairs into ranges; for threads, such that no atom has edges in two of them.

    Then each thread writes to rows of its own, and sums over neighbours do not depend on the number
    of threads.
    """
    n = target.shape[1]
    n_ranges = n_threads * max(1, math.ceil(n / (n_threads * MAX_PAIRS_PER_SUM)))
    bounds = [n * number // n_ranges for number in range(n_ranges + 1)]
    if n_threads > 1:
        # Pairs may be cut where all atoms so far are smaller than all atoms to come.
        atoms = torch.cat([target, source])  # (2 k, P)
        last = atoms.amax(dim=0).cummax(dim=0).values
        first = atoms.amin(dim=0).flip(0).cummin(dim=0).values.flip(0)
        cuts = (last[:-1] < first[1:]).nonzero()[:, 0] + 1
        nearest = torch.searchsorted(cuts, torch.tensor(bounds[1:-1]))
        bounds = [0, *cuts[nearest[nearest < len(cuts)]].unique().tolist(), n]
    return list(pairwise(bounds))
