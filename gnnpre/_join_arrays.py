"""Columns of several blocks as one."""

from collections.abc import Sequence

import numpy as np

__all__ = ["join_arrays"]

#: Kinds of dtypes whose values NumPy can join without changing what they are.
_FAMILIES = {**dict.fromkeys("iuf", "numbers"), **dict.fromkeys("US", "text")}


def join_arrays(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate one-dimensional arrays; text stays text, and booleans stay booleans.

    NumPy would turn numbers beside text into text, missing ones into ``"nan"``, and booleans
    beside numbers into numbers: such columns become arrays of objects, None where missing.
    """
    families = {_FAMILIES.get(a.dtype.kind, a.dtype.kind) for a in arrays if len(a)}
    if len(families) <= 1:
        return np.concatenate(arrays)
    joined = np.empty(sum(map(len, arrays)), dtype=object)
    joined[:] = [
        None if isinstance(value, float) and value != value else value
        for array in arrays
        for value in array.tolist()
    ]
    return joined
