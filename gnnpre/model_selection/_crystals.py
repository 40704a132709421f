"""Crystals of any accepted container as flat arrays, and their compositions."""

from typing import Any

import numpy as np

from gnnpre.datasets import chemical_system, reduced_formula
from gnnpre.graphs import CrystalGraphs, Crystals, as_crystals

__all__ = [
    "anonymous_formulas",
    "atoms_by_crystal",
    "chemical_systems",
    "read_crystals",
    "reduced_formulas",
]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
LARGEST_ATOMIC_NUMBER = 118


def read_crystals(X: Any, name: str = "X") -> Crystals:
    """Read structures or graphs into flat arrays; ``name`` is that of the argument."""
    if isinstance(X, CrystalGraphs) and len(X) == 0:
        raise ValueError(f"{name} is empty: expected graphs of at least 1 crystal.")
    try:
        return as_crystals(X)
    except (TypeError, ValueError) as error:
        if name == "X":
            raise
        raise type(error)(f"{name}: {error}") from error


def atoms_by_crystal(values: np.ndarray, crystals: Crystals) -> list[np.ndarray]:
    """Cut an array with a row an atom into the rows of each crystal."""
    return np.split(values, np.cumsum(crystals.n_atoms)[:-1])


def reduced_formulas(crystals: Crystals) -> np.ndarray:
    """Write reduced formulas as pymatgen does."""
    rows = atoms_by_crystal(crystals.atomic_numbers, crystals)
    return np.array([reduced_formula(numbers) for numbers in rows])


def chemical_systems(crystals: Crystals) -> np.ndarray:
    """Write the elements of each crystal in alphabetical order, such as ``Cl-Na``."""
    rows = atoms_by_crystal(crystals.atomic_numbers, crystals)
    return np.array([chemical_system(numbers) for numbers in rows])


def anonymous_formulas(crystals: Crystals) -> np.ndarray:
    """Write formulas with letters for elements, the rarest first, such as ``AB2``."""
    crystal = np.repeat(np.arange(len(crystals)), crystals.n_atoms)
    key = crystal * (LARGEST_ATOMIC_NUMBER + 1) + crystals.atomic_numbers
    keys, counts = np.unique(key, return_counts=True)
    starts = np.searchsorted(keys // (LARGEST_ATOMIC_NUMBER + 1), np.arange(len(crystals)))
    reduced = counts // np.repeat(
        np.gcd.reduceat(counts, starts), np.diff(np.append(starts, len(counts)))
    )
    return np.array([_in_letters(amounts) for amounts in np.split(reduced, starts[1:])])


def _in_letters(counts: np.ndarray) -> str:
    # After Z come A', B', ...: no crystal known has so many elements.
    names = [LETTERS[i % 26] + "'" * (i // 26) for i in range(len(counts))]
    pairs = zip(names, np.sort(counts).tolist(), strict=True)
    return "".join(name + (str(count) if count > 1 else "") for name, count in pairs)
