"""Checks of the grids of parameters that fingerprints take."""

from typing import Any

import numpy as np

from gnnpre._validation import check_number

__all__ = ["check_grid", "short"]


def check_grid(name: str, values: Any, *, empty: bool = False, **bounds: Any) -> None:
    """Refuse what is no sequence of numbers within the bounds of ``check_number``."""
    if not isinstance(values, (list, tuple, np.ndarray)) or np.ndim(values) != 1:
        raise ValueError(f"{name}={values!r}; expected a sequence of numbers, such as (1.0, 2.0).")
    numbers = list(values)
    if not numbers and not empty:
        raise ValueError(f"{name} is empty; expected at least one number.")
    for index, value in enumerate(numbers):
        check_number(f"{name}[{index}]", value, **bounds)
    if len(np.unique(numbers)) < len(numbers):
        raise ValueError(f"{name}={values!r} repeats a number; each gives one feature.")


def short(value: float) -> str:
    """Write a number as short as can be, different ones differently: 4, 0.03, 1e-05."""
    return f"{float(value):.15g}"
