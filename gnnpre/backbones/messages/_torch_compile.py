"""Functions of blocks under ``torch.compile``."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from gnnpre._warnings import PerformanceWarning, warn_user

__all__ = ["compile_function"]

#: Versions of a function: each message, value, gradient and second derivative, with and without
#: reverse edges, is one.
MAX_VERSIONS = 192


@lru_cache
def compile_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of a block that is compiled when it is first called."""
    return _Compiled(function)


class _Compiled:
    """A compiled function, or the function as it is where compilation fails."""

    def __init__(self, function: Callable[..., Any]) -> None:
        # This import takes seconds, so it is not at the top.
        import torch._dynamo

        # Called cache_size_limit before torch 2.6.
        config = torch._dynamo.config
        name = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
        setattr(config, name, max(MAX_VERSIONS, getattr(config, name)))
        self.plain = function
        self.function = torch.compile(function, dynamic=False)

    def __call__(self, *args: Any) -> Any:
        _mark_lengths(args)
        try:
            return self.function(*args)
        except torch._dynamo.exc.TorchDynamoException as error:
            warn_user(
                f"compile=True: torch.compile failed ({type(error).__name__}: "
                f"{str(error).splitlines()[0]}); going on without. It needs Triton on a GPU; "
                "compile=False leaves it out.",
                PerformanceWarning,
            )
            self.function = self.plain
            return self.plain(*args)


def _mark_lengths(args: Sequence[Any]) -> None:
    """Mark numbers of atoms and pairs as changing; numbers of channels are compiled in."""
    ends = args[2]
    n_pairs = len(ends.target) // ends.k
    for x in _tensors_of(args):
        per_direction = x.dim() == 3 and x.shape[:2] == (ends.k, n_pairs)
        torch._dynamo.maybe_mark_dynamic(x, int(per_direction))


def _tensors_of(values: Sequence[Any]) -> Iterator[Tensor]:
    for x in values:
        if isinstance(x, Tensor):
            yield x
        elif isinstance(x, list | tuple):
            yield from _tensors_of(x)
