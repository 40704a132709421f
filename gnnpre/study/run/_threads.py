"""The number of threads that a job uses."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # no annotations

__all__ = ["limited_threads"]


@contextmanager
def limited_threads(n: int) -> Iterator[None]:
    """Limit the threads of torch and of linear algebra, and restore them after."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        with threadpool_limits(n):
            yield
    finally:
        torch.set_num_threads(before)
