"""The engine of sums over neighbours by kernels in Triton."""

import importlib
import importlib.util
import math
from collections.abc import Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gnnpre._warnings import PerformanceWarning, warn_user
from gnnpre.graphs import EdgePairs

from .._kernel_inputs import kernel_roles, shapes_of, spec_for
from .._message import EdgeMessage, KernelSpec, LinearMap
from .._roles import PAIR, SHARED, SOURCE, TARGET, Gradients
from ._order import EdgeOrder
from ._tiles import TILE_EDGES, Tiles, tiles_of

__all__ = ["TritonSums", "find_triton_kernel", "has_triton"]

#: ``VALUE``, ``GRADIENT`` and ``SECOND`` of ``_math.py``.
TASKS = {"value": 0, "gradient": 1, "second": 2}
#: ``TARGETS``, ``SOURCES``, ``PAIRS`` and ``MAP`` of ``_math.py``: the roles of what is summed.
OVER = {TARGET: 0, SOURCE: 1, PAIR: 2, SHARED: 3}
#: Most ranges of edges whose gradients of weights are added up side by side, in memory.
MAX_RANGES = 128


@lru_cache
def has_triton() -> bool:
    """Return whether Triton is installed."""
    return importlib.util.find_spec("triton") is not None


@lru_cache
def _triton_or_warning() -> bool:
    if not has_triton():
        warn_user(
            "compile=True, but Triton is not installed: going on with torch's own functions, which "
            "take longer on a GPU. Install triton (PyTorch's builds for GPUs bring it along), or "
            "set compile=False.",
            PerformanceWarning,
        )
    return has_triton()


def find_triton_kernel(
    message: EdgeMessage,
    pairs: EdgePairs,
    n_atoms: int,
    inputs: Sequence[Tensor | LinearMap],
    order: EdgeOrder | None = None,
) -> "TritonSums | None":
    """Return the kernel for a message of such inputs, None if there is none for them.

    Parameters
    ----------
    message : EdgeMessage
        The message.
    pairs : EdgePairs
        The edges.
    n_atoms : int
        Number of atoms.
    inputs : sequence of Tensor or LinearMap
        The inputs of the message.
    order : EdgeOrder, optional
        The order of the edges, which all layers of a network share.

    Returns
    -------
    TritonSums or None
        The kernel.
    """
    shapes = shapes_of(inputs, pairs.target.device)
    if shapes is None or not _triton_or_warning():
        return None
    spec = spec_for(message, shapes.widths, shapes.mapped)
    tiles = None if spec is None else tiles_of(spec, shapes)
    if spec is None or tiles is None:
        return None
    order = EdgeOrder.of(pairs, n_atoms) if order is None else order
    return TritonSums(spec, tiles, kernel_roles(message, spec), pairs, n_atoms, order)


