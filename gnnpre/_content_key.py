"""Keys by content, independent of values that Python objects cache in themselves."""

import functools
import hashlib
import inspect
import pickle
import sys
from collections.abc import Mapping
from typing import Any

import joblib
import numpy as np
import torch
from sklearn.base import BaseEstimator

from ._version import __version__

__all__ = ["code_identity", "content_digest", "content_key"]

_PLAIN = (type(None), bool, int, float, complex, str, bytes, np.generic)


def content_key(*values: Any) -> str:
    """Return a key that is equal for equal content, in any process of this version of gnnpre."""
    key: str = joblib.hash((__version__, [_content(value) for value in values]), hash_name="sha1")
    return key


def content_digest(value: Any) -> str:
    """Return a digest that is equal for equal content, in any process and version of gnnpre."""
    digest: str = joblib.hash(_content(value), hash_name="sha1")
    return digest


def _content(value: Any) -> Any:
    """Return a value as nested tuples of arrays and plain values, whose pickle never changes."""
    if isinstance(value, _PLAIN):
        return type(value).__name__, value
    if isinstance(getattr(value, "module_", None), torch.nn.Module):
        # The weights of a skorch net count, its history does not.
        return "net", code_identity(type(value)), _content(value.module_)
    if isinstance(value, (BaseEstimator, Mapping, list, tuple, set, frozenset)):
        return _content_of_many(value)
    # By attributes: pymatgen, ASE and pandas need not be imported.
    if hasattr(value, "lattice") and hasattr(value, "sites"):
        return _content_of_pymatgen(value)
    if hasattr(value, "sites") and hasattr(value, "spin_multiplicity"):
        return _content_of_molecule(value)
    if hasattr(value, "arrays") and hasattr(value, "pbc"):
        return _content_of_ase(value)
    if isinstance(value, np.ndarray) and value.dtype == object:
        return "objects", value.shape, [_content(item) for item in value.ravel()]
    if hasattr(value, "iloc"):
        return _content_of_table(value)
    return _content_of_object(value)


def _content_of_many(value: Any) -> Any:
    """Return the content of estimators and containers, item by item."""
    if isinstance(value, BaseEstimator):
        # Parameters, and the fitted attributes of what a FrozenEstimator holds.
        return "estimator", code_identity(type(value)), _content(vars(value))
    if isinstance(value, Mapping):
        items = [(_content(key), _content(item)) for key, item in value.items()]
        return "dict", sorted(items, key=lambda item: joblib.hash(item[0]))
    if isinstance(value, (set, frozenset)):
        return "set", sorted(joblib.hash(_content(item)) for item in value)
    return type(value).__name__, [_content(item) for item in value]


def _content_of_pymatgen(structure: Any) -> Any:
    """Read a structure by attributes that cache nothing, properties that it carries included."""
    sites = structure.sites
    return (
        "pymatgen",
        [sorted((str(x), float(amount)) for x, amount in s.species.items()) for s in sites],
        _clean([site.frac_coords for site in sites]),
        _clean(structure.lattice.matrix),
        [bool(periodic) for periodic in structure.lattice.pbc],
        [_content(site.properties) for site in sites],
        _content(getattr(structure, "properties", {})),
        _content(getattr(structure, "_charge", None)),
    )


def _content_of_molecule(molecule: Any) -> Any:
    """Read a molecule of pymatgen by attributes that cache nothing."""
    sites = molecule.sites
    return (
        "molecule",
        [sorted((str(x), float(amount)) for x, amount in s.species.items()) for s in sites],
        _clean([site.coords for site in sites]),
        [_content(site.properties) for site in sites],
        _content(getattr(molecule, "properties", {})),
        _content([float(molecule.charge), int(molecule.spin_multiplicity)]),
    )


