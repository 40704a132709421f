"""The inputs of kernels: which of them fit, and the tensors that a kernel takes."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ._message import EdgeMessage, KernelSpec, LinearMap
from ._roles import SHARED

__all__ = ["InputShapes", "kernel_inputs", "kernel_roles", "shapes_of", "spec_for"]

REAL_BITS = {torch.float32: 32, torch.float64: 64}
#: Rows of linear maps are padded to a multiple of this; ``PADDED`` of ``kernels/edge_map.h``.
PADDING = 16


class InputShapes(NamedTuple):
    """The sizes of the inputs of a message, which are compiled into its kernel."""

    widths: tuple[int, ...]  # numbers in a row of each; for a linear map, of its product
    mapped: tuple[int, ...]  # indices of linear maps
    real_bits: int
    n_features: int  # of a pair, in the linear map


def shapes_of(inputs: Sequence[Tensor | LinearMap], device: torch.device) -> InputShapes | None:
    """Return the sizes of inputs; None unless all are on the device and of one precision."""
    flat = [y for x in inputs for y in (x if isinstance(x, LinearMap) else (x,))]
    tensors = [x for x in flat if x is not None]
    dtype = tensors[0].dtype
    if any(x.device != device or x.dtype != dtype for x in tensors) or dtype not in REAL_BITS:
        return None
    widths = tuple(
        len(x.weight) if isinstance(x, LinearMap) else math.prod(x.shape[1:]) for x in inputs
    )
    mapped = tuple(number for number, x in enumerate(inputs) if isinstance(x, LinearMap))
    n_features = sum(x.features.shape[1] for x in inputs if isinstance(x, LinearMap))
    return InputShapes(widths, mapped, REAL_BITS[dtype], n_features)


@lru_cache
def spec_for(
    message: EdgeMessage, widths: tuple[int, ...], mapped: tuple[int, ...]
) -> KernelSpec | None:
    """Return the kernel of a message, None if it has none, after a check of the sizes.

    A kernel reads beyond the end of rows that are shorter than the sizes it is compiled for.
    """
    spec = message.kernel(widths)
    if spec is None:
        return None
    if widths != spec.widths or mapped != tuple(n for n in (spec.mapped,) if n is not None):
        raise ValueError(
            f"Rows of {spec.source} have {widths} numbers, linear maps are {list(mapped)}; "
            f"expected {spec.widths}, and {spec.mapped}."
        )
    return spec


def kernel_roles(message: EdgeMessage, spec: KernelSpec) -> tuple[str, ...]:
    """Return the roles of the tensors of :func:`kernel_inputs`."""
    return (*message.roles, *(() if spec.mapped is None else (SHARED, SHARED)))


def kernel_inputs(inputs: Sequence[Tensor | LinearMap]) -> list[Tensor]:
    """Return the tensors of the inputs, with the weights and bias of a linear map at the end."""
    tensors = [x.features if isinstance(x, LinearMap) else x for x in inputs]
    for x in inputs:
        if isinstance(x, LinearMap):
            padding = -len(x.weight) % PADDING
            bias = x.weight.new_zeros(len(x.weight)) if x.bias is None else x.bias
            rows = (x.weight.t(), bias)
            # A pad of nothing would be a copy.
            tensors += [nn.functional.pad(y, (0, padding)) for y in rows] if padding else rows
    return tensors
