"""Columns and the index of a table as tensors and JSON, for safetensors files."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["check_names", "decode_columns", "decode_index", "encode_columns", "encode_index"]

# Types of NumPy arrays that are stored as tensors; dates are stored as 64-bit integers.
TENSOR_KINDS = "biufmM"
INDEX_PREFIX, COLUMN_PREFIX = "index.", "info."


def encode_columns(
    columns: Mapping[str, np.ndarray], prefix: str = COLUMN_PREFIX
) -> tuple[dict[str, Tensor], list[dict[str, str]]]:
    """Return columns as tensors, with a description of each for the JSON header of the file."""
    tensors, descriptions = {}, []
    for number, (name, column) in enumerate(columns.items()):
        tensors[f"{prefix}{number}"] = _encode(name, column)
        descriptions.append({"name": name, "dtype": str(column.dtype)})
    return tensors, descriptions


def _encode(name: str, column: np.ndarray) -> Tensor:
    if column.dtype.kind in "mM":
        column = column.view(np.int64)
    if column.dtype.kind in "biuf":
        return torch.from_numpy(np.array(column))
    try:
        text = json.dumps(column.tolist(), ensure_ascii=False)
        return torch.from_numpy(np.frombuffer(text.encode(), dtype=np.uint8).copy())
    except (TypeError, ValueError) as error:  # not JSON, or no valid Unicode
        raise ValueError(
            f"The column {name!r} cannot be saved: {error}. Numbers, strings, dates and None can; "
            "convert the others to strings."
        ) from error


def decode_columns(
    tensors: dict[str, Tensor], descriptions: Any, n: int, prefix: str = COLUMN_PREFIX
) -> dict[str, np.ndarray]:
    """Return the columns stored in the tensors of a file, and remove them from ``tensors``."""
    columns = {}
    for number, description in enumerate(descriptions):
        name, dtype = str(description["name"]), np.dtype(description["dtype"])
        column = _decode(tensors.pop(f"{prefix}{number}").numpy(), dtype)
        if column.shape != (n,):
            raise ValueError(f"column {name!r} has shape {column.shape}; expected ({n},)")
        columns[name] = column
    return columns


def _decode(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype.kind in TENSOR_KINDS:
        if array.dtype != (np.int64 if dtype.kind in "mM" else dtype):
            raise ValueError(f"a column of {dtype} is stored as {array.dtype}")
        return array.view(dtype) if dtype.kind in "mM" else array
    # Text and objects are stored as JSON, never pickled: a file cannot run code.
    values = json.loads(array.tobytes().decode())
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column.astype(dtype) if dtype.kind in "US" else column


def check_names(tensors: Mapping[str, Tensor], expected: Iterable[str]) -> None:
    """Check that a file has the expected tensors and no others."""
    missing, unknown = set(expected) - set(tensors), set(tensors) - set(expected)
    if missing or unknown:
        raise ValueError(f"tensors missing: {sorted(missing)}, unknown: {sorted(unknown)}")


def encode_index(index: Any) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Return a pandas Index, level by level, as tensors, and its description."""
    if index is None:
        return {}, None
    levels = {
        str(number): np.asarray(index.get_level_values(number)) for number in range(index.nlevels)
    }
    try:
        tensors, descriptions = encode_columns(levels, INDEX_PREFIX)
    except ValueError as error:
        raise ValueError(
            f"The index of type {type(index).__name__} cannot be saved: its labels are not "
            "numbers, strings or dates without a time zone. Use reset_index(drop=True) on the "
            "table before, or set graphs.index = None."
        ) from error
    # pandas allows any hashable as a name, JSON does not.
    names = [name if isinstance(name, (str, int)) else None for name in index.names]
    return tensors, {"names": names, "levels": descriptions}


def decode_index(tensors: dict[str, Tensor], description: Any, n: int) -> Any:
    """Return the index stored in the tensors of a file, or None, and remove it from ``tensors``."""
    if description is None:
        return None
    import pandas as pd

    names = description["names"]
    columns = decode_columns(tensors, description["levels"], n, INDEX_PREFIX)
    levels = [pd.Index(column) for column in columns.values()]
    if len(levels) == 1:
        return levels[0].rename(names[0])
    return pd.MultiIndex.from_arrays(levels, names=names)
