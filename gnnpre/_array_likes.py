"""From the array-likes that users pass to NumPy arrays: masks, tensors, lists of mixed types."""

import sys
from collections.abc import Hashable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np

__all__ = ["expected_shape", "plain", "to_label_array", "to_numpy"]


def expected_shape(n_rows: int | None, n_dims: tuple[int, ...]) -> str:
    """Return the shapes that an argument may have, as text."""
    n = "n" if n_rows is None else str(n_rows)
    shapes = {1: f"({n},)", 2: f"({n}, k)"}
    return " or ".join(shapes[dim] for dim in n_dims if dim in shapes)


def to_numpy(name: str, values: Any, n_rows: int | None) -> np.ndarray:
    """Convert to an array, with masks turned into missing values."""
    _check_container(name, values, n_rows)
    values = plain(values)
    try:
        if isinstance(values, (list, tuple)):
            return _from_sequence(values)
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} is of type {type(values).__name__} and cannot be read as numbers or labels of "
            f"shape {expected_shape(n_rows, (1, 2))}: {error}"
        ) from error
    # NumPy wraps anything that it does not know into an array without axes.
    if array.ndim == 0 and array.dtype.kind == "O" and values is not None:
        raise TypeError(_no_array_like(name, values, n_rows, f"Pass list({name})."))
    return array


def _check_container(name: str, values: Any, n_rows: int | None) -> None:
    """Check that NumPy would not wrap a value whole into an array without axes."""
    hint = None
    if isinstance(values, Mapping):
        hint = f"Pass list({name}.values()), in the order of X."
    elif isinstance(values, (Set, Iterator)):
        hint = f"Pass list({name}), in the order of X."
    elif isinstance(values, (str, bytes)):
        hint = "Pass one value for each crystal."
    elif hasattr(values, "tocsr") or getattr(values, "is_sparse", False):
        hint = "Pass a dense array."
    if hint is not None:
        raise TypeError(_no_array_like(name, values, n_rows, hint))


def _no_array_like(name: str, values: Any, n_rows: int | None, hint: str) -> str:
    return (
        f"{name} is of type {type(values).__name__}; expected an array-like of shape "
        f"{expected_shape(n_rows, (1,))}. {hint}"
    )


def plain(value: Any) -> Any:
    """Return torch tensors and masked arrays as plain arrays, all else as it is."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        # NumPy has no bfloat16.
        if value.is_floating_point() and value.dtype != torch.float64:
            value = value.to(torch.float64)
        array = value.numpy(force=True)
        return array.item() if array.ndim == 0 else array
    if isinstance(value, np.ma.MaskedArray):
        filled = _fill_masked(value)
        return filled.item() if filled.ndim == 0 else filled
    return value


def _fill_masked(array: Any) -> np.ndarray:
    mask = np.ma.getmaskarray(array)
    if array.dtype.kind in "iuf":
        filled: np.ndarray = array.data.astype(np.float64)
        filled[mask] = np.nan
        return filled
    filled = array.data.astype(object)
    filled[mask] = None
    return filled


def _from_sequence(values: Sequence[Any]) -> np.ndarray:
    """Convert a list or tuple, keeping the types of its values where NumPy would unite them."""
    values = [plain(value) for value in values]
    try:
        array = np.asarray(values)
    except (OverflowError, TypeError, ValueError):
        return _object_array(values)
    # NumPy makes texts of numbers beside a text, and numbers of bools beside a number.
    if array.dtype.kind in "USO" or (array.dtype.kind in "iuf" and _has_bool(values)):
        try:
            return np.array(values, dtype=object)
        except ValueError:
            return _object_array(values)
    return array


def _object_array(values: Sequence[Any]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _has_bool(values: Sequence[Any]) -> bool:
    nested = (_has_bool(value) for value in values if isinstance(value, (list, tuple)))
    return any(isinstance(value, (bool, np.bool_)) for value in values) or any(nested)


def to_label_array(name: str, values: Any, n_rows: int | None) -> np.ndarray:
    """Convert to an array in which a tuple is one label, not a row."""
    if isinstance(values, (list, tuple)):
        _check_container(name, values, n_rows)
        items = [plain(value) for value in values]
        if all(isinstance(item, Hashable) for item in items):
            return _object_array(items)
    return to_numpy(name, values, n_rows)
