"""Frames of extended XYZ and other files, one at a time, each knowing where it came from."""

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Frame", "iterate_frames"]

# ASE takes `stress` and `virial` only as nine numbers and keeps but six of them. Renamed they
# reach us as they stand in the file.
_RAW = "gnnpre_raw_"
_TAKEN_BY_ASE = re.compile(r"(?<!\S)(stress|virial)(?=\s*=)")
_PARSE_ERRORS = (ValueError, KeyError, IndexError, TypeError, AttributeError, OSError)


@dataclass(frozen=True)
class Frame:
    """One frame of a file: its atoms, all that the file says of them, and its place there."""

    atoms: "Atoms"
    file: str
    index: int
    values: dict[str, Any] = field(repr=False)

    @property
    def where(self) -> str:
        """Place of the frame, as error messages name it."""
        return f"frame {self.index} of {self.file}"


def iterate_frames(path: Path, file_format: str, index: slice) -> Iterator[Frame]:
    """Read frames of one file.

    Parameters
    ----------
    path : Path
        The file, gzip or not.
    file_format : str
        ``"extxyz"``, or any other name of a format that ASE reads.
    index : slice
        Which frames.

    Yields
    ------
    Frame
        The frames, without calculator.

    Raises
    ------
    ValueError
        If the file is truncated or not of that format.
    """
    if file_format != "extxyz":
        yield from _iterate_other(path, file_format, index)
        return
    for number, text in _select(_split(path), index):
        yield _parse(text, path, number)


def _select(items: Iterator[str], index: slice) -> Iterator[tuple[int, str]]:
    """Slice numbered items; only a slice that counts from the end holds them all in memory."""
    numbered = enumerate(items)
    bounds = (index.start, index.stop, index.step)
    if all(bound is None or bound >= 0 for bound in bounds):
        return islice(numbered, *bounds)
    return iter(list(numbered)[index])


def _split(path: Path) -> Iterator[str]:
    """Cut an extended XYZ file into the texts of its frames."""
    with _open(path) as stream:
        number = 0
        try:
            while header := stream.readline():
                if header.strip():
                    yield _collect(stream, header, path, number)
                    number += 1
        except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError) as error:
            raise ValueError(
                f"{path} cannot be read after {number} frames ({error}): it is truncated or no "
                "text; get the file anew."
            ) from error


def _open(path: Path) -> TextIO:
    with path.open("rb") as stream:
        zipped = stream.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rt", encoding="utf-8") if zipped else path.open(encoding="utf-8")


def _collect(stream: TextIO, header: str, path: Path, number: int) -> str:
    if not header.strip().isdigit() or int(header) == 0:
        raise ValueError(
            f"Frame {number} of {path} begins with {header.strip()[:40]!r} where extended XYZ has "
            "the number of atoms; give format= if the file is of another format."
        )
    lines = [stream.readline() for _ in range(int(header) + 1)]
    if not lines[-1].strip():
        raise ValueError(
            f"Frame {number} of {path} has fewer than the {int(header)} atoms that its first line "
            "states; the file is truncated or badly joined."
        )
    return header + "".join(lines)


def _parse(text: str, path: Path, number: int) -> Frame:
    from ase.io.extxyz import read_xyz

    try:
        atoms = next(read_xyz(io.StringIO(text), index=0, properties_parser=_parse_comment))
    except _PARSE_ERRORS as error:
        raise ValueError(
            f"Frame {number} of {path} is no valid extended XYZ ({error}); correct that frame, or "
            "give format= if the file is of another format."
        ) from error
    return _make_frame(atoms, str(path), number)


def _parse_comment(line: str) -> dict[str, Any]:
    from ase.io.extxyz import key_val_str_to_dict

    return dict(key_val_str_to_dict(_TAKEN_BY_ASE.sub(_RAW + r"\1", line)))


def _iterate_other(path: Path, file_format: str, index: slice) -> Iterator[Frame]:
    from ase.io import read

    try:
        frames: Any = read(path, index=":", format=file_format)
    except Exception as error:  # readers of some eighty formats: any error at all
        raise ValueError(f"{path} cannot be read with format={file_format!r}: {error}") from error
    for number in range(len(frames))[index]:
        yield _make_frame(frames[number], str(path), number)


def _make_frame(atoms: "Atoms", file: str, number: int) -> Frame:
    """Take the calculator off and gather all named values."""
    atoms.info = {key.removeprefix(_RAW): value for key, value in atoms.info.items()}
    results = {} if atoms.calc is None else _calculator_results(atoms)
    arrays = {k: v for k, v in atoms.arrays.items() if k not in {"numbers", "positions"}}
    atoms.calc = None
    return Frame(atoms, file, number, {**arrays, **atoms.info, **results})


def _calculator_results(atoms: "Atoms") -> dict[str, Any]:
    """Results of a calculator, a stress of six as a matrix: its order is ASE's for certain."""
    from ase.stress import voigt_6_to_full_3x3_stress

    results = dict(atoms.calc.results)
    if "stress" in results and np.shape(results["stress"]) == (6,):
        results["stress"] = voigt_6_to_full_3x3_stress(results["stress"])
    return results
