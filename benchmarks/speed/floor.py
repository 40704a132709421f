"""The least that a step can take here: its matrix products and its edge tensors, once each.

Products: the floating-point operations of the matrix products of a step of ours, counted by
``torch.utils.flop_counter`` in all three passes (forward, gradient, second derivative), at the rate
at which torch multiplies large square matrices here. Bytes: in each layer and pass, the radial
features of each distance (one for each pair of edges that are each other's reverse) read once, at
the rate at which this machine copies. Elementwise work, the gathers and sums of atoms and the
optimiser count nothing.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from gnnpre.backbones import Backbone
from gnnpre.graphs import CrystalBatch

PASSES = 3  # with derivatives; without them there are two
BYTES = 4  # of a number


def floor_seconds(
    trainer: Any, batch: CrystalBatch, indices: list[int], backbone: Backbone, rates: dict
) -> dict[str, float]:
    """Estimate the floor of one step in seconds, with its products and bytes."""
    operations = count_operations(lambda: trainer.step(indices))
    passes = PASSES if trainer.model.differentiates else PASSES - 1
    moved = passes * backbone.n_layers * len(batch.pairs.edges) * backbone.n_radial * BYTES
    seconds = operations / rates["operations_per_s"], moved / rates["bytes_per_s"]
    return {
        "operations": operations,
        "bytes": moved,
        "products_s": seconds[0],
        "memory_s": seconds[1],
        "seconds": sum(seconds),
    }


def count_operations(step: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products in a call."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def measure_rates(device: str = "cpu", clock: Callable[[Callable], float] | None = None) -> dict:
    """Measure products of square matrices in float32, and copies of 256 MB."""
    from timeit import timeit

    size = 1_024 if device == "cpu" else 8_192
    first, second, product = (torch.rand(size, size, device=device) for _ in range(3))
    source = torch.rand(64_000_000, device=device)
    target = torch.empty_like(source)
    clock = clock or (lambda run: min(timeit(run, number=3) / 3 for _ in range(3)))
    return {
        "operations_per_s": 2 * size**3 / clock(lambda: torch.mm(first, second, out=product)),
        "bytes_per_s": 2 * source.nbytes / clock(lambda: target.copy_(source)),
    }
