"""Rows of Parquet files with LeMat's columns, piece by piece."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ._extras import import_extra
from ._parameters import check_paths
from ._parquet_columns import select_columns
from ._parquet_rows import ParquetPiece, convert_rows

__all__ = ["iterate_group", "iterate_parquet"]

_BATCH_ROWS = 16384
_PathLike = str | os.PathLike[str]


def iterate_parquet(
    source: _PathLike | Iterable[_PathLike],
    targets: Sequence[str] | None = None,
    *,
    columns: Sequence[str] | None = None,
    labels: bool = True,
    batch_rows: int = _BATCH_ROWS,
) -> Iterator[ParquetPiece]:
    """Read Parquet files piece by piece, never more than one of them in memory.

    Parameters
    ----------
    source, targets, columns : optional
        As for :func:`read_parquet`.
    labels : bool, default=True
        Whether to read energy, forces and stress.
    batch_rows : int, default=16384
        Maximum number of rows of a piece.

    Yields
    ------
    ParquetPiece
        The rows, in order.

    Raises
    ------
    ValueError
        As :func:`read_parquet`.
    """
    n_rows = 0
    paths = check_paths("source", source, ".parquet")
    for path in paths:
        for piece in _iterate_file(path, targets, columns, labels, batch_rows):
            n_rows += len(piece.crystals)
            yield piece
    if not n_rows:
        raise ValueError(f"There are no rows in {', '.join(map(str, paths))}.")


def _iterate_file(
    path: Path,
    targets: Sequence[str] | None,
    columns: Sequence[str] | None,
    labels: bool,
    batch_rows: int,
) -> Iterator[ParquetPiece]:
    import_extra("pyarrow", "store", "read_parquet")
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}.")
    # Row group by row group, so that a file of any size takes the memory of one.
    first_row = 0
    try:
        with pq.ParquetFile(path) as file:
            selection = select_columns(file.schema_arrow, path, targets, columns, labels)
            n_groups = file.num_row_groups
        for group in range(n_groups):
            for batch in iterate_group(path, group, selection.names, batch_rows):
                yield convert_rows(batch, selection, str(path), first_row)
                first_row += len(batch)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} cannot be read after {first_row} rows ({error}): it is truncated, damaged or "
            "no Parquet file."
        ) from error


def iterate_group(
    path: Path, group: int, names: list[str], batch_rows: int, footer: Any = None
) -> Iterator[Any]:
    """Read the batches of a row group; ``footer`` is that of the file, if it has been read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Symbols come as codes of a dictionary, without a string for each atom. Arrow cannot do so
    # where a batch has several dictionaries.
    for as_codes in (["species_at_sites.list.element"], None):
        n_batches = 0
        try:
            with pq.ParquetFile(
                path,
                read_dictionary=as_codes,
                metadata=footer,
                page_checksum_verification=True,
            ) as file:
                for batch in file.iter_batches(
                    batch_rows, row_groups=[group], columns=names, use_threads=False
                ):
                    n_batches += 1
                    yield batch
                return
        except pa.ArrowNotImplementedError:
            if as_codes is None or n_batches:
                raise
