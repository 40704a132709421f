"""Names of compositions and structures from plain arrays."""

import warnings
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

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
    # The mean of a random number per element; equal means of other compositions do not happen.
    codes = np.random.default_rng(0).random(119)
    sums = np.add.reduceat(codes[crystals.atomic_numbers], crystals.offsets[:-1])
    _, keys = np.unique((sums / crystals.n_atoms).round(12), return_inverse=True)
    return np.asarray(keys)


def element_keys(crystals: "Crystals") -> np.ndarray:
    """Return a number for each crystal that those of the same elements share; (n,)."""
    rows = np.repeat(np.arange(len(crystals)), crystals.n_atoms)
    has_element = np.zeros((len(crystals), 119), dtype=bool)
    has_element[rows, crystals.atomic_numbers] = True
    codes = has_element @ np.random.default_rng(0).random(119)
    _, keys = np.unique(codes.round(12), return_inverse=True)
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
