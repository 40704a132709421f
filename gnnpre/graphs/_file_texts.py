"""Texts of CIF and POSCAR files, parsed by pymatgen, without its guesses at elements."""

import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymatgen.core import Structure

__all__ = ["parse_cifs", "parse_poscar"]

# An element with a charge, as "Fe3+", "Fe+3" or "O2-", or with a number, as "Fe0.5".
_TYPE_SYMBOL = re.compile(r"([A-Za-z]{1,2})[\d.]*[+-]?[\d.]*")
# Names of sites without an atom; pymatgen would take "Va1" and "Vac" for vanadium.
_VACANCY = re.compile(r"(?i)(vac|void|va|vc|x+)(?![a-z])|vacan")


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
    from pymatgen.io.cif import CifParser

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            parser: Any = CifParser.from_str(text)
            for block in parser.as_dict().values():
                _check_sites(block)
            structures = parser.parse_structures(primitive=False, on_error="raise")
        except Exception as error:  # the parser raises anything
            raise ValueError(f"the CIF text cannot be read: {error}") from error
    if not structures:
        raise ValueError("the CIF text holds no structure")
    # The parser collects some remarks in a list, issues others as warnings, and some twice.
    return structures, list(
        dict.fromkeys([*parser.warnings, *(str(item.message) for item in caught)])
    )


def _check_sites(block: dict[str, Any]) -> None:
    """Check that each site of a block is an element, which pymatgen guesses or leaves out."""
    symbols = block.get("_atom_site_type_symbol")
    if symbols is None:
        _check_labels(block.get("_atom_site_label", []))
        return
    for row, symbol in enumerate(symbols):
        match = _TYPE_SYMBOL.fullmatch(symbol)
        if match is None or not _is_element(match[1]):
            raise ValueError(
                f"site {row} has the type symbol {symbol!r}, which is not an element. Correct it, "
                "or remove the site if it is vacant"
            )


def _check_labels(labels: Sequence[str]) -> None:
    """Check labels, such as "Fe1" or "OW2", which begin with an element by custom only."""
    for row, label in enumerate(labels):
        letters = re.match("[A-Za-z]+", label)
        # pymatgen leaves out sites of which it knows no element, and hydroxyl groups.
        if letters is None or _VACANCY.match(label) or re.match("OH|NO3", label):
            raise ValueError(
                f"site {row} has the label {label!r}, which names no element. Add a column "
                "_atom_site_type_symbol, or remove the site if it is vacant"
            )


def _is_element(symbol: str) -> bool:
    from pymatgen.core import Element

    return Element.is_valid_symbol(symbol.title())


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
    from pymatgen.io.vasp import Poscar
    from pymatgen.io.vasp.inputs import BadPoscarWarning

    with warnings.catch_warnings():
        # Its other remarks are on selective dynamics and velocities, which are not read.
        warnings.filterwarnings("ignore", category=BadPoscarWarning)
        # Where a file of VASP 4 has no symbols, pymatgen takes H, He, Li, ...
        warnings.filterwarnings("error", "Elements in POSCAR cannot", BadPoscarWarning)
        try:
            return Poscar.from_str(text).structure
        except BadPoscarWarning as error:
            raise ValueError(
                f"the POSCAR text has no symbols of elements ({error}); add them in a line above "
                "the numbers of atoms"
            ) from error
        except Exception as error:  # the parser raises anything
            raise ValueError(f"the text is not a POSCAR file: {error}") from error