class TritonSums(NamedTuple):
    """The sums of a message over the edges of a batch, by a kernel; it keeps no states.

    Parameters
    ----------
    spec : KernelSpec
        Name of the kernel, its sizes and sums.
    tiles : Tiles
        Sizes of tiles, and the constants that the kernel is compiled with.
    roles : tuple of str
        Roles of the inputs, with those of a linear map.
    pairs : EdgePairs
        The edges.
    n_atoms : int
        Number of atoms of the batch.
    order : EdgeOrder
        The edges in the order of their ends.
    """

    spec: KernelSpec
    tiles: Tiles
    roles: tuple[str, ...]
    pairs: EdgePairs
    n_atoms: int
    order: EdgeOrder

    def value(self, inputs: Sequence[Tensor], keep: bool) -> tuple[tuple[Tensor, ...], None]:
        """Return the sums."""
        sums = self._empty_sums(inputs[0])
        nothing = (None,) * len(inputs)
        self._launch("value", TARGET, (inputs, (None,) * len(sums), nothing), sums, nothing)
        return sums, None

    def gradient(
        self,
        inputs: Sequence[Tensor],
        states: None,
        cotangents: Sequence[Tensor],
        needs: tuple[bool, ...],
    ) -> Gradients:
        """Return the gradient of ``sum <cotangent, sum>`` with respect to each input."""
        no_sums = (None,) * len(cotangents)
        return self._gradients(
            "gradient", (inputs, cotangents, (None,) * len(inputs)), no_sums, needs
        )

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
        return sums, self._gradients("second", (inputs, cotangents, tangents), sums, needs)

    def _empty_sums(self, like: Tensor) -> tuple[Tensor, ...]:
        return tuple(like.new_empty(self.n_atoms, *shape) for shape in self.spec.sums)

    def _gradients(
        self,
        task: str,
        groups: Sequence[Sequence[Tensor | None]],
        sums: Sequence[Tensor | None],
        needs: Sequence[bool],
    ) -> Gradients:
        """Run the kernel once for each kind of sums that is needed."""
        gradients: list[Tensor | None] = [None] * len(needs)
        for over in OVER:
            # 1. what this run computes
            mine = [
                number
                for number, (role, need) in enumerate(zip(self.roles, needs, strict=True))
                if need and OVER.get(role, OVER[PAIR]) == OVER[over]
            ]
            of_atoms = sums if over == TARGET else (None,) * len(sums)
            if not mine and all(x is None for x in of_atoms):
                continue
            outputs: list[Tensor | None] = [None] * len(needs)
            for number in mine:
                outputs[number] = self._empty_output(groups[0][number], over)
            # 2. the run
            self._launch(task, over, groups, of_atoms, outputs)
            # 3. sums over blocks of channels and directions, or over ranges of edges
            for number in mine:
                output, like = outputs[number], groups[0][number]
                assert output is not None
                assert like is not None
                is_whole = output.shape[0] == 1 or over in (TARGET, SOURCE)
                gradients[number] = (output if is_whole else output.sum(dim=0)).view(like.shape)
        return tuple(gradients)

    def _empty_output(self, like: Tensor | None, over: str) -> Tensor:
        """Return room for a gradient: several of them, to be added up, for pairs and weights."""
        assert like is not None
        if over == PAIR:
            return like.new_empty(self.tiles.n_blocks * len(self.pairs.target), *like.shape)
        if over == SHARED:
            # Zeros where rows are padded.
            return like.new_zeros(self._ranges()[0], *like.shape)
        return like.new_empty(like.shape)

    def _ranges(self) -> tuple[int, int]:
        """Return the number of ranges of all edges, and their length."""
        n_tiles = math.ceil(self.pairs.target.numel() / TILE_EDGES)
        length = TILE_EDGES * max(1, math.ceil(n_tiles / MAX_RANGES))
        return max(1, math.ceil(self.pairs.target.numel() / length)), length

    def _launch(
        self,
        task: str,
        over: str,
        groups: Sequence[Sequence[Tensor | None]],
        sums: Sequence[Tensor | None],
        gradients: Sequence[Tensor | None],
    ) -> None:
        """Run the kernel for the sums of one kind, over all ranges of edges."""
        target, source = self.pairs.target.contiguous(), self.pairs.source.contiguous()
        k, n_pairs = target.shape
        edges, offsets, length = None, None, TILE_EDGES
        if over in (TARGET, SOURCE):
            edges, offsets = self.order.by_target if over == TARGET else self.order.by_source
            n_programs = self.n_atoms
        elif over == PAIR:
            n_programs = math.ceil(k * n_pairs / TILE_EDGES)
        else:
            n_programs, length = self._ranges()
        if not n_programs:  # a grid cannot be empty
            return
        inputs, cotangents, tangents = ([_dense(x) for x in group] for group in groups)
        constants = self.tiles.constants | {"TASK": TASKS[task], "OVER": OVER[over]}
        # Triton runs on the current device, whichever holds the tensors.
        with torch.cuda.device(target.device) if target.is_cuda else nullcontext():
            self._call(
                (n_programs, self.tiles.n_blocks),
                *(k * n_pairs, n_pairs, length, edges, offsets, target, source),
                *self.tiles.spread(inputs),
                *cotangents,
                *self.tiles.spread(tangents),
                *sums,
                *self.tiles.spread(gradients),
                **constants,
            )

    def _call(self, grid: tuple[int, int], *arguments: Any, **constants: Any) -> None:
        """Call the kernel, which is compiled when it is first called."""
        try:
            _kernel(self.spec.source)[grid](*arguments, **constants)
        except (torch.cuda.OutOfMemoryError, torch.AcceleratorError):
            raise
        except Exception as error:
            raise RuntimeError(
                f"Triton cannot compile or start the kernel {self.spec.source!r} for this GPU "
                f"({type(error).__name__}: {error}). Set compile=False to go on without kernels."
            ) from error


def _dense(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous()


@lru_cache
def _kernel(name: str) -> Any:
    """Import a kernel; the import of Triton takes seconds."""
    return getattr(importlib.import_module(f"._{name}", __package__), name)
