"""Predictions and embeddings of any number of crystals, written to Parquet as they come."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gnnpre._atomic import replace_file
from gnnpre._validation import check_path
from gnnpre.datasets import prediction_columns
from gnnpre.graphs import Crystals, LazyCrystals, as_crystals

__all__ = ["write_in_pieces"]

# Crystals that are predicted and written together, as a row group.
PIECE_ROWS = 4096


def write_in_pieces(
    path: str | os.PathLike[str], X: Any, compute: Callable[[Crystals], Any], name: str
) -> Path:
    """Compute something of crystals piece by piece, and write it to a Parquet file.

    Parameters
    ----------
    path : str or path-like
        The file, which is replaced as a whole.
    X : CrystalStore, or n structures
        The crystals.
    compute : callable
        Returns the values of some crystals: an array, FrameLabels, a list of arrays of atoms, or
        a dict of these.
    name : str
        Name of the column of an array; those of several columns are numbered.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ImportError
        If pyarrow, of the extra ``store``, is not installed.
    """
    import pyarrow.parquet as pq

    check_path("path", path)
    writer: Any = None
    # The name stands for a whole file or the old one, never for a part.
    with replace_file(Path(path)) as new:
        try:
            for piece in _pieces(X):
                table = prediction_columns(piece, compute(piece), name)
                # The types of the first piece are those of the file.
                if writer is None:
                    writer = pq.ParquetWriter(new, table.schema, compression="zstd")
                writer.write_table(table.cast(writer.schema), row_group_size=PIECE_ROWS)
        finally:
            if writer is not None:
                writer.close()
    return Path(path)


def _pieces(X: Any) -> Iterator[Crystals]:
    if isinstance(X, LazyCrystals):
        return X.pieces(PIECE_ROWS)
    return iter(as_crystals(X).split(PIECE_ROWS))
