"""From a list of structures to flat arrays: the only place that reads pymatgen and ASE objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._indexing import flat_indices, offsets_from_counts

__all__ = ["PackedCrystals", "as_structure_list", "crystal_of_row", "pack_crystals"]

# Below this ratio of volume to the product of the edge lengths a cell counts as singular.
SINGULAR_CELL = 1e-6
LARGEST_ATOMIC_NUMBER = 118
# Atoms per Å^3; solid hydrogen at 500 GPa has about one.
LARGEST_DENSITY = 10.0
# Å^3 that a structure may span: the search lays out images and bins over all of it.
LARGEST_SPAN = 1e8


@dataclass(frozen=True)
class PackedCrystals:
    """n crystals in flat arrays, before the search for neighbours."""

    atomic_numbers: np.ndarray  # (N,)
    positions: np.ndarray  # (N, 3) Å
    cell: np.ndarray  # (n, 3, 3) Å, rows
    pbc: np.ndarray  # (n, 3)
    n_atoms: np.ndarray  # (n,)

    def __len__(self) -> int:
        return len(self.n_atoms)

    def split(self, size: int) -> list["PackedCrystals"]:
        """Cut into parts of at most ``size`` crystals, as views."""
        starts = range(0, len(self), size)
        return [self.part(start, min(start + size, len(self))) for start in starts]

    def part(self, start: int, stop: int) -> "PackedCrystals":
        """Give the crystals from ``start`` up to ``stop``, as views."""
        first, count = int(self.n_atoms[:start].sum()), int(self.n_atoms[start:stop].sum())
        atoms, crystals = slice(first, first + count), slice(start, stop)
        return PackedCrystals(
            self.atomic_numbers[atoms],
            self.positions[atoms],
            self.cell[crystals],
            self.pbc[crystals],
            self.n_atoms[crystals],
        )

    def take(self, rows: np.ndarray) -> "PackedCrystals":
        """Give some of the crystals, in the order of ``rows``."""
        atoms = flat_indices(offsets_from_counts(self.n_atoms), rows)
        return PackedCrystals(
            self.atomic_numbers[atoms],
            self.positions[atoms],
            self.cell[rows],
            self.pbc[rows],
            self.n_atoms[rows],
        )


def as_structure_list(X: Any) -> list[Any]:
    """Give the structures in ``X``, whichever of the accepted containers it is, as a list."""
    if isinstance(X, (list, tuple)):
        structures = list(X)
    elif isinstance(X, np.ndarray) or hasattr(X, "iloc"):
        structures = _list_from_array(np.asarray(X, dtype=object))
    else:
        raise TypeError(_not_a_container(X))
    if not structures:
        raise ValueError("X is empty: expected at least 1 structure, a minimum of 1 is required.")
    return structures


def _list_from_array(array: np.ndarray) -> list[Any]:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            f"X is an array of shape {array.shape}; expected structures in a list, a Series, or an "
            "object array of shape (n,) or (n, 1). np.array(structures) makes an array of sites "
            "out of equal-sized structures: keep the list."
        )
    return list(array)


def _not_a_container(X: Any) -> str:
    if hasattr(X, "lattice") or hasattr(X, "cell") or hasattr(X, "sites"):
        return f"X is one {type(X).__name__}; expected a list of structures. Pass [structure]."
    return (
        f"X is of type {type(X).__name__}; expected a list, tuple, Series or object array of "
        "pymatgen Structures or ASE Atoms."
    )


def pack_crystals(structures: Sequence[Any]) -> PackedCrystals:
    """Read structures into flat arrays, without a trace left in them, and check every number."""
    from pymatgen.core import IStructure

    if all(isinstance(structure, IStructure) for structure in structures):
        crystals = _pack_pymatgen(structures)
    else:
        crystals = _join([_pack_one(i, s, IStructure) for i, s in enumerate(structures)])
    _check_cells(crystals)
    _check_atoms(crystals)
    _check_spread(crystals)
    return crystals


def _pack_pymatgen(structures: Sequence[Any], first: int = 0) -> PackedCrystals:
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
    return PackedCrystals(_clip_numbers(numbers), positions, cell, pbc, n_atoms)


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


def _pack_one(index: int, structure: Any, pymatgen_type: type) -> PackedCrystals:
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


def _pack_ase(index: int, atoms: Any) -> PackedCrystals:
    if len(atoms) == 0:
        raise ValueError(f"Structure {index} has no atoms.")
    return PackedCrystals(
        _clip_numbers(atoms.arrays["numbers"].tolist()),
        np.array(atoms.arrays["positions"], dtype=np.float64),
        np.array(atoms.cell.array, dtype=np.float64)[None],
        np.array(atoms.pbc, dtype=bool)[None],
        np.array([len(atoms)], dtype=np.int64),
    )


def _join(parts: list[PackedCrystals]) -> PackedCrystals:
    names = ("atomic_numbers", "positions", "cell", "pbc", "n_atoms")
    return PackedCrystals(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def crystal_of_row(row: int, counts: np.ndarray) -> tuple[int, int]:
    """Which crystal a flat row belongs to, and which of its rows it is."""
    offsets = offsets_from_counts(counts)
    crystal = int(np.searchsorted(offsets, row, side="right")) - 1
    return crystal, int(row - offsets[crystal])


def _check_atoms(crystals: PackedCrystals) -> None:
    bad = np.flatnonzero(crystals.atomic_numbers == 0)
    if len(bad):
        crystal, atom = crystal_of_row(bad[0], crystals.n_atoms)
        raise ValueError(
            f"Structure {crystal}: atom {atom} is a dummy species without an atomic number; "
            "expected elements 1 to 118. Replace or remove it."
        )
    bad = np.flatnonzero(~np.isfinite(crystals.positions).all(axis=1))
    if len(bad):
        crystal, atom = crystal_of_row(bad[0], crystals.n_atoms)
        raise ValueError(
            f"Structure {crystal}: atom {atom} has coordinates {crystals.positions[bad[0]]} that "
            "are not finite (NaN or infinity)."
        )


def _check_spread(crystals: PackedCrystals) -> None:
    starts = offsets_from_counts(crystals.n_atoms)[:-1]
    span = np.maximum.reduceat(crystals.positions, starts)
    span -= np.minimum.reduceat(crystals.positions, starts)
    # With a margin, so that a line of atoms, which has no volume, is seen too.
    bad = np.flatnonzero((span + 20.0).prod(axis=1) > LARGEST_SPAN)
    if len(bad):
        raise ValueError(
            f"Structure {bad[0]}: its atoms span "
            f"{' x '.join(f'{x:.3g}' for x in span[bad[0]])} Å, too far apart to search. Are the "
            "coordinates in Å? Wrap atoms that lie far outside of the cell into it."
        )


def _check_cells(crystals: PackedCrystals) -> None:
    bad = np.flatnonzero(~np.isfinite(crystals.cell).all(axis=(1, 2)))
    if len(bad):
        raise ValueError(f"Structure {bad[0]}: its cell holds NaN or infinity.")
    # A Gram determinant over the periodic rows alone: the others may be anything, zero too.
    periodic = crystals.pbc[:, :, None] * crystals.cell
    gram = periodic @ periodic.transpose(0, 2, 1)
    gram += np.eye(3) * ~crystals.pbc[:, :, None]
    lengths = np.sqrt(np.maximum(np.diagonal(gram, axis1=1, axis2=2), 0.0))
    volume = np.sqrt(np.maximum(np.linalg.det(gram), 0.0))
    bad = np.flatnonzero(~(volume > SINGULAR_CELL * lengths.prod(axis=1)))
    if len(bad):
        raise ValueError(
            f"Structure {bad[0]}: its cell is singular along its periodic directions "
            f"({crystals.cell[bad[0]].tolist()} Å, pbc {crystals.pbc[bad[0]].tolist()}); expected "
            "linearly independent vectors. Set pbc to False where it is not periodic."
        )
    _check_density(crystals, np.abs(np.linalg.det(crystals.cell)))


def _check_density(crystals: PackedCrystals, volume: np.ndarray) -> None:
    bad = np.flatnonzero(crystals.pbc.all(axis=1) & (crystals.n_atoms > LARGEST_DENSITY * volume))
    if len(bad):
        raise ValueError(
            f"Structure {bad[0]}: {crystals.n_atoms[bad[0]]} atoms in {volume[bad[0]]:.3g} Å^3 is "
            f"denser than {LARGEST_DENSITY:g} atoms per Å^3. Is the cell in another unit than Å?"
        )
