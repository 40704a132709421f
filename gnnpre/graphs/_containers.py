"""From any accepted container of structures to packed crystals."""

from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np

from ._crystal_graphs import CrystalGraphs
from ._crystals import Crystals
from ._lazy_crystals import LazyCrystals
from ._lazy_graphs import LazyGraphs
from ._search_checks import check_searchable

__all__ = ["as_crystals", "as_structure_list", "check_container"]

ONE_COLUMN = (
    "scikit-learn's ensembles and resamplers, which convert lists to arrays, take "
    'pd.DataFrame({"structure": structures}).'
)


def as_crystals(X: Any) -> Crystals:
    """Return the crystals in ``X``, whichever of the accepted containers it is.

    All of them have cells and positions that a neighbour search can work with.
    """
    if isinstance(X, CrystalGraphs):
        crystals = X.to_crystals()
    elif isinstance(X, (LazyCrystals, LazyGraphs)):
        if len(X) == 0:
            raise ValueError("X has 0 crystals; a minimum of 1 is required.")
        crystals = (X.crystals if isinstance(X, LazyGraphs) else X).load()
    elif isinstance(X, Crystals):
        crystals = X
    else:
        crystals = Crystals.from_structures(X)
    if len(crystals) == 0:
        raise ValueError("X is empty: expected at least 1 crystal, a minimum of 1 is required.")
    check_searchable(crystals)
    return crystals


def check_container(X: Any) -> None:
    """Check that ``X`` is an accepted container with at least one crystal."""
    if not isinstance(X, (Crystals, CrystalGraphs, LazyCrystals, LazyGraphs)):
        as_structure_list(X)
    elif len(X) == 0:
        raise ValueError("X has 0 crystals; a minimum of 1 is required.")


def as_structure_list(X: Any) -> list[Any]:
    """Return the structures in ``X``, whichever of the accepted containers it is, as a list."""
    if isinstance(X, (list, tuple)):
        structures = list(X)
    else:
        problem = _problem(X)
        if problem is not None:
            raise TypeError(problem)
        structures = _read_container(X)
    if not structures:
        raise ValueError("X is empty: expected at least 1 structure, a minimum of 1 is required.")
    return structures


def _read_container(X: Any) -> list[Any]:
    columns = _column_names(X)
    if columns is not None and len(columns) != 1:
        raise ValueError(
            f"X is a table with {len(columns)} columns, {columns[:10]}; expected one column of "
            f"structures. Select it: X[{_likely_column(columns)!r}]."
        )
    if _is_polars(X):
        return (X.to_series() if columns is not None else X).to_list()
    if columns is not None and not hasattr(X, "iloc"):  # a Dataset of Hugging Face
        return list(X[columns[0]])
    if isinstance(X, np.ndarray) or hasattr(X, "iloc") or _is_pandas_index(X):
        return _list_from_array(np.asarray(X, dtype=object))
    if hasattr(X, "__array__") and getattr(X, "ndim", 1) == 0:  # its __iter__ raises
        raise TypeError(f"X is one {type(X).__name__} without rows; expected a list of structures.")
    return list(X)


def _column_names(X: Any) -> list[str] | None:
    """Return the names of the columns of a table of pandas, polars or Hugging Face, else None."""
    names = getattr(X, "columns", None)
    if names is None or isinstance(X, np.ndarray):
        names = getattr(X, "column_names", None)
    return None if names is None else list(names)


def _likely_column(columns: list[Any]) -> Any:
    """Return the column that probably holds the structures."""
    named = [name for name in columns if "struct" in str(name).lower()]
    return (named or columns or ["structure"])[0]


def _is_polars(X: Any) -> bool:
    return type(X).__module__.split(".")[0] == "polars"


def _is_pandas_index(X: Any) -> bool:
    return hasattr(X, "nlevels") and hasattr(X, "get_level_values")


def _list_from_array(array: np.ndarray) -> list[Any]:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            f"X is an array of shape {array.shape}; expected structures in a list, a Series, or an "
            "object array of shape (n,) or (n, 1). np.array(structures) makes an array of sites "
            f"out of equal-sized structures: keep the list. {ONE_COLUMN}"
        )
    return list(array)


def _problem(X: Any) -> str | None:
    """Return why ``X`` is not a container of structures, with the way out; None if it may be."""
    name = type(X).__name__
    single = f"X is one {name}; expected a list of structures. Pass [structure]."
    expected = (
        f"X is of type {name}; expected a list, tuple, Series, Crystals or object array of "
        "pymatgen Structures or ASE Atoms."
    )
    # By attributes, as importing pymatgen and ASE takes seconds.
    if hasattr(X, "sites") or (hasattr(X, "arrays") and hasattr(X, "cell")):
        return single
    if hasattr(X, "toatoms") or (hasattr(X, "composition") and hasattr(X, "structure")):
        return single
    if hasattr(X, "select") and hasattr(X, "get_atoms"):  # a database of ASE
        return f"{expected} Pass [row.toatoms() for row in database.select()]."
    if isinstance(X, (str, bytes, Path)):
        return f"{expected} Read files with gnnpre.datasets.read_structures."
    if isinstance(X, Mapping):
        return single if "sites" in list(X) else f"{expected} Pass list(X.values())."
    if isinstance(X, Iterator):
        return f"{expected} It can be read only once: pass list(X)."
    if isinstance(X, Set):
        return f"{expected} A set has no order: pass a list."
    return None if _is_sized(X) and not isinstance(X, type) else expected


def _is_sized(X: Any) -> bool:
    """Whether ``X`` can be read in order, more than once, and has a length."""
    return hasattr(X, "__len__") and (hasattr(X, "__iter__") or hasattr(X, "__getitem__"))
