"""The one door for labels: y, sample_weight, groups, classes and ids become NumPy arrays here.

Users pass lists, arrays (masked ones too), pandas and polars columns, torch tensors (with a
gradient, or on a GPU), dask arrays, and anything else with ``__array__``. :func:`as_floats` and
:func:`as_labels` convert all of them by one set of rules, so that a mask, a missing value, a date
or a text among numbers means the same wherever labels are taken.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from ._array_likes import expected_shape, to_label_array, to_numpy
from ._label_numbers import MISSING_TYPES, rows_of, rows_text, to_floats
from ._label_spellings import check_one_unit, warn_of_missing_as_text, warn_of_two_spellings
from ._warnings import warn_user

__all__ = [
    "as_floats",
    "as_labels",
    "column_names",
    "columns_in_order",
    "flatten_column",
    "is_missing",
    "label_codes",
    "rows_text",
]


def as_floats(
    name: str,
    values: Any,
    *,
    n_rows: int | None = None,
    n_dims: tuple[int, ...] | None = (1, 2),
    allow_bool: bool = False,
    allow_missing: bool = True,
) -> np.ndarray:
    """Return numbers as a float64 array, NaN where a value is missing.

    Parameters
    ----------
    name : str
        Name of the argument, for errors.
    values : array-like
        Numbers; ``None``, NaN, ``pandas.NA``, ``pandas.NaT`` and masked entries are missing.
    n_rows : int, optional
        Number of crystals in X, which the first axis must match.
    n_dims : tuple of int, optional
        Allowed numbers of axes; None for any, where the caller checks the shape.
    allow_bool : bool
        Whether True and False count as 1 and 0.
    allow_missing : bool
        Whether values may be missing.

    Returns
    -------
    ndarray
        The numbers; the caller's memory where it is a float64 array already.

    Raises
    ------
    TypeError
        If ``values`` is not an array-like: a dict, a set, an iterator, a text or a sparse matrix.
    ValueError
        If the shape does not fit, or a value is a bool, text, complex number, date, infinite or
        too large; the message names the rows.

    Examples
    --------
    >>> import numpy as np
    >>> from gnnpre._labels import as_floats
    >>> as_floats("y", np.ma.masked_array([1.5, -999.0], mask=[False, True]))
    array([1.5, nan])
    """
    check_one_unit(name, values)
    array = to_numpy(name, values, n_rows)
    numbers = to_floats(name, array, values, n_dims, allow_bool)
    if n_dims is not None:
        _check_shape(name, numbers.shape, n_rows, n_dims)
    _check_finite(name, numbers, values)
    if not allow_missing:
        _refuse_missing(name, np.isnan(numbers), values)
    return numbers


def as_labels(name: str, values: Any, *, n_rows: int | None = None) -> np.ndarray:
    """Return labels, such as classes, groups or ids, as an array without missing values.

    Labels of one type (bool, int, float or str) get that dtype, all else dtype object.

    Parameters
    ----------
    name : str
        Name of the argument, for errors.
    values : array-like of shape (n,)
        The labels, of any hashable type.
    n_rows : int, optional
        Number of crystals in X, which the length must match.

    Returns
    -------
    ndarray of shape (n,)
        The labels.

    Raises
    ------
    TypeError
        If ``values`` is not an array-like.
    ValueError
        If the shape does not fit, or a label is missing; the message names the rows.

    Warns
    -----
    DataQualityWarning
        If labels such as ``"nan"`` seem to be missing values that were converted to text.

    Examples
    --------
    >>> import pandas as pd
    >>> from gnnpre._labels import as_labels
    >>> as_labels("y", pd.Series([True, False], dtype="boolean"))
    array([ True, False])
    """
    array = to_label_array(name, values, n_rows)
    _check_shape(name, array.shape, n_rows, (1,))
    if array.dtype.kind == "T":  # NumPy's text of variable length, which may have missing values
        array = array.astype(object)
    if array.dtype.kind == "O":
        missing = np.array([is_missing(label) for label in array.tolist()], dtype=bool)
    else:
        missing = array != array if array.dtype.kind in "fcmM" else np.zeros(len(array), bool)
    _refuse_missing(name, missing, values)
    labels = _one_type(array)
    if labels.dtype.kind == "U":
        warn_of_missing_as_text(name, labels, values)
    return labels


def label_codes(name: str, values: Any, *, n_rows: int | None = None) -> np.ndarray:
    """Return labels as integers from 0, numbered in order of their first occurrence.

    Parameters
    ----------
    name : str
        Name of the argument, for errors.
    values : array-like of shape (n,)
        The labels, of any hashable type.
    n_rows : int, optional
        Number of crystals in X, which the length must match.

    Returns
    -------
    ndarray of int of shape (n,)
        The codes.

    Raises
    ------
    TypeError
        If ``values`` is not an array-like, or a label is not hashable.
    ValueError
        If the shape does not fit, or a label is missing; the message names the rows.

    Warns
    -----
    DataQualityWarning
        If a number stands as text in another row, or missing values were converted to text.

    Examples
    --------
    >>> from gnnpre._labels import label_codes
    >>> label_codes("groups", ["Si", "Cu", "Si"])
    array([0, 1, 0])
    """
    labels = as_labels(name, values, n_rows=n_rows).tolist()
    for row, label in enumerate(labels):
        if not isinstance(label, Hashable):
            raise TypeError(
                f"{name} holds a {type(label).__name__} at row {row}; expected labels that can be "
                "compared, such as texts or numbers."
            )
    warn_of_two_spellings(name, labels, values)
    codes = {label: code for code, label in enumerate(dict.fromkeys(labels))}
    return np.array([codes[label] for label in labels], dtype=np.int64)


def flatten_column(name: str, values: Any) -> Any:
    """Return labels of shape ``(n, 1)`` as ``(n,)``, with scikit-learn's warning; else unchanged.

    Parameters
    ----------
    name : str
        Name of the argument, for errors.
    values : array-like of shape (n,) or (n, 1)
        Labels as the user passed them.

    Returns
    -------
    array-like of shape (n,)
        The labels.

    Warns
    -----
    DataConversionWarning
        If there was a column.

    Examples
    --------
    >>> import numpy as np
    >>> from gnnpre._labels import flatten_column
    >>> flatten_column("y", np.array([1, 2]))
    array([1, 2])
    """
    array = to_label_array(name, values, None)
    if array.ndim != 2 or array.shape[1] != 1:
        return values
    from sklearn.exceptions import DataConversionWarning

    message = (
        f"A column-vector {name} was passed when a 1d array was expected. Please change the shape "
        f"of {name} to (n_samples,), for example using ravel()."
    )
    warn_user(message, DataConversionWarning)
    return array[:, 0]


def column_names(values: Any) -> list[str] | None:
    """Return the names of the columns of a pandas or polars object, None without names.

    Parameters
    ----------
    values : array-like
        Labels as the user passed them.

    Returns
    -------
    list of str or None
        The names.

    Examples
    --------
    >>> import pandas as pd
    >>> from gnnpre._labels import column_names
    >>> column_names(pd.Series([1.0], name="gap"))
    ['gap']
    """
    columns = getattr(values, "columns", None)
    if columns is not None and hasattr(values, "shape"):
        return [str(column) for column in columns]
    name = getattr(values, "name", None)
    return [str(name)] if name is not None and hasattr(values, "shape") else None


def columns_in_order(y: Any, names: Sequence[Any] | None) -> Any:
    """Return labels with their columns in the order of the predictions, if both have names.

    Raises
    ------
    ValueError
        If the names differ.
    """
    if names is None or getattr(y, "columns", None) is None or not hasattr(y, "shape"):
        return y
    columns, names = list(map(str, y.columns)), list(map(str, names))
    if columns == names:
        return y
    if sorted(columns) != sorted(names) or len(set(columns)) < len(columns):
        raise ValueError(
            f"y has the columns {columns}; the predictions have {names}. Rename "
            "them, or pass y.to_numpy() with its columns in that order."
        )
    order = [columns.index(name) for name in names]
    return y.iloc[:, order] if hasattr(y, "iloc") else y[:, order]


def _check_shape(
    name: str, shape: tuple[int, ...], n_rows: int | None, n_dims: tuple[int, ...]
) -> None:
    if len(shape) in n_dims and (n_rows is None or shape[0] == n_rows) and 0 not in shape[1:]:
        return
    crystals = "" if n_rows is None else f"; X has {n_rows} crystals"
    raise ValueError(
        f"{name} has shape {shape}{crystals}: expected {expected_shape(n_rows, n_dims)}."
    )


def _check_finite(name: str, numbers: np.ndarray, values: Any) -> None:
    infinite = np.isinf(numbers)
    if infinite.any():
        rows, value = rows_of(infinite), numbers[infinite][0]
        if numbers.ndim == 0:
            raise ValueError(f"{name} is {value}; expected finite numbers.")
        raise ValueError(
            f"{name} is {value} at {rows_text(rows, values)}, infinite in {len(rows)} of "
            f"{len(numbers)} rows; expected finite numbers. Mark what is missing as NaN, or use "
            "another unit."
        )


def _refuse_missing(name: str, missing: np.ndarray, values: Any) -> None:
    rows = rows_of(missing)
    if len(rows):
        raise ValueError(
            f"{name} is missing (NaN) for {len(rows)} of {len(missing)} crystals, the first at "
            f"{rows_text(rows, values)}: leave them out, or fill them in."
        )


def is_missing(label: Any) -> bool:
    """Return whether a label is missing: None, NaN, ``pandas.NA``, ``pandas.NaT`` or masked."""
    if type(label).__name__ in MISSING_TYPES:
        return True
    try:
        return bool(label != label)
    except (TypeError, ValueError):  # arrays compare element by element
        return False


def _one_type(array: np.ndarray) -> np.ndarray:
    """Return labels that are all bool, numbers or str as an array of that dtype."""
    if array.dtype.kind != "O" or len(array) == 0:
        return array
    labels = [label.item() if isinstance(label, np.generic) else label for label in array]
    types = {type(label) for label in labels}
    if types not in ({bool}, {int}, {float}, {int, float}, {str}):
        return array
    united = np.array(labels)
    return united if united.dtype.kind in "biufU" else array
