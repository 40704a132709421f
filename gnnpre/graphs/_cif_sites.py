"""Sites of CIF files: whether each one is an element, which pymatgen guesses or leaves out."""

import re
from collections.abc import Sequence
from typing import Any

__all__ = ["check_sites", "has_sites"]

# An element with a charge, as "Fe3+", "Fe+3" or "O2-", or with a number, as "Fe0.5".
_TYPE_SYMBOL = re.compile(r"([A-Za-z]{1,2})[\d.]*[+-]?[\d.]*")
# Names of sites without an atom; pymatgen would take "Va1" and "Vac" for vanadium.
_VACANCY = re.compile(r"(?i)(vac|void|va|vc|x+)(?![a-z])|vacan")


def has_sites(block: dict[str, Any]) -> bool:
    """Return whether a block of a CIF file holds atoms; others are of publications and such."""
    tags = ("label", "type_symbol", "fract_x", "Cartn_x")
    return any(f"_atom_site_{tag}" in block for tag in tags)


def check_sites(block: dict[str, Any]) -> None:
    """Check that each site of a block is an element at fractional coordinates.

    Parameters
    ----------
    block : dict
        Tags and values of the block.

    Raises
    ------
    ValueError
        If a site is something else, which pymatgen would guess, leave out or take for an atom.
    """
    for axis in "xyz":
        tag = f"_atom_site_fract_{axis}"
        values = block.get(tag)
        if not isinstance(values, list):
            raise ValueError(f"its sites have no column {tag}, in a loop_; write it")
        unknown = [row for row, value in enumerate(values) if value in {"?", "."}]
        if unknown:
            raise ValueError(
                f"site {unknown[0]} has no coordinates ({tag} is {values[unknown[0]]!r}). Fill "
                "them in, or remove the site"
            )
    for row, flag in enumerate(block.get("_atom_site_calc_flag", [])):
        if flag.lower() == "dum":
            raise ValueError(f"site {row} is a dummy (_atom_site_calc_flag is 'dum'); remove it")
    symbols = block.get("_atom_site_type_symbol")
    if symbols is None:
        _check_labels(block.get("_atom_site_label", []))
    else:
        _check_symbols(symbols)


def _check_symbols(symbols: Sequence[str]) -> None:
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
