"""Structures written as text or dicts: CIF, POSCAR, and pymatgen's JSON.

Nothing in a text or dict decides which code runs: only lattices, species and coordinates are read,
and pymatgen's ``from_dict``, which imports the modules that site properties name, is not used.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ._file_texts import parse_cifs, parse_poscar

__all__ = ["parse_dict", "parse_text"]

# Texts are quoted in errors up to this length.
SHOWN = 40


def parse_text(text: str, name: str) -> Any:
    """Build a pymatgen structure from the content of a CIF, POSCAR or JSON file.

    ``name`` stands for the text in errors.
    """
    stripped = text.lstrip()
    if stripped.startswith("{"):
        return parse_dict(_load_json(stripped, name), name)
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
        raise ValueError(f"{name} is no valid JSON: {error}.") from error


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


def parse_dict(values: Any, name: str) -> Any:
    """Build a pymatgen structure from the dict of ``Structure.as_dict`` or of an entry with one."""
    if isinstance(values, Mapping) and isinstance(values.get("structure"), Mapping):
        values = values["structure"]
    if not (isinstance(values, Mapping) and "lattice" in values and "sites" in values):
        keys = sorted(map(str, values))[:8] if isinstance(values, Mapping) else "no keys"
        raise TypeError(
            f"{name} is of type dict with {keys}; expected a pymatgen Structure, ASE Atoms, or the "
            "dict of Structure.as_dict()."
        )
    try:
        return _build(values)
    except Exception as error:
        raise ValueError(
            f"{name} is no valid dict of a structure: {type(error).__name__}: {error}."
        ) from error


def _build(values: Mapping[str, Any]) -> Any:
    from pymatgen.core import Structure

    lattice, sites = _read_lattice(values["lattice"]), values["sites"]
    cartesian = bool(sites) and "abc" not in sites[0]
    coordinates = [_numbers(site["xyz" if cartesian else "abc"]) for site in sites]
    species = [_read_species(site["species"]) for site in sites]
    return Structure(lattice, species, coordinates, coords_are_cartesian=cartesian)


def _read_lattice(values: Mapping[str, Any]) -> Any:
    from pymatgen.core import Lattice

    a, b, c = (bool(periodic) for periodic in values.get("pbc", (True, True, True)))
    pbc = (a, b, c)
    if "matrix" in values:
        return Lattice(_numbers(values["matrix"]), pbc=pbc)
    names = ("a", "b", "c", "alpha", "beta", "gamma")
    return Lattice.from_parameters(*(float(values[name]) for name in names), pbc=pbc)


def _numbers(values: Any) -> np.ndarray:
    """Read numbers; those of an array are written as ``{"@class": "array", "data": ...}``."""
    if isinstance(values, Mapping):
        values = values["data"]
    return np.asarray(values, dtype=np.float64)


def _read_species(species: Any) -> dict[Any, float]:
    """Read the elements on a site; oxidation states do not matter to a graph."""
    from pymatgen.core import DummySpecies, Element

    amounts: dict[Any, float] = {}
    for one in species:
        symbol = str(one["element"])
        element = Element(symbol) if Element.is_valid_symbol(symbol) else DummySpecies(symbol)
        amounts[element] = amounts.get(element, 0.0) + float(one["occu"])
    return amounts
