"""From any accepted container of structures to packed crystals."""

from typing import Any

import numpy as np

from ._crystal_graphs import CrystalGraphs
from ._crystals import Crystals
from ._search_checks import check_searchable

__all__ = ["as_crystals", "as_structure_list"]


def as_crystals(X: Any) -> Crystals:
    """Return the crystals in ``X``, whichever of the accepted containers it is.

    All of them have cells and positions that a neighbour search can work with.
    """
    if isinstance(X, CrystalGraphs):
        crystals = X.to_crystals()
    elif isinstance(X, Crystals):
        crystals = X
    else:
        crystals = Crystals.from_structures(X)
    if len(crystals) == 0:
        raise ValueError("X is empty: expected at least 1 crystal, a minimum of 1 is required.")
    check_searchable(crystals)
    return crystals


def as_structure_list(X: Any) -> list[Any]:
    """Return the structures in ``X``, whichever of the accepted containers it is, as a list."""
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
