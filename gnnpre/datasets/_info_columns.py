"""Columns that describe frames: the scalars of their comment lines."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gnnpre._join_arrays import join_arrays

from ..graphs import FrameLabels
from ._composition import reduced_formula
from ._frame_blocks import FrameBlock
from ._stated_units import is_unit_entry

__all__ = ["info_column", "info_columns", "is_missing", "join_atom_columns", "join_labels"]


def is_missing(value: Any) -> bool:
    """Whether a value is pandas' NA or NaT, or NumPy's masked."""
    return value is np.ma.masked or type(value).__name__ in {"NAType", "NaTType"}


def info_columns(blocks: Sequence[FrameBlock], label_keys: set[str]) -> dict[str, Any]:
    """Return a column for each scalar of the comment lines that is neither label nor unit."""
    # 1. scalars of the comment lines, in the order of their first occurrence
    names = dict.fromkeys(
        key
        for block in blocks
        for entries in block.entries
        for key, value in entries.items()
        if key not in label_keys and _is_scalar(value) and not is_unit_entry(key)
    )
    rows = [entries for block in blocks for entries in block.entries]
    columns = {name: info_column([entries.get(name) for entries in rows]) for name in names}
    # 2. columns that every file has, for splits and for messages
    formulas = [
        reduced_formula(block.atomic_numbers[start:stop])
        for block in blocks
        for start, stop in zip(block.offsets[:-1].tolist(), block.offsets[1:].tolist(), strict=True)
    ]
    columns["formula"] = np.array(formulas, dtype=object)
    files = [block.file for block in blocks for _ in range(len(block))]
    columns["file"] = np.array(files, dtype=object)
    return columns


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, (dict, list, tuple)) and getattr(value, "shape", ()) == ()


def info_column(values: list[Any]) -> np.ndarray:
    """Return numbers as a numeric array (NaN where missing), anything else as objects (None)."""
    values = [None if value is None or is_missing(value) else value for value in values]
    # A list among numbers makes the column one of objects.
    letters = {
        np.asarray(value).dtype.kind if _is_scalar(value) else "O"
        for value in values
        if value is not None
    }
    missing = any(value is None for value in values)
    if letters and letters <= set("iuf"):
        to_number: Callable[[Any], Any] = float if missing or "f" in letters else int
        return np.array([np.nan if value is None else to_number(value) for value in values])
    if letters == {"b"} and not missing:
        return np.array(values, dtype=bool)
    column = np.empty(len(values), dtype=object)
    column[:] = [value if _is_scalar(value) else None for value in values]
    return column


def join_labels(blocks: Sequence[FrameLabels]) -> FrameLabels:
    """Return labels of several blocks as one; a column that a block lacks is missing there."""
    names = dict.fromkeys(name for block in blocks for name in block.info)
    info = {}
    for name in names:
        if all(name in block.info for block in blocks):
            info[name] = join_arrays([block.info[name] for block in blocks])
        else:
            # Value by value, as the blocks may have inferred different types.
            columns = [block.info.get(name, [None] * len(block)) for block in blocks]
            info[name] = info_column([value for column in columns for value in column])
    sizes = [len(block.forces) for block in blocks]
    return FrameLabels(
        np.concatenate([block.n_atoms for block in blocks]),
        energy=np.concatenate([block.energy for block in blocks]),
        forces=np.concatenate([block.forces for block in blocks]),
        stress=np.concatenate([block.stress for block in blocks]),
        info=info,
        atom_info=join_atom_columns([block.atom_info for block in blocks], sizes),
    )


def join_atom_columns(
    tables: Sequence[Mapping[str, np.ndarray]], sizes: Sequence[int]
) -> dict[str, np.ndarray]:
    """Return columns of atoms of several blocks as one; NaN where a block lacks a column.

    Infinite values are missing as well: nobody has asked for these columns yet.
    """
    names = dict.fromkeys(name for table in tables for name in table)
    joined = {}
    for name in names:
        columns = [
            table[name] if name in table else np.full(size, np.nan)
            for table, size in zip(tables, sizes, strict=True)
        ]
        column = np.concatenate(columns).astype(np.float64)
        joined[name] = np.where(np.isinf(column), np.nan, column)
    return joined
