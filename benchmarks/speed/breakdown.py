"""Where the time of a call goes, by kinds of operations, as torch's profiler sees it."""

import time
from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile

__all__ = ["breakdown", "breakdown_words"]

KINDS = {
    "matrix products": ("mm", "addmm", "bmm", "matmul", "linear"),
    "gathers and sums by index": ("index", "scatter", "gather", "embedding"),
    "sums over neighbours": ("_Sum", "_SumBackward", "_Gradient", "_GradientBackward"),
    "copies": ("copy_", "cat", "clone", "fill_", "zero_", "contiguous"),
}
REST = "other operations of torch, most of them element by element"
PYTHON = "Python and what else is not torch's"


def breakdown(call: Callable[[], Any], repeats: int = 3) -> dict[str, float]:
    """Give the share of each kind in the time of a call; they sum up to one."""
    call()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        start = time.perf_counter()  # the profiler's own clock
        for _ in range(repeats):
            call()
        seconds = time.perf_counter() - start
    shares = dict.fromkeys([*KINDS, REST], 0.0)
    for event in profiled.key_averages():
        shares[_kind(event.key)] += 1e-6 * event.self_cpu_time_total / seconds
    return {**shares, PYTHON: 1.0 - sum(shares.values())}


def breakdown_words(shares: dict[str, float]) -> str:
    """Say it in one line, the largest first."""
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in ordered if share > 0.005)


def _kind(name: str) -> str:
    for kind, parts in KINDS.items():
        short = name.removeprefix("aten::")
        if any(short == part or (len(part) > 4 and part in name) for part in parts):
            return kind
    return REST
