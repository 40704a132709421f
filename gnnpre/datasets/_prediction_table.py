"""Predictions of crystals as Arrow tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..graphs import Crystals, FrameLabels
from ._extras import import_extra
from ._parquet_writer import plain_values, rows_table

__all__ = ["prediction_columns"]


def prediction_columns(crystals: Crystals, values: Any, name: str) -> Any:
    """Return the predictions of crystals as a table for Parquet.

    Parameters
    ----------
    crystals : Crystals
        The n crystals.
    values : FrameLabels, ndarray of shape (n,) or (n, k), list of n arrays, or dict of these
        Their predictions. Labels of frames are stored with the crystals, for ``read_parquet``.
    name : str
        Name of the column; several are numbered.

    Returns
    -------
    pyarrow.Table
        A row for each crystal.
    """
    pa = import_extra("pyarrow", "store", "predict_to_parquet")
    ids = {} if crystals.ids is None else {"immutable_id": plain_values(crystals.ids.astype(str))}
    if isinstance(values, FrameLabels):
        return rows_table(crystals, values, ids)
    return pa.table({**ids, **_columns(values, name)})


def _columns(values: Any, name: str) -> dict[str, Any]:
    """Return predictions as columns by name."""
    if isinstance(values, Mapping):
        named = [_columns(item, str(key)) for key, item in values.items()]
        return {key: column for columns in named for key, column in columns.items()}
    if isinstance(values, FrameLabels):  # of a mixture
        forces = np.split(values.forces, values.offsets[1:-1])
        labels = {"energy": values.energy, "forces": forces, "stress": values.stress}
        return _columns({f"{name}.{key}": item for key, item in labels.items()}, name)
    # Predictions of atoms are an object array of one array for each crystal.
    if isinstance(values, list) or (isinstance(values, np.ndarray) and values.dtype.kind == "O"):
        return {name: _nested([np.asarray(item).tolist() for item in values])}
    array = np.asarray(values)
    if array.ndim == 2:
        return {f"{name}{k}": plain_values(column) for k, column in enumerate(array.T)}
    return {name: plain_values(array) if array.ndim == 1 else _nested(array.tolist())}


def _nested(values: list[Any]) -> Any:
    import pyarrow as pa

    return pa.array(values)
