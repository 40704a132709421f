"""Structures of one file, whatever its format."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..graphs import Crystals, StructureArrays, arrays_from_dict
from ._file_formats import detect_format, other_reader, read_bounded
from ._frames import read_frames
from ._json_text import parse_json
from ._structure_arrays import pack_arrays
from ._structure_cells import arrays_from_cifs, arrays_from_poscar
from ._vasp_convergence import CONVERGED

__all__ = ["STRUCTURE_SUFFIXES", "FileContent", "is_structure_file", "read_structure_file"]

STRUCTURE_SUFFIXES = (
    ".cif",
    ".mcif",
    ".vasp",
    ".poscar",
    ".json",
    ".xyz",
    ".extxyz",
    ".db",
    ".traj",
)
_COMPRESSED = (".gz", ".bz2", ".xz")
_NAMES = ("poscar", "contcar")
# Formats with one structure, or steps of one relaxation of which the last counts.
_LAST_STEP = {"vasp-xml", "vasp-out"}


class FileContent(NamedTuple):
    """Structures of a file, and columns that describe them."""

    crystals: Crystals
    columns: dict[str, np.ndarray]


def is_structure_file(path: Path) -> bool:
    """Return whether the name of a file is that of a format of structures."""
    name = plain_name(path).lower()
    return name.endswith(STRUCTURE_SUFFIXES) or name.startswith(_NAMES)


def plain_name(path: Path) -> str:
    """Return the name of a file without the suffix of its compression."""
    is_compressed = path.suffix.lower() in _COMPRESSED
    return path.name.removesuffix(path.suffix) if is_compressed else path.name


def read_structure_file(path: Path) -> FileContent:
    """Return the structures of a CIF, POSCAR, JSON, extended XYZ or ASE file.

    Parameters
    ----------
    path : Path
        The file, compressed or not.

    Returns
    -------
    FileContent
        Its structures; of the output of a relaxation the last one.

    Raises
    ------
    ValueError
        If the file is damaged, or of a format that has no structures or another reader.
    """
    if path.is_symlink() and not path.exists():
        raise ValueError(f"{path} is a link to {path.readlink()}, which is not there.")
    file_format = detect_format(path)
    if file_format == "cif":
        return _without_columns(arrays_from_cifs(_text(path)))
    if file_format == "vasp":
        return _without_columns([arrays_from_poscar(_text(path))])
    if file_format == "pymatgen-json":
        return _without_columns(_from_json(path))
    reader = other_reader(file_format)
    if reader is not None:
        raise ValueError(f"{path} is {reader}.")
    # The output of a relaxation holds all of its steps: the last one is the structure.
    steps = slice(-1, None) if file_format in _LAST_STEP else None
    crystals, labels = read_frames(path, index=steps, format=file_format)
    described = {"formula", "file", CONVERGED}  # columns about the frames, no properties
    columns = {name: labels.info[name] for name in labels.info if name not in described}
    if np.isfinite(labels.energy).any():
        columns["energy"] = labels.energy
    return FileContent(crystals, columns)


def _without_columns(structures: list[StructureArrays]) -> FileContent:
    return FileContent(pack_arrays(structures), {})


def _text(path: Path) -> str:
    content = read_bounded(path)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        # Older CIF files hold names of authors in Latin-1; all that is read is ASCII.
        text = content.decode("latin-1")
    # Lines may end as on Windows, or as on old Macs.
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _from_json(path: Path) -> list[StructureArrays]:
    content: Any = parse_json(read_bounded(path))
    items = content if isinstance(content, list) else [content]
    if not items or not all(isinstance(item, dict) for item in items):
        raise ValueError("the JSON is neither a structure nor a list of structures")
    return [arrays_from_dict(item) for item in items]
