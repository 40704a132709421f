"""Steps with one thread and with two, and the work of a step by which training chooses."""

import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch

from gnnpre.training import _load, _loop, _trainer

from .steps import N_CRYSTALS

__all__ = ["SIZES", "Timed", "table_of_threads", "two_threads"]

SIZES = (16, 64, 256)


class Timed(NamedTuple):
    """One training with each number of threads."""

    work: float  # seconds that ``suitable_threads`` counts for a step
    one: float
    two: float


def two_threads(
    fits: dict[str, Callable[..., Any]], rounds: int, only: str
) -> dict[str, list[float]]:
    """Return the work of a step, and its seconds with one thread and with two, taking turns."""
    results = {}
    for name, fit in fits.items():
        for size in SIZES:
            label = f"{name}, batch {size}"
            if only in label:
                results[label] = list(timed(fit, size, rounds))
    return results


def timed(fit: Callable[..., Any], size: int, rounds: int) -> Timed:
    """Time the steps of a training with both numbers of threads, against the choice of gnnpre."""
    works: list[float] = []
    seconds: dict[int, list[float]] = {1: [], 2: []}
    suitable, run_epoch = _trainer.suitable_threads, _loop.TrainingLoop._run_epoch

    def as_set(work: Any, *, derivatives: bool) -> Any:
        works.append(_load.seconds_of_step(work, derivatives=derivatives))
        return nullcontext()

    def clocked(*arguments: Any) -> None:
        start = time.perf_counter()
        run_epoch(*arguments)
        seconds[torch.get_num_threads()].append(time.perf_counter() - start)

    _trainer.suitable_threads, _loop.TrainingLoop._run_epoch = as_set, clocked
    try:
        for _ in range(rounds):
            for n_threads in (1, 2):
                torch.set_num_threads(n_threads)
                fit(size, 3)
    finally:
        _trainer.suitable_threads, _loop.TrainingLoop._run_epoch = suitable, run_epoch
        torch.set_num_threads(1)
    n_batches = -(-N_CRYSTALS // size)
    # The fastest epoch: others wait for whatever else the machine does.
    return Timed(works[0], *(min(values) / n_batches for values in seconds.values()))


def table_of_threads(results: dict[str, list[float]]) -> list[str]:
    """Return the times and the choice, by the work of a step."""
    header = ["training", "work, ms", "one, ms", "two, ms", "faster", "threads chosen", "loss"]
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    losses = []
    for name, (work, one, two) in sorted(results.items(), key=lambda item: item[1][0]):
        chosen = 1 if work < _load.SHORTEST_THREADED_STEP else 2
        loss = (one, two)[chosen - 1] / min(one, two) - 1.0
        losses.append(loss)
        cells = [name, *(f"{1e3 * x:.1f}" for x in (work, one, two)), f"{one / two:.2f}"]
        lines.append(f"| {' | '.join([*cells, str(chosen), f'{loss:.0%}'])} |")
    return [*lines, "", f"Loss by the choice: {statistics.mean(losses):.1%} on average."]
