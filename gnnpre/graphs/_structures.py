"""From pymatgen and ASE objects to flat arrays: the only module that reads them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._crystal_arrays import LARGEST_ATOMIC_NUMBER, crystal_of_row

__all__ = ["pack_structures"]

Arrays = dict[str, np.ndarray]


def pack_structures(structures: Sequence[Any]) -> Arrays:
    """Read structures into the arrays of :class:`Crystals`, and leave no trace in them."""
    from pymatgen.core import IStructure

    if all(isinstance(structure, IStructure) for structure in structures):
        arrays = _pack_pymatgen(structures)
    else:
        arrays = _join([_pack_one(i, s, IStructure) for i, s in enumerate(structures)])
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
    compositions = [site.species for sites in all_sites for site in sites]
    _check_order(compositions, n_atoms, first)
    numbers = [next(iter(composition)).Z for composition in compositions]
    fractional = np.concatenate([site.frac_coords for sites in all_sites for site in sites])
    cell = np.concatenate([structure.lattice.matrix for structure in structures]).reshape(-1, 3, 3)
    pbc = np.array([structure.lattice.pbc for structure in structures], dtype=bool)
    positions = np.einsum("ni,nij->nj", fractional.reshape(-1, 3), np.repeat(cell, n_atoms, axis=0))
    return {
        "atomic_numbers": _clip_numbers(numbers),
        "positions": positions,
        "cell": cell,
        "pbc": pbc,
        "n_atoms": n_atoms,
    }


def _check_order(compositions: list[Any], n_atoms: np.ndarray, first: int) -> None:
    for row, composition in enumerate(compositions):
        if len(composition) != 1 or abs(composition.num_atoms - 1.0) > 1e-8:
            crystal, atom = crystal_of_row(row, n_atoms)
            raise ValueError(
                f"Structure {first + crystal} is disordered: site {atom} holds {composition}. "
                "Expected one atom a site; order it first, with pymatgen's "
                "OrderDisorderedStructureTransformation for example."
            )


def _clip_numbers(numbers: list[int]) -> np.ndarray:
    """Atomic numbers, 0 for a dummy species (whose Z is a hash that no fixed-width int holds)."""
    return np.array([z if 0 < z <= LARGEST_ATOMIC_NUMBER else 0 for z in numbers], dtype=np.int32)


def _pack_one(index: int, structure: Any, pymatgen_type: type) -> Arrays:
    if isinstance(structure, pymatgen_type):
        return _pack_pymatgen([structure], index)
    if type(structure).__module__.split(".")[0] == "ase" or hasattr(structure, "arrays"):
        return _pack_ase(index, structure)
    hint = ""
    if hasattr(structure, "sites"):
        hint = " A molecule goes in as ASE Atoms with pbc=False (AseAtomsAdaptor.get_atoms)."
    raise TypeError(
        f"X[{index}] is of type {type(structure).__name__}; expected a pymatgen Structure or ASE "
        f"Atoms.{hint}"
    )


def _pack_ase(index: int, atoms: Any) -> Arrays:
    if len(atoms) == 0:
        raise ValueError(f"Structure {index} has no atoms.")
    return {
        "atomic_numbers": _clip_numbers(atoms.arrays["numbers"].tolist()),
        "positions": np.array(atoms.arrays["positions"], dtype=np.float64),
        "cell": np.array(atoms.cell.array, dtype=np.float64)[None],
        "pbc": np.array(atoms.pbc, dtype=bool)[None],
        "n_atoms": np.array([len(atoms)], dtype=np.int64),
    }


def _join(blocks: list[Arrays]) -> Arrays:
    return {name: np.concatenate([arrays[name] for arrays in blocks]) for name in blocks[0]}
