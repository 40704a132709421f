"""ASE's databases in LMDB files (aselmdb), as OMat24 and sAlex are published."""

import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..graphs import Crystals, FrameLabels
from ._composition import formula_column
from ._extras import import_extra
from ._info_columns import info_column, join_labels
from ._json_text import parse_json
from ._label_checks import check_labels

__all__ = ["iterate_aselmdb", "read_aselmdb"]

_BLOCK_ROWS = 256  # few enough for their Python objects to be freed before the next ones
_LARGEST_VALUE = 2**28  # bytes of an uncompressed row
# Values of a compressed row up to this size cannot become larger than that: deflate packs at most
# a thousandfold.
_SAFE_COMPRESSED = _LARGEST_VALUE // 1100
_VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))  # xx, yy, zz, yz, xz, xy
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
        If a file is truncated, damaged or no aselmdb file, or has no rows.
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
    paths = _as_files(source)
    blocks = [block for path in paths for block in iterate_aselmdb(path, index or slice(None))]
    if not blocks:
        raise ValueError(f"There are no rows in {', '.join(map(str, paths))} (index={index}).")
    crystals = Crystals.concatenate([crystals for crystals, _ in blocks])
    labels = join_labels([labels for _, labels in blocks])
    labels.info["formula"] = formula_column(crystals)
    files, ids = labels.groups("file"), np.asarray(crystals.ids)

    def name(label: str, row: int) -> str:
        return f"{label!r} of row {ids[row]} of {files[row]}"

    check_labels(crystals, labels, name)
    return crystals, labels


def _as_files(source: Any) -> list[Path]:
    if not isinstance(source, (str, os.PathLike)):
        paths = [Path(item) for item in source]
    elif Path(source).is_dir():
        paths = sorted(Path(source).glob("*.aselmdb"))
    else:
        paths = [Path(source)]
    if not paths:
        raise ValueError(f"There are no .aselmdb files in {source}.")
    return paths


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
            lmdb.open(str(path), subdir=False, readonly=True, lock=False, create=False) as file,
            file.begin() as transaction,
        ):
            _check_size(file, path)
            rows = _row_numbers(transaction, path)[index]
            for start in range(0, len(rows), _BLOCK_ROWS):
                yield _read_block(transaction, rows[start : start + _BLOCK_ROWS], path)
    except lmdb.Error as error:
        raise ValueError(
            f"{path} cannot be read ({error}): it is no aselmdb file, or damaged."
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
    numbers = sorted(int(name) for name in names if name.isdigit())
    deleted = transaction.get(b"deleted_ids")
    hidden = set() if deleted is None else set(_decode(deleted, "deleted_ids", path))
    n_lost = (
        0
        if not numbers
        else numbers[-1] - len(set(numbers) | set(range(1, numbers[-1] + 1)) & hidden)
    )
    if n_lost > 0:
        raise ValueError(
            f"{path} lacks {n_lost} of its rows, which are not among the deleted ones: it is "
            "damaged; get the file anew."
        )
    return [number for number in numbers if number not in hidden]


def _decode(value: bytes, row: Any, path: Path) -> Any:
    try:
        if len(value) <= _SAFE_COMPRESSED:
            text = zlib.decompress(value)
        else:
            unpacker = zlib.decompressobj()
            text = unpacker.decompress(value, _LARGEST_VALUE)
            if unpacker.unconsumed_tail:
                raise ValueError(f"it unpacks to more than {_LARGEST_VALUE} bytes")
        return parse_json(text)
    except (zlib.error, ValueError) as error:
        raise ValueError(f"Row {row} of {path} is damaged ({error}).") from error


def _read_block(transaction: Any, numbers: list[int], path: Path) -> tuple[Crystals, FrameLabels]:
    rows = [_decode(transaction.get(b"%d" % number), number, path) for number in numbers]
    try:
        return _convert(rows, str(path))
    except (KeyError, TypeError, ValueError, IndexError):
        # Find the row, for the message.
        for number, row in zip(numbers, rows, strict=True):
            try:
                _convert([row], str(path))
            except (KeyError, TypeError, ValueError, IndexError) as error:
                raise ValueError(f"Row {number} of {path} cannot be read: {error!r}.") from error
        raise


def _convert(rows: list[dict[str, Any]], file: str) -> tuple[Crystals, FrameLabels]:
    """Convert rows to flat arrays: one conversion per column instead of one per row."""
    # 1. structures
    numbers = [_flat(row["numbers"]) for row in rows]
    n_atoms = np.array([len(item) for item in numbers])
    crystals = Crystals(
        atomic_numbers=np.array([number for item in numbers for number in item], dtype=np.int64),
        positions=_gather([row["positions"] for row in rows]).reshape(-1, 3),
        cell=_gather([row["cell"] for row in rows]).reshape(-1, 3, 3),
        n_atoms=n_atoms,
        pbc=np.array([_flat(row["pbc"]) for row in rows], dtype=bool),
        ids=[str(row.get("unique_id", "")) for row in rows],
    )
    # 2. labels, NaN where a row has none
    missing = np.nan
    energy = np.array([_number(row.get("energy", missing)) for row in rows])
    forces = _gather(
        [
            row.get("forces") or [missing] * (3 * len(item))
            for row, item in zip(rows, numbers, strict=True)
        ]
    )
    labels = FrameLabels(
        n_atoms,
        energy=energy,
        forces=forces.reshape(-1, 3),
        stress=_stress([row.get("stress") for row in rows]),
        info={**_info(rows), "file": np.full(len(rows), file, dtype=object)},
    )
    return crystals, labels


def _flat(value: Any) -> list[Any]:
    """Return the numbers of an array, which ASE writes as [shape, dtype, numbers] or as lists."""
    if type(value) is dict:
        value = value["__ndarray__"][2]
    while value and type(value[0]) is list:
        value = [number for row in value for number in row]
    return list(value)


def _gather(values: list[Any]) -> np.ndarray:
    numbers: list[float] = []
    for value in values:
        numbers += _flat(value)
    array = np.array(numbers)
    return array if array.dtype == np.float64 else array.astype(np.float64)


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)


def _stress(values: list[Any]) -> np.ndarray:
    """Return stresses (n, 3, 3) from six or nine numbers."""
    stress = np.full((len(values), 3, 3), np.nan)
    flat = [[] if value is None else _flat(value) for value in values]
    for width in {len(item) for item in flat} - {0}:
        rows = [row for row, item in enumerate(flat) if len(item) == width]
        numbers = np.array([flat[row] for row in rows], dtype=np.float64)
        if width == 6:
            matrices = np.empty((len(rows), 3, 3))
            matrices[:, _VOIGT[0], _VOIGT[1]] = matrices[:, _VOIGT[1], _VOIGT[0]] = numbers
        else:
            matrices = numbers.reshape(-1, 3, 3)
        stress[rows] = matrices
    return stress


def _info(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Return a column for each scalar among key-value pairs and data."""
    pairs = []
    for row in rows:
        data = row.get("data")
        values = dict(data) if type(data) is dict else {}
        values.update(row.get("key_value_pairs") or {})
        pairs.append(values)
    names = dict.fromkeys(
        name
        for values in pairs
        for name, value in values.items()
        if type(value) in {int, float, str, bool}
    )
    return {name: info_column([values.get(name) for values in pairs]) for name in names}