def _content_of_ase(atoms: Any) -> Any:
    """Read atoms with all arrays, which include tags and initial magnetic moments, and info."""
    arrays = {name: _clean(array) for name, array in atoms.arrays.items()}
    pbc = [bool(periodic) for periodic in atoms.pbc]
    info = _content(atoms.info)
    content: tuple[Any, ...] = "ase", _content(arrays), _clean(atoms.cell.array), pbc, info
    # Most atoms have neither: their keys stay as they are.
    calculator, constraints = getattr(atoms, "calc", None), getattr(atoms, "constraints", None)
    if constraints:
        content = (*content, "constraints", [_content(item.todict()) for item in constraints])
    return content if calculator is None else (*content, _content_of_calculator(calculator))


def _content_of_calculator(calculator: Any) -> Any:
    """Read the stored results of a calculator, but not computed ones, which only cache."""
    from ase.calculators.singlepoint import SinglePointCalculator

    identity = code_identity(type(calculator)), _content(getattr(calculator, "parameters", {}))
    if not isinstance(calculator, SinglePointCalculator):
        return identity
    # Its results hold for the atoms that it was made with, which the others may have moved from.
    results = {name: _clean(value) for name, value in calculator.results.items()}
    return *identity, _content(results), _content(calculator.atoms)


def _clean(values: Any) -> np.ndarray:
    """Return a copy of an array without negative zeros."""
    array = np.array(values)
    return array + 0.0 if array.dtype.kind == "f" else array


def _content_of_table(value: Any) -> Any:
    """Read a Series or DataFrame column by column, as they may hold structures."""
    index = _content(np.asarray(value.index))
    if value.ndim == 1:
        return "series", str(value.name), index, _content(np.asarray(value))
    columns = [_content(np.asarray(value.iloc[:, i])) for i in range(value.shape[1])]
    return "table", [str(name) for name in value.columns], index, columns


def _content_of_object(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return "tensor", value.detach().cpu().numpy()
    if isinstance(value, torch.nn.Module):
        # The pickle of a tensor has its address in memory.
        return "module", code_identity(type(value)), _content(dict(value.state_dict()))
    if isinstance(value, functools.partial):
        return "partial", _content(value.func), _content(value.args), _content(value.keywords)
    if inspect.isroutine(value):
        return _content_of_function(value)
    if isinstance(value, type):
        return "code", code_identity(value)
    return "object", code_identity(type(value)), _hash(value)


def _content_of_function(value: Any, outer: tuple[int, ...] = ()) -> Any:
    """Return the code of a function with all that it brings along: objects, cells and defaults."""
    bound = getattr(value, "__self__", None)
    brought = [None if inspect.ismodule(bound) else bound]
    brought += [getattr(value, name, None) for name in ("__defaults__", "__kwdefaults__")]
    contents = [_content(item) for item in brought]
    for cell in getattr(value, "__closure__", None) or ():
        if not _is_empty(cell):
            contents.append(_content_of_cell(cell.cell_contents, (*outer, id(value))))
    return "code", code_identity(value), contents


def _content_of_cell(value: Any, outer: tuple[int, ...]) -> Any:
    """Return the content of a variable that a function closes over.

    ``outer`` has the functions around it: a function may hold itself, or one that holds it.
    """
    inner = inspect.unwrap(value) if callable(value) else value
    if not inspect.isroutine(inner):
        return _content(inner)
    return code_identity(inner) if id(inner) in outer else _content_of_function(inner, outer)


def _is_empty(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018  the only way to ask
    except ValueError:
        return True
    return False


def _hash(value: Any) -> str:
    """Hash by pickle where joblib fails: it sorts the items of a dict, which not all can be."""
    try:
        return str(joblib.hash(value))
    except (RuntimeError, TypeError, ValueError):
        return hashlib.sha1(pickle.dumps(value)).hexdigest()


def code_identity(thing: Any) -> tuple[str, str]:
    """Return the name of a class or function, and its version or, without one, its source."""
    name = f"{thing.__module__}.{getattr(thing, '__qualname__', repr(thing))}"
    package = sys.modules.get(str(thing.__module__).partition(".")[0])
    version = getattr(package, "__version__", None)
    if version is not None:
        return name, str(version)
    try:
        return name, inspect.getsource(thing)
    except (OSError, TypeError):
        return name, ""
