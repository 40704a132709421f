"""Declarations of the allowed values of a config's parameters, checked in one place."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from gnnpre._nested_parameters import NestedParametersMixin
from gnnpre._validation import check_bool, check_choice, check_number

__all__ = ["Check", "HasConstraints", "boolean", "number", "one_of", "optional", "size"]

#: Raises a ValueError that names the parameter where its value is not allowed.
Check = Callable[[str, Any], None]

#: Weights of a layer with as many channels take 16 GB.
LARGEST_SIZE = 2**16

boolean: Check = check_bool


def one_of(*choices: str | None) -> Check:
    """Return a check that the value is one of ``choices``."""
    return partial(check_choice, choices=choices)


def number(**bounds: Any) -> Check:
    """Return a check that the value is a number within the bounds of ``check_number``."""
    return partial(check_number, **bounds)


def size(**bounds: Any) -> Check:
    """Return a check that the value is the number of channels, layers or functions of a network.

    A mistyped one is an error by name, not an allocation of all memory.
    """
    return number(integer=True, high=LARGEST_SIZE, **bounds)


def optional(check: Check) -> Check:
    """Return a check that passes None, and anything else to ``check``."""

    def check_unless_none(name: str, value: Any) -> None:
        if value is not None:
            check(name, value)

    return check_unless_none


class HasConstraints(NestedParametersMixin):
    """Mixin of configs that declare, once, the allowed values of their parameters."""

    #: The check of each parameter, by name.
    _constraints: ClassVar[Mapping[str, Check]] = {}

    def check_parameters(self) -> None:
        """Check that every parameter has an allowed value.

        Raises
        ------
        ValueError, TypeError
            If one has not; the message names it.
        """
        for name, check in self._constraints.items():
            check(name, getattr(self, name))
