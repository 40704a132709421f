"""Symmetry of CIF files: whether the operations that pymatgen applies are those of the file."""

import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pymatgen.core import Structure

__all__ = ["MERGED", "WIDE_TOLERANCE", "check_symmetry", "is_blurred"]

_OPERATIONS = ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz")
_SPACE_GROUP = re.compile(r"(?i)_(symmetry_)?(space_group_)?(name_h.*|it_number|int_tables_number)")
_P1 = {"1", "p1"}
# Squares of lengths, and products of vectors, may change by this share under an operation: cells
# that were relaxed, or measured, fit their symmetry only roughly.
_LARGEST_CHANGE = 0.1
_CLOSEST = 0.3  # Å: nearer atoms are one that operations bring to almost the same point
#: Of fractional coordinates, where pymatgen's 0.0001 leaves one atom at several points.
WIDE_TOLERANCE = 0.015
#: Remark on sites that the wide tolerance has merged.
MERGED = (
    "Sites that symmetry operations bring to almost the same point were merged: coordinates have "
    "too few digits, such as 0.333 for 1/3."
)


def check_symmetry(parser: Any, block: dict[str, Any], name: str) -> None:
    """Check that the symmetry of a block of a CIF is understood, and fits its cell.

    Where a block lists no operations, pymatgen takes those of the space group, whatever its
    setting, or none if it does not know the name.

    Parameters
    ----------
    parser : CifParser
        The parser of the text.
    block : dict
        Tags and values of the block.
    name : str
        Name of the block.

    Raises
    ------
    ValueError
        If operations are missing, cannot be read, or do not map the lattice onto itself.
    """
    from pymatgen.io.cif import CifBlock

    data = CifBlock(block, [], name)
    rotations = np.array([operation.rotation_matrix for operation in parser.get_symops(data)])
    listed = [tag for tag in block if tag.rstrip("_") in _OPERATIONS]
    n_listed = max((len(_as_list(block[tag])) for tag in listed), default=0)
    # 1. an only operation stands for a space group that is not understood
    unreadable = ""
    if not np.allclose(np.abs(np.linalg.det(rotations)), 1.0, atol=0.01):
        unreadable = "its symmetry operations"
    elif len(rotations) == 1 and n_listed != 1:
        unreadable = "its symmetry operations" if n_listed else _space_group(block)
    if unreadable:
        raise ValueError(
            f"{unreadable} cannot be read, and most atoms would be missing. List the operations "
            "(_symmetry_equiv_pos_as_xyz), or write all atoms of the cell in P 1"
        )
    # 2. operations of another setting
    cell = parser.get_lattice(data).matrix
    metric = cell @ cell.T
    changes = np.abs(np.swapaxes(rotations, 1, 2) @ metric @ rotations - metric)
    lengths = np.sqrt(np.diag(metric))
    if (changes > _LARGEST_CHANGE * np.outer(lengths, lengths)).any():
        raise ValueError(
            "its symmetry operations do not fit its cell, as those of hexagonal axes do not fit a "
            "rhombohedral cell. List the operations of this setting (_symmetry_equiv_pos_as_xyz), "
            "or write all atoms of the cell in P 1"
        )


def _space_group(block: dict[str, Any]) -> str:
    """Return the space group of a block in words; nothing for P 1 or if it states none."""
    for tag, value in block.items():
        name = re.sub(r"[\s_'\"]", "", str(value)).lower()
        if _SPACE_GROUP.fullmatch(tag) and re.search(r"\w", name) and name not in _P1:
            return f"the space group {value!r}"
    return ""


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def is_blurred(structure: "Structure") -> bool:
    """Return whether atoms, all of full occupancy, are almost at the same point."""
    return structure.is_ordered and len(structure.get_neighbor_list(_CLOSEST)[0]) > 0
