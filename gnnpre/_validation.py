"""Checks of parameters that every layer of the package shares."""

from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np

__all__ = ["check_bool", "check_choice", "check_number"]


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Check that a value is among ``choices``."""
    allowed = list(choices)
    if not isinstance(value, (str, type(None))) or value not in allowed:
        raise ValueError(f"{name}={value!r}; expected one of {allowed}.")


def check_bool(name: str, value: Any) -> None:
    """Check that a value is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name}={value!r}; expected True or False.")


def check_number(
    name: str,
    value: Any,
    *,
    integer: bool = False,
    low: float = 0.0,
    high: float = float("inf"),
    low_included: bool = False,
    high_included: bool = True,
) -> None:
    """Check that a value is a finite number (or an int) between ``low`` and ``high``."""
    right_type = not isinstance(value, bool) and isinstance(value, Integral if integer else Real)
    if right_type:
        number = _as_float(value)
        above = number >= low if low_included else number > low
        below = number <= high if high_included else number < high
        if above and below and number != float("inf"):
            return
    noun = "an int" if integer else "a number"
    bound = f"{'>=' if low_included else '>'} {low:g}"
    if high != float("inf"):
        bound += f" and {'<=' if high_included else '<'} {high:g}"
    raise ValueError(f"{name}={value!r}; expected {noun} {bound}.")


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # an int such as 10**400
        return float("inf")
