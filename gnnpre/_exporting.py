"""Whether ``torch.export`` is tracing a model: sizes and values are symbols then."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch

__all__ = ["is_exporting", "lazy_property"]

T = TypeVar("T")


def _never() -> bool:
    return False


# Of PyTorch 2.7 and later; before, no model of gnnpre can be exported.
is_exporting = getattr(torch.compiler, "is_exporting", _never)


class lazy_property(Generic[T]):
    """``functools.cached_property`` without the lock, which ``torch.export`` cannot trace.

    The value is kept in the ``__dict__`` of the object, except during an export.

    Parameters
    ----------
    function : callable
        Computes the value from the object.
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self.function = function
        self.name = function.__name__
        self.__doc__ = function.__doc__

    def __get__(self, instance: Any, owner: Any = None) -> T:
        if instance is None:
            return self  # type: ignore[return-value] # as any descriptor of a class
        value = self.function(instance)
        if not is_exporting():
            instance.__dict__[self.name] = value
        return value
