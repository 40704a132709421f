"""Tables of crystals and properties, in each format that a study reads."""

from pathlib import Path
from typing import TYPE_CHECKING

from gnnpre.datasets import read_matbench, read_parquet, read_structures
from gnnpre.graphs import Crystals

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_table"]


def read_table(path: Path, target: str | None = None) -> "tuple[Crystals, pd.DataFrame]":
    """Read crystals and their properties from MatBench's JSON, Parquet or CSV, by the file's name.

    Parameters
    ----------
    path : Path
        The file.
    target : str, optional
        The column to return; all by default.

    Returns
    -------
    crystals : Crystals
        The n crystals.
    table : DataFrame of shape (n, n_columns)
        Their properties, NaN where missing.
    """
    import pandas as pd

    if path.suffix == ".parquet":
        return _read_parquet(path, target)
    is_csv = path.name.endswith((".csv", ".csv.gz"))
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
