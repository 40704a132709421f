"""The sizes of tiles: how many channels and features a kernel holds in registers at a time."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._kernel_inputs import PADDING, InputShapes
from .._message import KernelSpec

__all__ = ["TILE_EDGES", "Tiles", "tiles_of"]

#: Edges of a tile: the least with which tensor cores multiply matrices.
TILE_EDGES = 16
#: Fewest columns of such a matrix.
LEAST_COLUMNS = 16
#: Most channels of a tile: all that it holds of an edge has to fit the registers.
MOST_CHANNELS = 32


class Tiles(NamedTuple):
    """Blocks of channels, and the other constants that a kernel is compiled with.

    Parameters
    ----------
    n_blocks : int
        Number of blocks of channels.
    constants : dict
        Constants of the kernel, by name.
    missing : int, optional
        Index of an input that the kernel has but this message has not.
    """

    n_blocks: int
    constants: dict[str, Any]
    missing: int | None = None

    def spread(self, tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Return the tensors with None for the input that is missing."""
        spread = list(tensors)
        if self.missing is not None:
            spread.insert(self.missing, None)
        return spread


def tiles_of(spec: KernelSpec, shapes: InputShapes) -> Tiles | None:
    """Return the tiles of a kernel, None if there is no such kernel in Triton."""
    make = _TILES.get(spec.source)
    if make is None:
        return None
    import triton.language as tl

    constants = dict(spec.constants)
    n_blocks, sizes = make(constants)
    if spec.mapped is not None:
        row = spec.widths[spec.mapped]
        features = max(LEAST_COLUMNS, _power_of_two(shapes.n_features))
        sizes |= {"N": shapes.n_features, "ROW": row + -row % PADDING, "FEATURES": features}
        sizes["PRECISION"] = _precision()
    real = tl.float64 if shapes.real_bits == 64 else tl.float32
    constants |= sizes | {"EDGES": TILE_EDGES, "REAL": real}
    # Directions alone: the first layer of an attention has no vectors.
    missing = 5 if spec.source == "attention" and not constants["VECTORS"] else None
    return Tiles(n_blocks, constants, missing)


def _gated(constants: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    channels = constants["CHANNELS"]
    block = min(MOST_CHANNELS, max(LEAST_COLUMNS, _power_of_two(channels)))
    return -(-channels // block), {"BLOCK": block}


def _filtered(constants: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return 1, {"BLOCK": _power_of_two(constants["CHANNELS"])}


def _attention(constants: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    heads = constants["HEADS"]
    padded = _power_of_two(constants["CHANNELS"] // heads)
    block = max(padded, min(MOST_CHANNELS, padded * _power_of_two(heads)))
    block = max(block, LEAST_COLUMNS)
    return -(-heads // (block // padded)), {"BLOCK": block, "PADDED": padded}


_TILES: dict[str, Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]] = {
    "gated": _gated,
    "filtered": _filtered,
    "attention": _attention,
}


def _power_of_two(n: int) -> int:
    """Return the smallest power of two that is not smaller."""
    return 1 << max(0, n - 1).bit_length()


def _precision() -> str:
    """Return how float32 is multiplied: as torch may, with the digits that it keeps."""
    # Not "tf32x3", which has all digits too: sums of weights' gradients then leave the registers
    # (21 kB of stack for each thread of a Hopper GPU). They keep "ieee" in any case.
    return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"
