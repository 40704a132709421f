"""Structures from the dictionaries that other packages write as JSON.

Only lattice, species and coordinates are read, as numbers and symbols. Nothing is decoded by name:
pymatgen's own decoder imports modules and builds callables that a file names in site properties.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

__all__ = ["StructureArrays", "arrays_from_dict", "atomic_number", "optimade_numbers"]

_FULL = 0.01  # occupancies of one element that sum up to 1 within this are one atom


class StructureArrays(NamedTuple):
    """Atomic numbers (N,), positions (N, 3) in Å, cell (3, 3) in Å as rows, and pbc (3,)."""

    atomic_numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray


def arrays_from_dict(content: Mapping[str, Any]) -> StructureArrays:
    """Return the structure that a dictionary describes.

    Parameters
    ----------
    content : mapping
        A pymatgen ``Structure`` or ``Molecule`` (``as_dict``) or an entry that has one, ASE
        ``Atoms`` (``todict``), JARVIS atoms, or a row with OPTIMADE's names, as LeMat-Bulk has.

    Returns
    -------
    StructureArrays
        The structure.

    Raises
    ------
    ValueError
        If the dictionary is none of these, or incomplete, disordered or not of numbers.
    """
    readers: dict[str, Callable[[Mapping[str, Any]], StructureArrays]] = {
        "sites": _from_pymatgen,
        "numbers": _from_ase,
        "lattice_mat": _from_jarvis,
        "cartesian_site_positions": _from_optimade,
    }
    # Each format has a key that no other has.
    for mark, reader in readers.items():
        if mark in content:
            return _checked(reader, content)
    # Entries of databases wrap the structure.
    for wrapper in ("structure", "atoms", "final_structure"):
        if isinstance(content.get(wrapper), Mapping):
            return arrays_from_dict(content[wrapper])
    raise ValueError(
        f"a dict with the keys {sorted(map(str, content))[:6]} is not a structure; expected a "
        "pymatgen Structure (as_dict), ASE Atoms (todict), JARVIS atoms or OPTIMADE's names"
    )


def _checked(
    reader: Callable[[Mapping[str, Any]], StructureArrays], content: Mapping[str, Any]
) -> StructureArrays:
    """Read a dictionary, and check shapes and finiteness."""
    try:
        structure = reader(content)
    except KeyError as error:
        raise ValueError(f"the structure has no entry {error}") from error
    except (TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError(f"an entry of the structure is of the wrong type ({error})") from error
    n = len(structure.atomic_numbers)
    shapes = [item.shape for item in structure]
    if n == 0 or shapes != [(n,), (n, 3), (3, 3), (3,)]:
        raise ValueError(
            f"the structure has atoms, positions, cell and pbc of shapes {shapes}; expected "
            "(N,), (N, 3), (3, 3) and (3,)"
        )
    if not (np.isfinite(structure.positions).all() and np.isfinite(structure.cell).all()):
        raise ValueError("a position or cell vector is not finite")
    return structure


def _numbers(values: Any, name: str) -> np.ndarray:
    array = np.asarray(_plain(values))
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name} should be numbers; it is {str(values)[:60]}")
    return array.astype(np.float64)


def _plain(values: Any) -> Any:
    """Return the numbers of an array that pymatgen or ASE has written as a dictionary."""
    if not isinstance(values, Mapping):
        return values
    if "array" in values:  # of ASE's Cell
        return _plain(values["array"])
    if "__ndarray__" in values:
        shape, _, numbers = values["__ndarray__"]
        return np.reshape(numbers, shape)
    return values["data"]


def _coordinates(sites: Any, name: str) -> np.ndarray:
    return _numbers([_plain(site[name]) for site in sites], name)


def _from_pymatgen(content: Mapping[str, Any]) -> StructureArrays:
    sites = content["sites"]
    if not sites:
        raise ValueError("the structure has no atoms")
    numbers = np.array([_site_number(site, row) for row, site in enumerate(sites)], dtype=np.int64)
    if content.get("lattice") is None:  # a Molecule
        positions = _coordinates(sites, "xyz")
        return StructureArrays(numbers, positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))
    lattice = content["lattice"]
    cell = _lattice_matrix(lattice)
    if all("abc" in site for site in sites):
        positions = _coordinates(sites, "abc") @ cell
    else:
        positions = _coordinates(sites, "xyz")
    return StructureArrays(numbers, positions, cell, _as_pbc(lattice.get("pbc", True)))


def _lattice_matrix(lattice: Mapping[str, Any]) -> np.ndarray:
    if "matrix" in lattice:
        return _numbers(lattice["matrix"], "lattice matrix")
    from pymatgen.core import Lattice

    names = ("a", "b", "c", "alpha", "beta", "gamma")
    return np.array(Lattice.from_parameters(*(float(lattice[name]) for name in names)).matrix)


def _site_number(site: Mapping[str, Any], row: int) -> int:
    """Return the one element of a site: oxidation states and isotopes do not matter."""
    species = site["species"]
    numbers = {atomic_number(item["element"]) for item in species}
    occupancy = sum(float(item["occu"]) for item in species)
    if len(numbers) != 1 or abs(occupancy - 1) > _FULL:
        listed = ", ".join(f"{item['element']}: {item['occu']}" for item in species)
        raise ValueError(
            f"site {row} is disordered ({listed}); expected one atom per site: order it first, "
            "with pymatgen's OrderDisorderedStructureTransformation for example"
        )
    return numbers.pop()


@lru_cache(maxsize=1024)
def atomic_number(symbol: str) -> int:
    """Return the atomic number of a symbol, with a charge or not; isotopes of hydrogen are H.

    Parameters
    ----------
    symbol : str
        Such as ``"Fe"``, ``"Fe3+"`` or ``"D"``.

    Returns
    -------
    int
        The atomic number.

    Raises
    ------
    ValueError
        If it is not a chemical element.
    """
    from ase.data import atomic_numbers

    match = re.fullmatch(r"([A-Z][a-z]?)(\d*\.?\d*[+-]|[+-]\d*\.?\d*)?", str(symbol))
    name = match[1] if match else ""
    number = atomic_numbers.get({"D": "H", "T": "H"}.get(name, name), 0)
    if number == 0:
        raise ValueError(f"{symbol!r} is not a chemical element")
    return int(number)


def _from_ase(content: Mapping[str, Any]) -> StructureArrays:
    return StructureArrays(
        _numbers(content["numbers"], "numbers").astype(np.int64),
        _numbers(content["positions"], "positions"),
        _numbers(content["cell"], "cell"),
        _as_pbc(content["pbc"]),
    )


def _from_jarvis(content: Mapping[str, Any]) -> StructureArrays:
    cell = _numbers(content["lattice_mat"], "lattice_mat")
    coordinates = _numbers(content["coords"], "coords")
    positions = coordinates if content["cartesian"] else coordinates @ cell
    numbers = [atomic_number(str(symbol).strip()) for symbol in content["elements"]]
    return StructureArrays(np.array(numbers), positions, cell, np.ones(3, dtype=bool))


def _from_optimade(content: Mapping[str, Any]) -> StructureArrays:
    dimensions = content.get("dimension_types")
    return StructureArrays(
        np.array(optimade_numbers(content)),
        _numbers(np.array(list(content["cartesian_site_positions"])), "cartesian_site_positions"),
        _numbers(np.array(list(content["lattice_vectors"])), "lattice_vectors"),
        _as_pbc(True if dimensions is None else dimensions),
    )


def optimade_numbers(content: Mapping[str, Any]) -> list[int]:
    """Return the atomic numbers of the sites, whose species may have any names.

    Parameters
    ----------
    content : mapping
        ``species_at_sites`` and perhaps ``species``, as OPTIMADE describes them.

    Returns
    -------
    list of int
        One for each site.

    Raises
    ------
    ValueError
        If a species is disordered, or no chemical element.
    """
    names = [str(name) for name in content["species_at_sites"]]
    species = content.get("species")
    # Tables have them as text, and files of this package not at all: names are symbols there.
    described = [] if species is None or isinstance(species, str) else list(species)
    by_name = {str(item["name"]): item for item in described}
    numbers = {
        name: _species_number(by_name[name]) if name in by_name else atomic_number(name)
        for name in dict.fromkeys(names)
    }
    return [numbers[name] for name in names]


def _species_number(species: Mapping[str, Any]) -> int:
    """Return the one element of a species of OPTIMADE, whose name may hide several."""
    symbols = [str(symbol) for symbol in species["chemical_symbols"]]
    shares = [float(share) for share in _entries(species, "concentration") or [1.0] * len(symbols)]
    attached = [str(symbol) for symbol in _entries(species, "attached")]
    if len(set(symbols)) != 1 or abs(sum(shares) - 1) > _FULL or attached:
        listed = ", ".join(f"{item[0]}: {item[1]}" for item in zip(symbols, shares, strict=False))
        more = f", with {', '.join(attached)} attached" if attached else ""
        raise ValueError(
            f"the species {species['name']!r} is disordered ({listed}{more}); expected one atom "
            "per site: order it first, with pymatgen's OrderDisorderedStructureTransformation for "
            "example"
        )
    return atomic_number(symbols[0])


def _entries(content: Mapping[str, Any], name: str) -> list[Any]:
    """Return the items of a list, of none if it is absent or null."""
    items = content.get(name)
    return [] if items is None else list(items)


def _as_pbc(pbc: Any) -> np.ndarray:
    array = np.asarray(_plain(pbc))
    if array.dtype.kind not in "biu" or array.shape not in {(), (3,)}:
        raise ValueError(f"pbc should be three of True and False; it is {str(pbc)[:40]}")
    return np.array(np.broadcast_to(array.astype(bool), 3))
