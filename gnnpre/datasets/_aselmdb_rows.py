"""Rows of aselmdb files, taken apart into columns of numbers."""

from array import array
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..graphs import Crystals, FrameLabels
from ._column_units import OUR_UNITS, check_unit_columns
from ._info_columns import info_column
from ._stress_matrix import to_matrices

__all__ = ["AselmdbColumns"]

_SCALARS = {int, float, str, bool}
_NUMBERS = {int, float}
_BITS = {0, 1}


class AselmdbColumns:
    """Rows as flat lists and arrays of numbers, one for each column."""

    def __init__(self) -> None:
        self.n_atoms: list[int] = []
        self.numbers: list[int] = []
        # Nearly all numbers are in these: arrays take the floats of a list as they are.
        self.positions: array[float] = array("d")
        self.cells: list[float] = []
        self.pbc: list[bool] = []
        self.energies: list[float] = []
        self.forces: array[float] = array("d")
        self.stresses: list[Any] = []
        self.ids: list[str] = []
        self.info: list[dict[str, Any]] = []

    def append(self, row: dict[str, Any]) -> None:
        """Take a row apart, and check the number of values of each column."""
        numbers, pbc = _flat(row["numbers"], None), _flat(row["pbc"], None)
        positions, cell = _flat(row["positions"], 3), _flat(row["cell"], 3)
        forces, energy, n = row.get("forces"), row.get("energy"), len(numbers)
        forces = [np.nan] * (3 * n) if forces is None else _flat(forces, 3)
        lengths = (len(positions), len(forces), len(cell), len(pbc))
        if n == 0 or lengths != (3 * n, 3 * n, 9, 3):
            raise ValueError(f"{n} atoms with {lengths} numbers of positions, forces, cell and pbc")
        self.n_atoms.append(n)
        self.numbers += numbers
        _extend(self.positions, positions)
        self.cells += cell
        self.pbc += pbc
        self.energies.append(np.nan if energy is None else energy)
        _extend(self.forces, forces)
        stress = row.get("stress")
        self.stresses.append(None if stress is None else _flat(stress, None))
        self.ids.append(str(row.get("unique_id", "")))
        self.info.append(_scalars(row))

    def convert(self, file: str) -> tuple[Crystals, FrameLabels]:
        """Return the rows as crystals and labels."""
        # Values of all rows at once: a check of each would take a tenth of the time.
        _check_members(self.pbc, _BITS, "pbc", "true and false")
        _check_members(map(type, self.energies), _NUMBERS, "energies", "numbers")
        crystals = Crystals(
            atomic_numbers=_whole_numbers(self.numbers),
            positions=np.frombuffer(self.positions).reshape(-1, 3),
            cell=np.array(self.cells, dtype=np.float64).reshape(-1, 3, 3),
            n_atoms=np.array(self.n_atoms),
            pbc=np.array(self.pbc, dtype=bool).reshape(-1, 3),
            ids=self.ids,
        )
        # Columns in the order of their first row; rows without one get a missing value.
        names = dict.fromkeys(name for values in self.info for name in values)
        info = {name: info_column([row.get(name) for row in self.info]) for name in names}
        check_unit_columns(info, OUR_UNITS, "")
        labels = FrameLabels(
            crystals.n_atoms,
            energy=np.array(self.energies),
            forces=np.frombuffer(self.forces).reshape(-1, 3),
            stress=_stress(self.stresses),
            info={**info, "file": np.full(len(crystals), file, dtype=object)},
        )
        return crystals, labels


def _scalars(row: dict[str, Any]) -> dict[str, Any]:
    """Return the scalars among key-value pairs and data."""
    data, pairs = row.get("data"), row.get("key_value_pairs")
    values = {**(data if type(data) is dict else {}), **(pairs or {})}
    if not values:
        return values
    return {name: value for name, value in values.items() if type(value) in _SCALARS}


def _flat(value: Any, width: int | None) -> list[Any]:
    """Return the numbers of an array, which ASE writes as [shape, dtype, numbers] or as lists.

    A table has rows of ``width`` numbers: one of another shape would be read in a wrong order.
    """
    if type(value) is dict:
        shape, _, value = value["__ndarray__"]
        if width is not None and len(shape) == 2 and shape[1] != width:
            raise ValueError(f"an array has the shape {shape}; expected rows of {width} numbers")
    while value and type(value[0]) is list:
        value = [number for row in value for number in row]
    return value if type(value) is list else list(value)


def _extend(column: "array[float]", values: list[Any]) -> None:
    """Append numbers, of which those that are null are missing."""
    try:
        column.fromlist(values)
    except TypeError:
        column.fromlist([np.nan if value is None else value for value in values])


def _check_members(values: Iterable[Any], allowed: set[Any], name: str, expected: str) -> None:
    """Check that all values are among those allowed."""
    wrong = [value for value in dict.fromkeys(values) if value not in allowed]
    if wrong:
        raise ValueError(f"{name} has {wrong[0]!r}; expected {expected}")


def _whole_numbers(values: list[Any]) -> np.ndarray:
    """Return atomic numbers, which some programs write as floats."""
    numbers = np.array(values, dtype=np.float64)
    if (numbers != np.floor(numbers)).any():
        raise ValueError(f"{numbers[numbers != np.floor(numbers)][0]} is not an atomic number")
    return numbers.astype(np.int64)


def _stress(values: list[Any]) -> np.ndarray:
    """Return stresses (n, 3, 3) from six or nine numbers."""
    stress = np.full((len(values), 3, 3), np.nan)
    rows = [row for row, value in enumerate(values) if value]
    numbers = [np.array(values[row], dtype=np.float64) for row in rows]
    stress[rows] = to_matrices(numbers, "ase", lambda i: "its stress")
    return stress
