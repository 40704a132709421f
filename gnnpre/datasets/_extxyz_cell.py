"""The cell and the periodic directions of an extended XYZ frame, by any name they have there."""

import re
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["parse_cell"]

# Words that other programs use in the name of the cell, and of the periodic directions.
_CELL_WORDS = {"cell", "cells", "unitcell", "supercell", "lattice", "latt", "lat", "box", "celldm"}
_CELL_WORDS |= {"dimensions", "dims", "tv", "alat", "acell", "rprim"}
_LENGTH_WORDS = {"alat", "acell", "celldm"}
_CELL_NAMES = {"latticevectors", "cellvectors", "latticeparameters", "cellparameters"}
_PERIODIC_NAMES = {"periodic", "periodicity", "pbcs", "boundary", "boundaries"}
_PERIODIC_NAMES |= {"periodicboundaryconditions", "boundaryconditions", "periodicdirections"}


def parse_cell(entries: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the cell and the periodic directions, removed from the entries of a comment line.

    Parameters
    ----------
    entries : dict
        Entries of the comment line, reserved names in lower case.

    Returns
    -------
    cell : ndarray of shape (3, 3)
        Cell vectors as rows, zero if there is none.
    pbc : ndarray of shape (3,)
        Periodic directions.

    Raises
    ------
    ValueError
        If either is malformed, or seems to stand in an entry of another name.
    """
    pbc = _parse_pbc(entries.pop("pbc")) if "pbc" in entries else None
    if pbc is None:
        _check_periodic_names(entries)
    if "lattice" in entries:
        lattice = np.asarray(entries.pop("lattice"))
        if lattice.shape != (9,) or lattice.dtype.kind not in "iuf":
            raise ValueError(f"Lattice should be nine numbers; it is {lattice.tolist()!r:.60}")
        return lattice.reshape(3, 3), np.ones(3, dtype=bool) if pbc is None else pbc
    # A cell under a name that ASE ignores would silently make a molecule.
    name = next((n for n in _cell_names(tuple(entries)) if _is_cell(n, entries[n])), None)
    if name is not None:
        raise ValueError(
            f"its cell seems to stand in {name!r}; rename it to Lattice, nine numbers: the "
            "three cell vectors one after the other"
        )
    if pbc is not None and pbc.any():
        raise ValueError("it is periodic (pbc) and has no Lattice; add it, or set pbc='F F F'")
    return np.zeros((3, 3)), np.zeros(3, dtype=bool)


@lru_cache(maxsize=1024)
def _cell_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names that may be those of a cell."""
    lower = {name.lower() for name in names}
    axes = {"a", "b", "c"} if {"a", "b", "c"} <= lower else set()
    return tuple(
        name
        for name in names
        if name.lower() in axes
        or re.sub(r"[\W_]", "", name.lower()) in _CELL_NAMES
        or _CELL_WORDS & set(_words(name))
    )


def _words(name: str) -> list[str]:
    """Return the words of ``cell_abc``, ``unitCell`` or ``Tv_1``, in lower case."""
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())


def _is_cell(name: str, value: Any) -> bool:
    array = np.asarray(value)
    # One number is the length of a vector; "cell=7" may be a count.
    sizes = {3, 6, 9} if (_CELL_WORDS - _LENGTH_WORDS) & set(_words(name)) else {1, 3, 6, 9}
    return array.dtype.kind in "iuf" and array.size in sizes


def _check_periodic_names(entries: dict[str, Any]) -> None:
    """Check that no entry of another name states that a direction is not periodic."""
    for name in _periodic_names(tuple(entries)):
        value = entries[name]
        if isinstance(value, str) and re.fullmatch(r"[pfsm]{1,2}(\s[pfsm]{1,2}){2}", value):
            value = [item == "p" or item == "pp" for item in value.split()]  # as LAMMPS writes it
        try:
            is_periodic = _parse_pbc(value)
        except ValueError:
            continue  # another meaning
        if not is_periodic.all():
            raise ValueError(
                f"its periodic directions seem to stand in {name!r}; rename it to pbc, three of T "
                "and F, such as pbc='T T F'"
            )


@lru_cache(maxsize=1024)
def _periodic_names(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if re.sub(r"[\W_]", "", name.lower()) in _PERIODIC_NAMES)


def _parse_pbc(value: Any) -> np.ndarray:
    """Return the periodic directions from ``T T F``, ``1 1 0``, ``TTF`` or one value for all."""
    if isinstance(value, np.ndarray) and value.dtype == bool and value.shape == (3,):
        return value
    if isinstance(value, str) and re.fullmatch("[TtFf]{3}", value):
        value = [letter in "Tt" for letter in value]
    array = np.asarray(value)
    if array.shape in {(), (3,)} and array.dtype.kind in "biu" and np.isin(array, (0, 1)).all():
        return np.broadcast_to(array.astype(bool), 3)
    raise ValueError(f"pbc={value!r:.40} should be three of T and F, such as pbc='T T F'")
