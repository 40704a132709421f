"""Checks of parameters that every layer of the package shares."""

import os
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "as_random_state",
    "check_bool",
    "check_choice",
    "check_n_jobs",
    "check_number",
    "check_path",
    "check_random_state",
    "check_text",
]

LARGEST_SEED = 2**32 - 1
# No machine has as many cores; joblib overflows at larger numbers.
MOST_PROCESSES = 2**16


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Raise ValueError for a value that is not among ``choices``."""
    allowed = list(choices)
    if not isinstance(value, (str, type(None))) or value not in allowed:
        raise ValueError(f"{name}={value!r}; expected one of {allowed}.")


def check_bool(name: str, value: Any) -> None:
    """Raise ValueError for a value that is neither True nor False."""
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
    """Check that a value is a finite number (or int) between ``low`` and ``high``.

    Parameters
    ----------
    name : str
        Name of the parameter, for the error.
    value : object
        Its value.
    integer : bool
        Whether it has to be an int.
    low, high : float
        Ends of the range.
    low_included, high_included : bool
        Whether the ends belong to the range.

    Raises
    ------
    ValueError
        If the value is something else; the message names the parameter and the range.
    """
    number = _as_finite(value, Integral if integer else Real)
    if number is not None:
        above = number >= low if low_included else number > low
        below = number <= high if high_included else number < high
        if above and below:
            if isinstance(value, Integral) and not -(2**63) <= int(value) < 2**63:
                hint = "" if integer else f"; as a number write {float(value):g}"
                raise ValueError(f"{name}={value!r} does not fit into an integer of 64 bits{hint}.")
            return
    noun = "an int" if integer else "a number"
    bound = f"{'>=' if low_included else '>'} {low:g}"
    if high != float("inf"):
        bound += f" and {'<=' if high_included else '<'} {high:g}"
    raise ValueError(f"{name}={value!r}; expected {noun} {bound}.")


def _as_finite(value: Any, number_type: type) -> float | None:
    """Return a finite number, None for everything else."""
    # timedelta64 is an Integral to Python, and bool an int.
    if isinstance(value, (bool, np.timedelta64)) or not isinstance(value, number_type):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:
        return None
    return number if np.isfinite(number) else None


def check_text(name: str, value: Any) -> None:
    """Raise TypeError for a value that is not a str."""
    if not isinstance(value, str):
        raise TypeError(f"{name}={value!r:.60} is of type {type(value).__name__}; expected a str.")


def check_n_jobs(value: Any) -> int | None:
    """Return a number of processes as joblib takes it; raise ValueError for anything else.

    Parameters
    ----------
    value : object
        The value of ``n_jobs``.

    Returns
    -------
    int or None
        The number.

    Raises
    ------
    ValueError
        If it is neither None nor an int other than 0, of at most 65536 processes.
    """
    whole = isinstance(value, Integral) and not isinstance(value, (bool, np.timedelta64))
    if value is not None and (not whole or not 0 < abs(int(value)) <= MOST_PROCESSES):
        raise ValueError(
            f"n_jobs={value!r}; expected None or an int: 1, 2, ... or -1 for all cores."
        )
    return None if value is None else int(value)


def check_path(name: str, value: Any) -> Path:
    """Return the path of a file or folder; raise TypeError for anything else.

    Parameters
    ----------
    name : str
        Name of the parameter, for the error.
    value : object
        Its value.

    Returns
    -------
    Path
        The path, which need not exist.

    Raises
    ------
    TypeError
        If it is neither a str nor a path.
    ValueError
        If it holds a NUL character.
    """
    if not isinstance(value, (str, os.PathLike)):
        is_structure = hasattr(value, "sites") or hasattr(value, "positions")
        hint = " Structures need not be read: pass them to fit as they are." if is_structure else ""
        shown = f"{' '.join(repr(value).split()):.60}"
        raise TypeError(
            f"{name}={shown} is of type {type(value).__name__}; expected a str or Path.{hint}"
        )
    if "\0" in os.fsdecode(value):
        raise ValueError(f"{name}={value!r} holds a NUL character, which no path may.")
    return Path(value)


def as_random_state(name: str, value: Any) -> np.random.RandomState:
    """Return the generator of a seed, as scikit-learn does, after a check of the seed.

    Parameters
    ----------
    name : str
        Name of the parameter, for the error.
    value : int, RandomState or None
        The seed.

    Returns
    -------
    RandomState
        The generator.

    Raises
    ------
    ValueError
        If the seed is something else; the message names the parameter.
    """
    from sklearn.utils import check_random_state as make_generator

    check_random_state(name, value)
    return make_generator(value)


def check_random_state(name: str, value: Any) -> None:
    """Raise ValueError for a value that scikit-learn takes no random numbers from.

    Parameters
    ----------
    name : str
        Name of the parameter, for the error.
    value : object
        Its value.

    Raises
    ------
    ValueError
        If it is not an int in range, ``RandomState`` or None.
    """
    if value is None or isinstance(value, np.random.RandomState) or value is np.random:
        return
    whole = isinstance(value, Integral) and not isinstance(value, (bool, np.timedelta64))
    if not whole or not 0 <= int(value) <= LARGEST_SEED:
        raise ValueError(
            f"{name}={value!r}; expected None, an int from 0 to {LARGEST_SEED}, or a "
            "numpy.random.RandomState."
        )
