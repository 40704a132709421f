"""Cells of a table that hold structures: dictionaries, JSON, CIF or POSCAR text, or objects."""

import re
from collections.abc import Mapping
from typing import Any

from gnnpre._warnings import warn_user

from ..graphs import StructureArrays, arrays_from_dict, parse_cifs, parse_poscar
from ._json_text import parse_json

__all__ = ["arrays_from_cell", "arrays_from_cifs", "arrays_from_object", "arrays_from_poscar"]


def arrays_from_cell(cell: Any) -> StructureArrays:
    """Return the structure in a cell of a table.

    Parameters
    ----------
    cell : mapping, str, pymatgen Structure or ASE Atoms
        A dictionary as :func:`arrays_from_dict` reads, its JSON, or the text of a CIF or POSCAR
        file.

    Returns
    -------
    StructureArrays
        The structure.

    Raises
    ------
    ValueError
        If the cell holds no structure.
    """
    if isinstance(cell, Mapping):
        return arrays_from_dict(cell)
    if isinstance(cell, bytes):
        cell = cell.decode("utf-8", "replace")
    if isinstance(cell, str):
        return arrays_from_text(cell)
    if hasattr(cell, "sites") or hasattr(cell, "arrays"):
        return arrays_from_object(cell)
    raise ValueError(
        f"{str(cell)[:40]!r} of type {type(cell).__name__} is not a structure; expected a dict, "
        "its JSON, or the text of a CIF or POSCAR file"
    )


def arrays_from_text(text: str) -> StructureArrays:
    """Return the structure in JSON, or in the text of a CIF or POSCAR file."""
    start = text.lstrip("\ufeff \t\r\n")
    if start.startswith("{"):
        content = parse_json(start)
        return arrays_from_dict(content)
    if re.search(r"(?m)^\s*(data_|_cell_length_a|loop_)", text):
        structures = arrays_from_cifs(text)
        if len(structures) > 1:
            raise ValueError(f"the CIF text holds {len(structures)} structures; a cell has one")
        return structures[0]
    if text.count("\n") >= 5:
        return arrays_from_poscar(text)
    raise ValueError(
        f"{text[:40]!r} is not a structure; expected JSON, or the text of a CIF or POSCAR file"
    )


def arrays_from_object(structure: Any) -> StructureArrays:
    """Return the structure in a pymatgen Structure or ASE Atoms."""
    from ..graphs import Crystals

    crystals = Crystals.from_structures([structure])
    return StructureArrays(
        crystals.atomic_numbers, crystals.positions, crystals.cell[0], crystals.pbc[0]
    )


def arrays_from_cifs(text: str) -> list[StructureArrays]:
    """Return all structures in the text of a CIF file, as pymatgen reads it."""
    structures, remarks = parse_cifs(text)
    for remark in remarks:
        warn_user(remark)
    return [arrays_from_object(structure) for structure in structures]


def arrays_from_poscar(text: str) -> StructureArrays:
    """Return the structure in the text of a POSCAR file, as pymatgen reads it."""
    return arrays_from_object(parse_poscar(text))
