"""Names of compositions and structures from plain arrays."""

import warnings
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from ..graphs import Crystals

__all__ = [
    "chemical_system",
    "composition_keys",
    "element_keys",
    "formula_column",
    "reduced_formula",
    "structure_from_arrays",
]

#: A random number of 64 bits for each element: equal sums of others come about once in 1e19 pairs.
CODES = np.random.default_rng(0).integers(2**64, size=128, dtype=np.uint64)


def reduced_formula(numbers: np.ndarray) -> str:
    """Return the reduced formula as pymatgen writes it, such as ``Cu3Au``."""
    counts = Counter(np.asarray(numbers).tolist())
    return _reduced_formula(tuple(sorted(counts.items())))


@lru_cache(maxsize=65536)
def _reduced_formula(counts: tuple[tuple[int, int], ...]) -> str:
    from pymatgen.core import Composition, Element

    with warnings.catch_warnings():
        # Elements are sorted by electronegativity, and pymatgen warns that some have none.
        warnings.simplefilter("ignore", UserWarning)
        composition = Composition({Element.from_Z(z): count for z, count in counts})
        return str(composition.reduced_formula)


def chemical_system(numbers: np.ndarray) -> str:
    """Return the elements in alphabetical order, such as ``Au-Cu``."""
    from ase.data import chemical_symbols

    return "-".join(sorted(chemical_symbols[z] for z in set(np.asarray(numbers).tolist())))


def structure_from_arrays(
    numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray
) -> "Structure":
    """Build a pymatgen Structure with its sites where they are, not wrapped into the cell."""
    from pymatgen.core import Element, Lattice, Structure

    species = [Element.from_Z(z) for z in np.asarray(numbers).tolist()]
    return Structure(Lattice(cell), species, positions, coords_are_cartesian=True)


def composition_keys(crystals: "Crystals") -> np.ndarray:
    """Return a number for each crystal that those of one reduced composition share; (n,)."""
    counts = _element_counts(crystals)
    divisors = np.gcd.reduceat(counts.n, counts.starts)
    reduced = counts.n // divisors[counts.rows]
    return _keys(CODES[counts.elements] * reduced.astype(np.uint64), counts.starts)


def element_keys(crystals: "Crystals") -> np.ndarray:
    """Return a number for each crystal that those of the same elements share; (n,)."""
    counts = _element_counts(crystals)
    return _keys(CODES[counts.elements], counts.starts)


class _ElementCounts(NamedTuple):
    """Atoms of each element in each crystal, one entry for each pair that occurs."""

    rows: np.ndarray
    elements: np.ndarray
    n: np.ndarray
    #: Where the entries of each crystal begin.
    starts: np.ndarray


def _element_counts(crystals: "Crystals") -> _ElementCounts:
    rows = np.repeat(np.arange(len(crystals), dtype=np.int64), crystals.n_atoms)
    pairs, n = np.unique(rows * len(CODES) + crystals.atomic_numbers, return_counts=True)
    rows, elements = np.divmod(pairs, len(CODES))
    return _ElementCounts(rows, elements, n, np.searchsorted(rows, np.arange(len(crystals))))


def _keys(codes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return a number for each sum of codes; sums of 64 bits are exact, in any order."""
    _, keys = np.unique(np.add.reduceat(codes, starts), return_inverse=True)
    return np.asarray(keys)


def formula_column(crystals: "Crystals") -> np.ndarray:
    """Return the reduced formula of each crystal; array of objects of shape (n,)."""
    keys = composition_keys(crystals)
    _, firsts = np.unique(keys, return_index=True)
    formulas = np.array(
        [
            reduced_formula(
                crystals.atomic_numbers[crystals.offsets[row] : crystals.offsets[row + 1]]
            )
            for row in firsts.tolist()
        ],
        dtype=object,
    )
    return formulas[keys]
