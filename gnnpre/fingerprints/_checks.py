"""Checks of the grids of parameters of fingerprints."""

from functools import partial
from typing import Any

import numpy as np

from gnnpre._constraints import Check
from gnnpre._validation import check_number

__all__ = ["grid", "short"]


def grid(**bounds: Any) -> Check:
    """Return a check that the value is a sequence of distinct numbers within bounds."""
    return partial(check_grid, **bounds)


def check_grid(name: str, values: Any, *, empty: bool = False, **bounds: Any) -> None:
    """Check that the value is a sequence of numbers within the bounds of ``check_number``."""
    sequences = (list, tuple, np.ndarray)
    is_scalar = isinstance(values, np.ndarray) and values.ndim == 0
    is_sequence = isinstance(values, sequences) and not is_scalar
    if not is_sequence or any(isinstance(v, sequences) for v in values):
        raise ValueError(f"{name}={values!r}; expected a sequence of numbers, such as (1.0, 2.0).")
    numbers = list(values)
    if not numbers and not empty:
        raise ValueError(f"{name} is empty; expected at least one number.")
    for index, value in enumerate(numbers):
        check_number(f"{name}[{index}]", value, **bounds)
    if len(np.unique(numbers)) < len(numbers):
        raise ValueError(f"{name}={values!r} repeats a number; each is one feature.")


def short(value: float) -> str:
    """Return a number as text, as short as possible without rounding: 4, 0.03, 1e-05."""
    return f"{float(value):.15g}"
