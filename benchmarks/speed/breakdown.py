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
    """Return the share of each group of operations in the time of a call; their sum is one."""
    call()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        start = time.perf_counter()  # the profiler's own clock
        for _ in range(repeats):
            call()
        seconds = time.perf_counter() - start
    shares = dict.fromkeys([*KINDS, REST], 0.0)
    for event in profiled.key_averages():
        shares[_group(event.key)] += 1e-6 * event.self_cpu_time_total / seconds
    return {**shares, PYTHON: 1.0 - sum(shares.values())}


def breakdown_words(shares: dict[str, float]) -> str:
    """Return the shares as one line of text, the largest first."""
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{group} {100 * share:.0f} %" for group, share in ordered if share > 0.005)


def _group(name: str) -> str:
    for group, patterns in KINDS.items():
        short = name.removeprefix("aten::")
        if any(short == pattern or (len(pattern) > 4 and pattern in name) for pattern in patterns):
            return group
    return REST
