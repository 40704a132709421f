"""Texts of CIF and POSCAR files, parsed by pymatgen, without its guesses at elements."""

import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from ._cif_sites import check_sites, has_sites
from ._cif_symmetry import MERGED, WIDE_TOLERANCE, check_symmetry, is_blurred

if TYPE_CHECKING:
    from pymatgen.core import Structure

__all__ = ["parse_cifs", "parse_poscar"]


def parse_cifs(text: str) -> "tuple[list[Structure], list[str]]":
    """Parse all structures in the text of a CIF file.

    Parameters
    ----------
    text : str
        The text.

    Returns
    -------
    structures : list of Structure
        One or more structures.
    remarks : list of str
        Warnings of the parser.

    Raises
    ------
    ValueError
        If the text is not a CIF, holds no structure, or a site that is not an element.
    """
    structures: list[Structure] = []
    remarks: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            # One after the other: of blocks of one name pymatgen keeps the last, and it compares
            # all structures with the formula of the first.
            for block in re.split(r"(?m)^\s*data_", text)[1:]:
                read, remarks_of_block = _parse_block(f"data_{block}")
                structures += read
                remarks += remarks_of_block
        except Exception as error:  # the parser raises anything
            raise ValueError(f"the CIF text cannot be read: {error}") from error
    if not structures:
        raise ValueError("the CIF text cannot be read: it holds no structure")
    # The parser collects some remarks in a list, issues others as warnings, and some twice.
    return structures, list(dict.fromkeys([*remarks, *(str(item.message) for item in caught)]))


def _parse_block(text: str, **parameters: Any) -> "tuple[list[Structure], list[str]]":
    """Return the structure of a block and remarks; nothing if it describes something else."""
    from pymatgen.io.cif import CifParser

    parser: Any = CifParser.from_str(text, **parameters)
    for name, block in parser.as_dict().items():
        if not has_sites(block):
            return [], []
        check_sites(block)
        if not parser.feature_flags["magcif"]:
            check_symmetry(parser, block, name)
    structures = parser.parse_structures(primitive=False, on_error="raise")
    if not parameters and all(map(is_blurred, structures)):
        merged, _ = _parse_block(text, site_tolerance=WIDE_TOLERANCE)
        if not any(map(is_blurred, merged)):
            return merged, [*parser.warnings, MERGED]
    return structures, parser.warnings


def parse_poscar(text: str) -> "Structure":
    """Parse the text of a POSCAR file.

    Parameters
    ----------
    text : str
        The text.

    Returns
    -------
    Structure
        The structure.

    Raises
    ------
    ValueError
        If the text is not a POSCAR file, or does not name the elements.
    """
    from pymatgen.io.vasp.inputs import BadPoscarWarning

    with warnings.catch_warnings():
        # Its other remarks are on selective dynamics and velocities, which are not read.
        warnings.filterwarnings("ignore", category=BadPoscarWarning)
        # Where a file of VASP 4 has no symbols, pymatgen takes H, He, Li, ...
        warnings.filterwarnings("error", "Elements in POSCAR cannot", BadPoscarWarning)
        try:
            return _parse_scaled(text)
        except BadPoscarWarning as error:
            raise ValueError(
                f"the POSCAR text has no symbols of elements ({error}); add them in a line above "
                "the numbers of atoms"
            ) from error
        except Exception as error:  # the parser raises anything
            raise ValueError(f"the text is not a POSCAR file: {error}") from error


def _parse_scaled(text: str) -> "Structure":
    """Parse a POSCAR text, also one with a scale for each axis, which VASP 6 allows."""
    from pymatgen.core import Structure
    from pymatgen.io.vasp import Poscar

    lines = text.split("\n")
    scales = lines[1].split() if len(lines) > 1 else []
    if len(scales) != 3:
        return Poscar.from_str(text).structure
    factors = np.array([float(scale) for scale in scales])
    if not (factors > 0).all():
        raise ValueError(f"its three scales {scales} should be above 0")
    unscaled = Poscar.from_str("\n".join([lines[0], "1.0", *lines[2:]])).structure
    # Cartesian coordinates are scaled as the vectors are, so that fractional ones do not change.
    return Structure(unscaled.lattice.matrix * factors, unscaled.species, unscaled.frac_coords)
