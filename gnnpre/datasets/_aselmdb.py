"""ASE's databases in LMDB files (aselmdb), as OMat24 and sAlex are published."""

import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..graphs import Crystals, FrameLabels
from ._aselmdb_rows import AselmdbColumns
from ._composition import formula_column
from ._extras import import_extra
from ._info_columns import join_labels
from ._json_text import parse_json
from ._label_checks import check_labels
from ._parameters import check_paths

__all__ = ["iterate_aselmdb", "read_aselmdb"]

_BLOCK_ROWS = 4096
_LARGEST_VALUE = 2**28  # bytes of an uncompressed row
# Values of a compressed row up to this size cannot become larger than that: deflate packs at most
# a thousandfold.
_SAFE_COMPRESSED = _LARGEST_VALUE // 1100
# Bytes that most rows unpack to; zlib would begin with four times as much, a tenth of its time.
_BUFFER = 4096
_PathLike = str | os.PathLike[str]


def read_aselmdb(
    source: _PathLike | Iterable[_PathLike], *, index: slice | None = None
) -> tuple[Crystals, FrameLabels]:
    """Read structures with energies, forces and stresses from aselmdb files.

    Parameters
    ----------
    source : str, path-like or iterable of them
        Files, or a folder whose ``.aselmdb`` files are read in the order of their names.
    index : slice, optional
        Which rows of each file, deleted ones not counted; all by default.

    Returns
    -------
    crystals : Crystals
        The structures. ``ids`` are the unique ids of the rows.
    labels : FrameLabels
        Energies (eV per cell), forces (eV/Å) and stresses (eV/Å^3, positive in tension), NaN
        where missing. ``info`` has the scalars among key-value pairs and data, ``formula``
        (reduced) and ``file``.

    Raises
    ------
    ValueError
        If a file is truncated, damaged or no aselmdb file, lacks rows that are not deleted, or
        states other units; or there are no rows.
    ImportError
        If lmdb, of the extra ``store``, is not installed.

    Warns
    -----
    UserWarning
        If labels are implausible, or the stress seems to have the opposite sign.

    See Also
    --------
    read_frames : Read ASE's other databases, among other formats.

    Examples
    --------
    >>> from gnnpre.datasets import read_aselmdb
    >>> crystals, labels = read_aselmdb("omat24/rattled-300/val")  # doctest: +SKIP
    """
    if index is not None and not isinstance(index, slice):
        raise TypeError(f"index must be a slice, such as slice(0, 100), or None; got {index!r}.")
    # 1. the rows of all files, block by block
    paths = check_paths("source", source, ".aselmdb")
    blocks = [block for path in paths for block in iterate_aselmdb(path, index or slice(None))]
    if not blocks:
        raise ValueError(f"There are no rows in {', '.join(map(str, paths))} (index={index}).")
    # 2. joined
    crystals = Crystals.concatenate([crystals for crystals, _ in blocks])
    labels = join_labels([labels for _, labels in blocks])
    labels.info["formula"] = formula_column(crystals)
    files, ids = labels.groups("file"), np.asarray(crystals.ids)

    def name(label: str, row: int) -> str:
        return f"{label!r} of row {ids[row]} of {files[row]}"

    # 3. labels that cannot be right are an error that names the row
    check_labels(crystals, labels, name)
    return crystals, labels


def iterate_aselmdb(path: Path, index: slice) -> Iterator[tuple[Crystals, FrameLabels]]:
    """Read one aselmdb file in blocks of rows.

    Parameters
    ----------
    path : Path
        The file.
    index : slice
        Which rows.

    Yields
    ------
    crystals : Crystals
        Structures of some thousand rows.
    labels : FrameLabels
        Their labels.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    lmdb = import_extra("lmdb", "store", "read_aselmdb")
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with (
            # Without a lock file: data may lie on a file system that cannot be written.
            lmdb.open(str(path), subdir=False, readonly=True, lock=False, create=False) as file,
            file.begin() as transaction,
        ):
            _check_size(file, path)
            rows = _row_numbers(transaction, path)[index]
            for start in range(0, len(rows), _BLOCK_ROWS):
                yield _read_block(transaction, rows[start : start + _BLOCK_ROWS], path)
    except lmdb.Error as error:
        raise ValueError(
            f"{path} cannot be read ({error}): it is not an aselmdb file, or damaged."
        ) from error


def _check_size(file: Any, path: Path) -> None:
    """Check that the pages are there: reading beyond the end of a mapped file kills the process."""
    n_pages, page_size = file.info()["last_pgno"] + 1, file.stat()["psize"]
    if path.stat().st_size < n_pages * page_size:
        raise ValueError(
            f"{path} has {path.stat().st_size} bytes where its header states "
            f"{n_pages * page_size}: it is truncated; get the file anew."
        )


def _row_numbers(transaction: Any, path: Path) -> list[int]:
    """Return the numbers of the rows that are not deleted, in order."""
    with transaction.cursor() as cursor:
        names = list(cursor.iternext(keys=True, values=False))
    # Keys are the numbers of rows, beside names of tables such as "deleted_ids".
    numbers = sorted(int(name) for name in names if name.isdigit())
    deleted = transaction.get(b"deleted_ids")
    hidden = [] if deleted is None else _decode(deleted, "deleted_ids", path)
    if not isinstance(hidden, list) or not all(type(number) is int for number in hidden):
        raise ValueError(
            f"{path} has deleted_ids that are not a list of row numbers: it is damaged."
        )
    # Rows at the end may be lost, too: a file states the number of the next one.
    next_number = transaction.get(b"nextid")
    stated = 0 if next_number is None else _decode(next_number, "nextid", path)
    if type(stated) is not int:
        raise ValueError(f"{path} has a nextid that is not a row number: it is damaged.")
    last = max(numbers[-1] if numbers else 0, stated - 1)
    n_lost = last - len({*numbers, *(number for number in hidden if 1 <= number <= last)})
    if n_lost > 0:
        raise ValueError(
            f"{path} lacks {n_lost} of its rows, which are not among the deleted ones: it is "
            "damaged; get the file anew."
        )
    deleted_numbers = set(hidden)
    return [number for number in numbers if number not in deleted_numbers]


def _decode(value: bytes, row: Any, path: Path) -> Any:
    try:
        if len(value) <= _SAFE_COMPRESSED:
            text = zlib.decompress(value, bufsize=_BUFFER)
        else:
            unpacker = zlib.decompressobj()
            text = unpacker.decompress(value, _LARGEST_VALUE)
            if unpacker.unconsumed_tail:
                raise ValueError(f"it unpacks to more than {_LARGEST_VALUE} bytes")
        return parse_json(text)
    except (zlib.error, ValueError) as error:
        raise ValueError(f"Row {row} of {path} is damaged ({error}).") from error


def _read_block(transaction: Any, numbers: list[int], path: Path) -> tuple[Crystals, FrameLabels]:
    columns = AselmdbColumns()
    for number in numbers:
        # Each row is taken apart at once: to hold thousands of nested lists is what costs time,
        # since Python's garbage collector visits them again and again.
        row = _decode(transaction.get(b"%d" % number), number, path)
        try:
            columns.append(row)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"Row {number} of {path} cannot be read: {reason}.") from error
    try:
        return columns.convert(str(path))
    except (TypeError, ValueError) as error:
        if len(numbers) == 1:
            reason = str(error).removesuffix(".")
            raise ValueError(f"Row {numbers[0]} of {path} cannot be read: {reason}.") from error
        for number in numbers:  # which one is it?
            _read_block(transaction, [number], path)
        raise
