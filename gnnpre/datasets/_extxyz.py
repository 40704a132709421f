"""Extended XYZ files, read in blocks of frames.

A block is parsed by one call of `numpy.loadtxt`, which is several times faster than a call per
frame. If a block does not parse, its frames are read one by one to name the bad one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ._extxyz_cell import parse_cell
from ._extxyz_columns import ColumnLayout, parse_layout
from ._file_formats import READ_ERRORS, open_text
from ._frame_blocks import FrameBlock
from ._free_text import parse_comment_line

__all__ = ["iterate_extxyz"]

_BLOCK_ATOMS = 16384
_LONGEST_LINE = 2**24  # characters; a longer line is not extended XYZ and might never end
_CHUNK = 2**20  # characters
_MOST_DIGITS = 9  # of a number of atoms
_RESERVED = ("lattice", "properties", "pbc")
_FORTRAN_EXPONENT = re.compile(r"(?<=[\d.])[dD](?=[+-]?\d)")


@dataclass(frozen=True)
class _RawFrame:
    """One frame as it stands in the file."""

    number: int
    comment: str
    rows: list[str]


def iterate_extxyz(path: Path, index: slice) -> Iterator[FrameBlock]:
    """Read the frames of an extended XYZ file.

    Parameters
    ----------
    path : Path
        The file, compressed or not.
    index : slice
        Which frames.

    Yields
    ------
    FrameBlock
        Consecutive frames with the same columns, some ten thousand atoms at a time.

    Raises
    ------
    ValueError
        If the file is truncated or a frame malformed.
    """
    pending: list[tuple[_RawFrame, dict[str, Any]]] = []
    layout, n_pending = parse_layout(None, ""), 0
    for frame in _select(_split(path), index):
        try:
            entries = _fold_reserved(parse_comment_line(frame.comment))
            next_layout = parse_layout(entries.pop("properties", None), frame.rows[0])
        except ValueError as error:
            raise _invalid_frame(frame, path, error) from error
        # Frames of one layout are parsed together: NumPy reads their rows in one call.
        if pending and (next_layout != layout or n_pending >= _BLOCK_ATOMS):
            yield _build_block(pending, layout, path)
            pending, n_pending = [], 0
        layout = next_layout
        pending.append((frame, entries))
        n_pending += len(frame.rows)
    if pending:
        yield _build_block(pending, layout, path)


def _select(frames: Iterator[_RawFrame], index: slice) -> Iterator[_RawFrame]:
    """Slice the frames; only a slice that counts from the end holds them all in memory."""
    bounds = (index.start, index.stop, index.step)
    if all(bound is None or bound >= 0 for bound in bounds):
        return islice(frames, *bounds)
    return iter(list(frames)[index])


def _split(path: Path) -> Iterator[_RawFrame]:
    """Cut a file into its frames."""
    number = 0
    with open_text(path) as stream:
        lines = _bounded_lines(stream, path)
        try:
            for header in lines:
                if header.strip():
                    yield _collect(lines, header.strip(), path, number)
                    number += 1
        except READ_ERRORS as error:
            raise ValueError(
                f"{path} cannot be read after {number} frames ({error}): it is truncated or "
                "damaged; get the file anew."
            ) from error


def _bounded_lines(stream: TextIO, path: Path) -> Iterator[str]:
    """Yield lines without their ends; reading by chunks is several times faster than by lines."""
    tail = ""
    while chunk := stream.read(_CHUNK):
        *lines, tail = (tail + chunk).split("\n")
        yield from lines
        if len(tail) > _LONGEST_LINE:
            raise ValueError(
                f"{path} has a line of over {_LONGEST_LINE} characters: it is not extended XYZ."
            )
    if tail:
        yield tail


def _collect(lines: Iterator[str], header: str, path: Path, number: int) -> _RawFrame:
    is_count = header.isascii() and header.isdigit() and len(header) <= _MOST_DIGITS
    n_atoms = int(header) if is_count else 0
    if n_atoms == 0:
        raise ValueError(
            f"Frame {number} of {path} begins with {header[:40]!r} where extended XYZ has the "
            "number of atoms; pass format= if the file is of another format."
        )
    comment = next(lines, "")
    rows = list(islice(lines, n_atoms))  # ends with the file, whatever the count says
    if len(rows) < n_atoms or not rows[-1].strip():
        raise ValueError(
            f"Frame {number} of {path} has fewer than the {n_atoms} atoms that its first line "
            "states; the file is truncated or badly joined."
        )
    return _RawFrame(number, comment, rows)


def _fold_reserved(entries: dict[str, Any]) -> dict[str, Any]:
    """Write the names that every extended XYZ file has in lower case."""
    names = _reserved_names(tuple(entries))
    if len({name.lower() for name in names}) < len(names):
        raise ValueError(f"its comment line has one entry twice, of {list(names)}")
    for name in names:
        entries[name.lower()] = entries.pop(name)
    return entries


@lru_cache(maxsize=1024)
def _reserved_names(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name.lower() in _RESERVED)


def _build_block(
    frames: list[tuple[_RawFrame, dict[str, Any]]], layout: ColumnLayout, path: Path
) -> FrameBlock:
    """Parse frames of one layout of columns."""
    # 1. all atoms of all frames at once
    try:
        atoms = layout.parse([row for frame, _ in frames for row in frame.rows])
    except ValueError as error:
        atoms = _parse_one_by_one(frames, layout, path, error)
    # 2. cells, which the comment lines hold
    cells, pbc = np.zeros((len(frames), 3, 3)), np.zeros((len(frames), 3), dtype=bool)
    for row, (frame, entries) in enumerate(frames):
        try:
            cells[row], pbc[row] = parse_cell(entries)
        except ValueError as error:
            raise _invalid_frame(frame, path, error) from error
    return FrameBlock(
        file=str(path),
        frame_numbers=[frame.number for frame, _ in frames],
        n_atoms=np.array([len(frame.rows) for frame, _ in frames]),
        atomic_numbers=atoms.atomic_numbers,
        positions=atoms.positions,
        cells=cells,
        pbc=pbc,
        entries=[entries for _, entries in frames],
        columns=atoms.columns,
        atom_columns=atoms.numbers,
        other_columns=layout.other_names,
        has_unnamed_columns=layout.has_more,
    )


def _parse_one_by_one(
    frames: list[tuple[_RawFrame, dict[str, Any]]], layout: ColumnLayout, path: Path, error: Any
) -> Any:
    """Find the frame that does not parse; read Fortran's exponents (1.0D-3) if it is only them."""
    rows = [_FORTRAN_EXPONENT.sub("e", row) for frame, _ in frames for row in frame.rows]
    try:
        return layout.parse(rows)
    except ValueError:
        pass
    for frame, _ in frames:
        try:
            layout.parse([_FORTRAN_EXPONENT.sub("e", row) for row in frame.rows])
        except ValueError as frame_error:
            raise _invalid_frame(frame, path, frame_error) from frame_error
    raise error


def _invalid_frame(frame: _RawFrame, path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"Frame {frame.number} of {path} is not valid extended XYZ: {error}. Correct that frame, "
        "or pass format= if the file is of another format."
    )
