"""Structures written as text: CIF, POSCAR, and JSON."""

import json
from typing import Any

from ._file_texts import parse_cifs, parse_poscar

__all__ = ["parse_text"]

# Texts are quoted in errors up to this length.
SHOWN = 40


def parse_text(text: str, name: str) -> Any:
    """Return a pymatgen structure, or the dict of one, from the content of a file.

    Parameters
    ----------
    text : str
        The content of a CIF, POSCAR or JSON file.
    name : str
        Name of the text in errors.

    Returns
    -------
    Structure or dict
        The structure; a dict where the text is JSON.

    Raises
    ------
    TypeError, ValueError
        If the text is none of these, or damaged.
    """
    stripped = text.lstrip()
    if stripped.startswith("{"):
        return _load_json(stripped, name)
    if "_cell_length_a" in text or len(stripped.splitlines()) >= 8:
        return _parse_file(text, name)
    raise TypeError(
        f"{name} is the text {text[:SHOWN]!r}; expected a pymatgen Structure, ASE Atoms, or the "
        "content of a CIF, POSCAR or pymatgen JSON file. Files are read by "
        "gnnpre.datasets.read_structures, or by pymatgen's Structure.from_file."
    )


def _load_json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not valid JSON: {error}.") from error


def _parse_file(text: str, name: str) -> Any:
    try:
        if "_cell_length_a" not in text:
            return parse_poscar(text)
        structures, _ = parse_cifs(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}.") from error
    if len(structures) > 1:
        raise ValueError(
            f"{name} is a CIF text with {len(structures)} structures; expected one per crystal."
        )
    return structures[0]
