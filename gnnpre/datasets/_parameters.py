"""Checks of parameters that several readers and writers have."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gnnpre._validation import check_path

__all__ = ["check_choice", "check_name", "check_names", "check_paths"]


def check_paths(name: str, value: Any, suffix: str | None = None) -> list[Path]:
    """Return the files of a path or a list of paths.

    Parameters
    ----------
    name : str
        The parameter.
    value : str, path-like or iterable of them
        Its value.
    suffix : str, optional
        Suffix of the files of a folder, which are returned in the order of their names. By
        default a folder is a path as any other.

    Returns
    -------
    list of Path
        At least one.

    Raises
    ------
    TypeError, ValueError
        If the value is not a path, or there are no files.
    """
    if isinstance(value, (str, os.PathLike)):
        path = Path(value)
        if suffix is None or not path.is_dir():
            return [path]
        paths = sorted(path.glob(f"*{suffix}"))
        if not paths:
            raise ValueError(f"There are no {suffix} files in {path}.")
        return paths
    has_no_rows = getattr(value, "ndim", 1) == 0  # arrays and tensors whose __iter__ raises
    if isinstance(value, bytes) or has_no_rows or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a path or a list of paths; got {_show(value)}.")
    paths = [check_path(f"{name}[{number}]", item) for number, item in enumerate(value)]
    if not paths:
        raise ValueError(f"{name} is an empty list; expected at least one file.")
    return paths


def check_name(name: str, value: Any) -> str | None:
    """Return a name, or None; anything else is an error."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be a str or None; got {_show(value)}.")
    return value


def check_names(name: str, value: Any) -> list[str] | None:
    """Return a list of names, also of a single one, or None."""
    if value is None:
        return None
    if isinstance(value, str):
        return [value]
    is_list = isinstance(value, Sequence) or getattr(value, "ndim", 0) == 1
    names = list(value) if is_list and not isinstance(value, bytes) else [value]
    if not all(isinstance(item, str) for item in names):
        raise TypeError(f"{name} must be a name or a list of names; got {_show(value)}.")
    return names


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return one of the choices; anything else is an error."""
    if not isinstance(value, str) or value not in choices:
        *first, last = map(repr, choices)
        raise ValueError(f"{name} must be {', '.join(first)} or {last}; got {_show(value)}.")
    return value


def _show(value: Any) -> str:
    return f"{' '.join(repr(value).split()):.60} of type {type(value).__name__}"
