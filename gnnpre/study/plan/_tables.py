"""Tables of crystals and properties, in each format that a study reads."""

import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gnnpre.datasets import read_matbench, read_parquet, read_structures
from gnnpre.graphs import Crystals

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["number_columns", "read_table"]

#: Numbers that are not written as Python reads them: 202,70 or 20,270.3 or 202.7 GPa.
_ODD_NUMBER = re.compile(
    r"[-+]?\d+(,\d+)+(\.\d+)?|[-+]?\d+(\.\d*)?(e[-+]?\d+)?\s+[a-zÅ°µ%].*", re.I
)
#: Beginning of the name that pandas gives an index in a CSV file.
_INDEX = "Unnamed: "


def read_table(path: Path, target: str | None = None) -> "tuple[Crystals, pd.DataFrame]":
    """Read crystals and their properties from MatBench's JSON, Parquet or CSV, by the file's name.

    Parameters
    ----------
    path : Path
        The file.
    target : str, optional
        The column to return; by default all.

    Returns
    -------
    crystals : Crystals
        The n crystals.
    table : DataFrame of shape (n, n_columns)
        Their properties, NaN where missing.
    """
    import pandas as pd

    name = path.name.lower()
    if name.endswith(".parquet"):
        return _read_parquet(path, target)
    is_csv = name.endswith((".csv", ".csv.gz", ".tsv"))
    crystals, table = (read_structures if is_csv else read_matbench)(path, target)
    return crystals, table.to_frame() if isinstance(table, pd.Series) else table


def _read_parquet(path: Path, target: str | None) -> "tuple[Crystals, pd.DataFrame]":
    import pandas as pd

    if target is not None:
        crystals, values = read_parquet(path, [target])
        return crystals, pd.DataFrame(values)
    # Without a target, pyarrow's reader returns labels of a force field beside all columns.
    crystals, labels = read_parquet(path)
    return crystals, pd.DataFrame(dict(labels.info), index=crystals.ids)


def number_columns(
    table: "Mapping[str, Any] | pd.DataFrame", path: Path, targets: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Return the columns of numbers of a table, float64 and NaN where a value is missing.

    Text such as names of functionals, dates and the index of a DataFrame are left out.

    Parameters
    ----------
    table : mapping of str to array-like, or DataFrame
        The columns.
    path : Path
        The file that they are from, for messages.
    targets : sequence of str, optional
        Columns that will be used; all by default.

    Raises
    ------
    ValueError
        If text stands among the numbers of a column, or its numbers have commas or units.
    """
    columns = {}
    for name in map(str, table):
        if name.startswith(_INDEX):
            continue
        is_used = targets is None or name in targets
        numbers = _numbers(np.asarray(table[name]), f"Column {name!r} of {path}", is_used)
        if numbers is not None:
            columns[name] = numbers
    return columns


def _numbers(values: np.ndarray, name: str, is_used: bool) -> np.ndarray | None:
    """Return a column as numbers, None if it holds something else."""
    import pandas as pd

    if values.dtype.kind not in "OU":
        return values.astype(np.float64) if values.dtype.kind in "biuf" else None
    blank = [isinstance(value, str) and not value.strip() for value in values.tolist()]
    column = pd.Series(values, dtype=object).mask(np.array(blank, dtype=bool))
    if any(isinstance(value, (date, timedelta)) for value in column.dropna()):
        return None
    numbers = pd.to_numeric(column, errors="coerce")
    text = np.flatnonzero(numbers.isna() & column.notna())
    n_present = int(column.notna().sum())
    if not len(text):
        return np.asarray(numbers, dtype=np.float64)
    # A column of text has no numbers, and none that are written in another way.
    odd = [row for row in text.tolist() if _ODD_NUMBER.fullmatch(str(column[row]).strip())]
    is_text = len(text) == n_present and 2 * len(odd) < n_present
    if is_text or not is_used:
        return None
    row = int(text[0])
    raise ValueError(
        f"{name} has {column[row]!r} in row {row}, which is no number; expected numbers with "
        "decimal points and without units, and empty cells where there is none."
    )
