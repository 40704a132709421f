"""Sums over neighbours that can be differentiated twice."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gnnpre._exporting import is_exporting
from gnnpre.graphs import CrystalBatch, EdgePairs

from ._blocks import Blocks
from ._kernel_inputs import kernel_inputs
from ._kernel_sums import EdgeRanges, KernelSums, find_kernel
from ._message import EdgeMessage, LinearMap
from ._roles import SOURCE, TARGET, Gradients
from .triton_kernels import EdgeOrder, TritonSums, find_triton_kernel, has_triton

__all__ = ["Neighbors"]

_Engine = Blocks | KernelSums | TritonSums


class Neighbors(NamedTuple):
    """The neighbours of the N atoms of a batch, for all layers of a network.

    Parameters
    ----------
    pairs : EdgePairs
        The edges, in P pairs of opposite ones.
    n_atoms : int
        Number of atoms N.
    scale : Tensor or None
        Factor of the sums over neighbours: a number, or a tensor of shape (N, 1).
    compiled : bool
        Whether to use kernels: in C, or in Triton on a GPU.
    plan : EdgeRanges or EdgeOrder, optional
        Ranges of pairs for the threads of kernels in C, or orders of edges for those in Triton.

    Examples
    --------
    The number of neighbours of each atom:

    >>> import torch
    >>> from ase.build import bulk
    >>> from gnnpre import StructureToGraph
    >>> from gnnpre.backbones.messages import FilteredMessage, Neighbors
    >>> batch = StructureToGraph(cutoff=4.0).transform([bulk("Cu")]).batch()
    >>> neighbors = Neighbors.of(batch)
    >>> ones = torch.ones(neighbors.n_pairs, 1), torch.ones(neighbors.n_atoms, 1)
    >>> neighbors.sum(FilteredMessage(), *ones)
    (tensor([[18.]]),)
    """

    pairs: EdgePairs
    n_atoms: int
    scale: Tensor | None = None
    compiled: bool = False
    plan: EdgeRanges | EdgeOrder | None = None

    @classmethod
    def of(cls, batch: CrystalBatch, compiled: bool = False) -> "Neighbors":
        """Return the neighbours of the atoms of a batch, after a check of its edges.

        Parameters
        ----------
        batch : CrystalBatch
            The crystals.
        compiled : bool
            Whether to use kernels: in C, or in Triton on a GPU.

        Returns
        -------
        Neighbors
            The neighbours.

        Raises
        ------
        ValueError
            If an edge has an end that is none of the N atoms, or the sizes of the tensors of the
            batch do not fit.
        """
        if not is_exporting():
            _check_batch(batch)
        pairs, n_atoms = batch.pairs, len(batch.atomic_numbers)
        # Made here, once for all layers.
        plan: EdgeRanges | EdgeOrder | None = None
        compiled = compiled and not is_exporting()  # which sums by the formula
        if compiled and pairs.target.device.type == "cpu":
            plan = EdgeRanges.of(pairs)
        elif compiled and has_triton():
            plan = EdgeOrder.of(pairs, n_atoms)
        return cls(pairs, n_atoms, compiled=compiled, plan=plan)

    def scaled(self, scale: Tensor | None) -> "Neighbors":
        """Return the same neighbours with another factor of their sums."""
        return self._replace(scale=scale)

    @property
    def n_pairs(self) -> int:
        """Number of pairs P."""
        return self.pairs.target.shape[1]

    def sum(self, message: EdgeMessage, *inputs: Tensor | LinearMap) -> tuple[Tensor, ...]:
        """Sum messages over the neighbours of each atom.

        Parameters
        ----------
        message : EdgeMessage
            The message.
        *inputs : Tensor or LinearMap
            The inputs of the message: (N, ...) for atoms, (P, ...) for pairs.

        Returns
        -------
        tuple of Tensor
            Sums of shape (N, ...), times ``scale``.

        Raises
        ------
        ValueError
            If an input does not have one row for each atom or pair.
        """
        if is_exporting():
            return self._formula_sum(message, inputs)
        self._check_inputs(message, inputs)
        if _has_autocast(self.pairs.target.device.type):
            inputs = tuple(map(_single, inputs))
        engine, tensors = self._engine(message, inputs)
        sums: tuple[Tensor, ...] = _Sum.apply(engine, *tensors)
        return sums if self.scale is None else tuple(x * self.scale for x in sums)

    def _formula_sum(
        self, message: EdgeMessage, inputs: Sequence[Tensor | LinearMap]
    ) -> tuple[Tensor, ...]:
        """Sum the messages of all edges by their formula, which ``torch.export`` can trace."""
        # An export leaves edges single, so that pairs are edges.
        (target,), (source,) = self.pairs.target, self.pairs.source
        edge_inputs = []
        for x, role in zip(inputs, message.roles, strict=True):
            rows = x.product() if isinstance(x, LinearMap) else x
            atoms = {TARGET: target, SOURCE: source}.get(role)
            edge_inputs.append(rows if atoms is None else rows[atoms])
        messages = message.formula(*edge_inputs)
        sums = tuple(
            x.new_zeros((self.n_atoms, *x.shape[1:])).index_add(0, target, x) for x in messages
        )
        return sums if self.scale is None else tuple(x * self.scale for x in sums)

    def _check_inputs(self, message: EdgeMessage, inputs: Sequence[Tensor | LinearMap]) -> None:
        """Check the numbers of rows: a kernel would read beyond the end of a shorter tensor."""
        name, roles = type(message).__name__, message.roles
        if len(inputs) != len(roles) or not {TARGET, SOURCE} & set(roles):
            raise ValueError(
                f"{name} has {len(inputs)} inputs and the roles {roles}; expected one role for "
                f"each input, {TARGET!r} or {SOURCE!r} among them."
            )
        for number, (x, role) in enumerate(zip(inputs, roles, strict=True)):
            # A LinearMap is multiplied inside the kernel; its rows are those of its features.
            n_rows = len(x.features) if isinstance(x, LinearMap) else len(x)
            expected = self.n_atoms if role in (TARGET, SOURCE) else self.n_pairs
            if n_rows != expected:
                noun = "atoms" if role in (TARGET, SOURCE) else "pairs of atoms"
                raise ValueError(
                    f"Input {number} of {name} has {n_rows} rows; expected {expected}, the number "
                    f"of {noun}."
                )

    def _engine(
        self, message: EdgeMessage, inputs: Sequence[Tensor | LinearMap]
    ) -> tuple[_Engine, list[Tensor]]:
        """Choose how to compute the sums; return it with the tensors that it takes."""
        if self.compiled and (kernel := self._find_kernel(message, inputs)):
            return kernel, kernel_inputs(inputs)
        blocks = Blocks(message, self.pairs, self.n_atoms)
        return blocks, [x.product() if isinstance(x, LinearMap) else x for x in inputs]

    def _find_kernel(
        self, message: EdgeMessage, inputs: Sequence[Tensor | LinearMap]
    ) -> KernelSums | TritonSums | None:
        """Return the kernel for this device and these inputs, None if there is none."""
        edges = message, self.pairs, self.n_atoms, inputs
        if self.pairs.target.device.type == "cpu":
            return find_kernel(*edges, self.plan if isinstance(self.plan, EdgeRanges) else None)
        return find_triton_kernel(*edges, self.plan if isinstance(self.plan, EdgeOrder) else None)


def _check_batch(batch: CrystalBatch) -> None:
    """Check the edges of a batch: a kernel reads and writes at the atoms that they name."""
    n_atoms, index = len(batch.atomic_numbers), batch.edge_index
    if index.dtype != torch.int64:
        raise ValueError(f"edge_index of the batch has dtype {index.dtype}; expected torch.int64.")
    rows = {
        "positions": (len(batch.positions), n_atoms),
        "batch": (len(batch.batch), n_atoms),
        "edge_vectors": (len(batch.edge_vectors), index.shape[1]),
        "edge_shift": (len(batch.edge_shift), index.shape[1]),
    }
    for name, (n_rows, expected) in rows.items():
        if n_rows != expected:
            raise ValueError(
                f"{name} of the batch has {n_rows} rows; expected {expected}, as there are "
                f"{n_atoms} atomic_numbers and {index.shape[1]} edges."
            )
    # On a GPU torch's own functions check each index, and this would wait for the device.
    if index.device.type == "cpu" and index.numel():
        first, last = (int(x) for x in index.aminmax())
        if first < 0 or last >= n_atoms:
            wrong = first if first < 0 else last
            raise ValueError(
                f"edge_index of the batch names atom {wrong}; expected 0 to {n_atoms - 1}, as "
                f"there are {n_atoms} atomic_numbers."
            )


class _Sum(torch.autograd.Function):
    """The sums of the messages of all edges."""

    @staticmethod
    def forward(ctx: Any, engine: _Engine, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.engine = engine
        ctx.save_for_backward(*inputs)
        with _full_precision(inputs[0]):
            sums, ctx.states = engine.value(_detached(inputs), any(ctx.needs_input_grad))
        return sums

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        constants = (ctx.engine, ctx.states, _needed(ctx, len(inputs)), len(inputs))
        return (None, *_Gradient.apply(*constants, *inputs, *cotangents))


class _Gradient(torch.autograd.Function):
    """The gradient of the sums, itself a function of the inputs and the cotangents."""

    @staticmethod
    def forward(
        ctx: Any,
        engine: _Engine,
        states: Any,
        needs: tuple[bool, ...],
        n_inputs: int,
        *tensors: Tensor,
    ) -> Gradients:
        ctx.constants = (engine, states, n_inputs)
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        tensors = _detached(tensors)
        with _full_precision(tensors[0]):
            return engine.gradient(tensors[:n_inputs], states, tensors[n_inputs:], needs)

    @staticmethod
    def backward(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        engine, states, n_inputs = ctx.constants
        tensors = _detached(ctx.saved_tensors)
        if all(tangent is None for tangent in tangents):
            return (None,) * (4 + len(tensors))
        inputs, cotangents = tensors[:n_inputs], tensors[n_inputs:]
        needs = _needed(ctx, len(tensors))[:n_inputs]
        with _full_precision(inputs[0]):
            sums, gradients = engine.second(inputs, states, cotangents, tangents, needs)
        return (None,) * 4 + (*gradients, *sums)


def _needed(ctx: Any, n_tensors: int) -> tuple[bool, ...]:
    """Return which of the last inputs, all tensors, need a gradient in this backward pass.

    Forces need only the gradients that lead to positions, a training step those that lead to
    weights; ``ctx.needs_input_grad`` alone is true for both.
    """
    needs = ctx.needs_input_grad[-n_tensors:]
    return tuple(
        need and _is_executed(node)
        for need, (node, _) in zip(needs, ctx.next_functions, strict=True)
    )


def _is_executed(node: Any) -> bool:
    try:
        return bool(torch._C._will_engine_execute_node(node))
    except RuntimeError:  # raised for a leaf whose own gradient is asked for
        return True


def _full_precision(like: Tensor) -> AbstractContextManager[Any]:
    """Return the context of sums and their derivatives: autocast would mix precisions in them."""
    device = like.device.type
    return torch.autocast(device, enabled=False) if _has_autocast(device) else nullcontext()


def _has_autocast(device: str) -> bool:
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def _single(x: Tensor | LinearMap) -> Any:
    """Return an input in single precision, where autocast has computed it in less."""
    if isinstance(x, LinearMap):
        bias = None if x.bias is None else _single(x.bias)
        return LinearMap(_single(x.features), _single(x.weight), bias)
    return x.float() if x.dtype.itemsize < 4 else x


def _detached(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return tensors without their history: all derivatives are explicit here."""
    return tuple(x.detach() for x in tensors)
