"""From pymatgen and ASE objects to flat arrays: the only module that reads them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gnnpre._labels import is_missing

from ._crystal_arrays import LARGEST_ATOMIC_NUMBER, crystal_of_row
from ._structure_dicts import arrays_from_dict
from ._structure_text import parse_text

__all__ = ["check_occupancy", "pack_structures"]

Arrays = dict[str, np.ndarray]


def pack_structures(structures: Sequence[Any]) -> Arrays:
    """Read structures into the arrays of :class:`Crystals`, and leave no trace in them."""
    from pymatgen.core import IStructure

    if all(isinstance(structure, IStructure) for structure in structures):
        arrays = _pack_pymatgen(structures)
    else:
        # ASE, texts, entries, or a mixture: one by one.
        arrays = _join([_pack_one(row, item) for row, item in enumerate(structures)])
    bad = np.flatnonzero(arrays["atomic_numbers"] == 0)
    if len(bad):
        crystal, atom = crystal_of_row(bad[0], arrays["n_atoms"])
        raise ValueError(
            f"Structure {crystal}: atom {atom} is a dummy species without an atomic number; "
            "expected elements 1 to 118. Replace or remove it."
        )
    return arrays


def _pack_pymatgen(structures: Sequence[Any], first: int = 0) -> Arrays:
    # Only attributes that cache nothing are read: a structure's pickle stays what it was.
    all_sites = [structure.sites for structure in structures]
    n_atoms = np.array([len(sites) for sites in all_sites], dtype=np.int64)
    if not n_atoms.all():
        raise ValueError(f"Structure {first + int(np.argmin(n_atoms))} has no atoms.")
    numbers = _read_numbers(all_sites, n_atoms, first)
    fractional = np.concatenate([site.frac_coords for sites in all_sites for site in sites])
    cell = np.concatenate([structure.lattice.matrix for structure in structures]).reshape(-1, 3, 3)
    pbc = np.array([structure.lattice.pbc for structure in structures], dtype=bool)
    # From fractional coordinates: Site.coords is computed on access, and would be cached.
    positions = np.einsum("ni,nij->nj", fractional.reshape(-1, 3), np.repeat(cell, n_atoms, axis=0))
    return {
        "atomic_numbers": _clip_numbers(numbers),
        "positions": positions,
        "cell": cell,
        "pbc": pbc,
        "n_atoms": n_atoms,
    }


def _read_numbers(all_sites: list[Any], n_atoms: np.ndarray, first: int) -> list[int]:
    """Return the atomic number on each site, which one element has to fill."""
    numbers: list[int] = []
    for sites in all_sites:
        for site in sites:
            composition = site.species
            try:
                # Fast path: nearly all sites hold one species.
                (species,) = composition
            except ValueError:
                species = _one_element(composition)
            if species is None or abs(composition.num_atoms - 1.0) > 1e-8:
                crystal, atom = crystal_of_row(len(numbers), n_atoms)
                raise ValueError(
                    f"Structure {first + crystal} is disordered: site {atom} holds {composition}. "
                    "Expected one element per site; order it first, with pymatgen's "
                    "OrderDisorderedStructureTransformation for example."
                )
            numbers.append(species.Z)
    return numbers


def _one_element(composition: Any) -> Any:
    """Return one of several species of the same element (Fe2+ and Fe3+, H and D), or None."""
    species = list(composition)
    return species[0] if len({one.Z for one in species}) == 1 else None


def _clip_numbers(numbers: list[int]) -> np.ndarray:
    """Atomic numbers, 0 for a dummy species (whose Z is a hash that no fixed-width int holds)."""
    return np.array([z if 0 < z <= LARGEST_ATOMIC_NUMBER else 0 for z in numbers], dtype=np.int32)


def _pack_one(row: int, structure: Any) -> Arrays:
    """Read a structure of any accepted type; ``row`` names it in errors."""
    from pymatgen.core import IMolecule, IStructure

    structure = _unwrap(structure)
    if isinstance(structure, str):
        structure = parse_text(structure, f"X[{row}]")
    if isinstance(structure, Mapping):
        return _pack_dict(row, structure)
    if isinstance(structure, IStructure):
        return _pack_pymatgen([structure], row)
    if isinstance(structure, IMolecule):
        return _pack_molecule(row, structure)
    if hasattr(structure, "arrays") and hasattr(structure, "cell"):
        return _pack_ase(row, structure)
    raise TypeError(
        f"X[{row}] is of type {type(structure).__name__}; expected a pymatgen Structure or ASE "
        f"Atoms.{_hint(structure)}"
    )


def _unwrap(structure: Any) -> Any:
    """Return the structure in an entry of pymatgen, a row of an ASE database, or Arrow's text."""
    if hasattr(structure, "as_py"):
        structure = structure.as_py()
    if isinstance(structure, Mapping) and isinstance(structure.get("attributes"), Mapping):
        return structure["attributes"]  # an entry of OPTIMADE
    if type(structure).__name__ == "AtomsRow" and hasattr(structure, "toatoms"):
        return structure.toatoms()
    if hasattr(structure, "composition") and hasattr(structure, "structure"):
        return structure.structure  # ComputedStructureEntry
    return structure


