"""Crystals as a table of what their composition says."""

import warnings
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["composition_table"]

N_ELEMENTS = 118
#: Properties of an element, as pymatgen names them.
PROPERTIES = ("Z", "row", "group", "X", "atomic_mass", "atomic_radius", "mendeleev_no")


def composition_table(structures: Any) -> np.ndarray:
    """Describe crystals by their composition: ``(n, 118 + 5 * 7)``.

    The part of each element, and of each property of elements (atomic number, period, group,
    electronegativity, mass, radius, Mendeleev number) mean, mean absolute deviation, smallest
    and largest value and their difference over the atoms, as in Magpie's features.
    """
    return np.stack([_row(structure.composition) for structure in structures])


def _row(composition: Any) -> np.ndarray:
    elements = list(composition.elements)
    parts = np.array([composition.get_atomic_fraction(element) for element in elements])
    share = np.zeros(N_ELEMENTS)
    share[[element.Z - 1 for element in elements]] = parts
    values = np.stack([_properties(element.Z) for element in elements])  # (elements, 7)
    mean = parts @ values
    deviation = parts @ np.abs(values - mean)
    low, high = values.min(axis=0), values.max(axis=0)
    return np.concatenate([share, mean, deviation, low, high, high - low])


@lru_cache(maxsize=N_ELEMENTS)
def _properties(number: int) -> np.ndarray:
    from pymatgen.core import Element

    element = Element.from_Z(number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of properties that an element has not
        values = [_value(element, name) for name in PROPERTIES]
    return np.nan_to_num(np.array(values, dtype=np.float64))


def _value(element: Any, name: str) -> float:
    """Give a property, 0 where an element has none (noble gases, say)."""
    value = getattr(element, name)
    return 0.0 if value is None else float(value)