def _hint(structure: Any) -> str:
    if is_missing(structure):
        return " It is missing: leave that row out of X and of y."
    if hasattr(structure, "n_atoms") and hasattr(structure, "ids"):
        return " Readers return structures and targets: pass the first of the two."
    if isinstance(structure, bytes):
        return " Decode the text first: structure.decode()."
    if hasattr(structure, "structure"):
        return " Pass its structure: [item.structure for item in X]."
    if isinstance(structure, Path):
        return " Read files first, with gnnpre.datasets.read_structures for example."
    return ""


def _pack_dict(row: int, values: Mapping[str, Any]) -> Arrays:
    try:
        structure = arrays_from_dict(values)
    except ValueError as error:
        raise ValueError(f"X[{row}]: {error}.") from error
    return {
        "atomic_numbers": structure.atomic_numbers.astype(np.int32),
        "positions": structure.positions,
        "cell": structure.cell[None],
        "pbc": structure.pbc[None],
        "n_atoms": np.array([len(structure.atomic_numbers)], dtype=np.int64),
    }


def _pack_molecule(row: int, molecule: Any) -> Arrays:
    """Read a Molecule of pymatgen, which is not periodic and has no cell."""
    n_atoms = np.array([len(molecule)], dtype=np.int64)
    if not n_atoms.all():
        raise ValueError(f"Structure {row} has no atoms.")
    return {
        "atomic_numbers": _clip_numbers(_read_numbers([molecule.sites], n_atoms, row)),
        "positions": np.array([site.coords for site in molecule.sites], dtype=np.float64),
        "cell": np.zeros((1, 3, 3)),
        "pbc": np.zeros((1, 3), dtype=bool),
        "n_atoms": n_atoms,
    }


def _pack_ase(row: int, atoms: Any) -> Arrays:
    if len(atoms) == 0:
        raise ValueError(f"Structure {row} has no atoms.")
    check_occupancy(atoms.info.get("occupancy"), f"Structure {row}")
    return {
        "atomic_numbers": _clip_numbers(atoms.arrays["numbers"].tolist()),
        "positions": np.array(atoms.arrays["positions"], dtype=np.float64),
        "cell": np.array(atoms.cell.array, dtype=np.float64)[None],
        "pbc": np.array(atoms.pbc, dtype=bool)[None],
        "n_atoms": np.array([len(atoms)], dtype=np.int64),
    }


def check_occupancy(occupancy: Any, name: str) -> None:
    """Check that ASE's CIF reader has seen one element on each site.

    It keeps the first element of a disordered site among the atoms, and all of them in ``info``.

    Parameters
    ----------
    occupancy : object
        Shares of elements by site, the entry ``"occupancy"`` of ``info``; anything else passes.
    name : str
        Name of the structure in errors.

    Raises
    ------
    ValueError
        If a site is not filled by one element.
    """
    if not isinstance(occupancy, Mapping):
        return
    for site, shares in occupancy.items():
        if isinstance(shares, Mapping) and not _is_full(shares):
            raise ValueError(
                f"{name} is disordered: site {site} holds {dict(shares)} "
                "(info['occupancy'] of the Atoms). Expected one element per site; order it first, "
                "and delete that entry."
            )


def _is_full(shares: Mapping[str, Any]) -> bool:
    occupied = [share for share in shares.values() if share]
    return len(occupied) == 1 and abs(occupied[0] - 1.0) < 1e-3


def _join(blocks: list[Arrays]) -> Arrays:
    return {name: np.concatenate([arrays[name] for arrays in blocks]) for name in blocks[0]}
