"""Units that columns of a table state: others than those that are read are an error."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._stated_units import are_expected_units, stated_quantity
from ._units import unit_factor

__all__ = ["OUR_UNITS", "check_unit", "check_unit_columns"]

#: Units of labels and of lengths, by quantity.
OUR_UNITS = {
    "energy": "eV",
    "forces": "eV/angstrom",
    "stress": "eV/angstrom^3",
    "length": "angstrom",
}


def check_unit_columns(
    columns: Mapping[str, np.ndarray], expected: Mapping[str, str], where: str
) -> None:
    """Check that columns such as ``energy_unit`` state the units that are expected.

    Parameters
    ----------
    columns : mapping of str to ndarray
        Columns by name; those that state no unit are passed over.
    expected : mapping of str to str
        The unit of each quantity that is read; a unit of anything else does not matter.
    where : str
        Beginning of the message: the rows and their file.

    Raises
    ------
    ValueError
        If a column states another unit, or one that is not understood.
    """
    for name, values in columns.items():
        quantity = stated_quantity(name)
        if quantity is None:
            continue
        stated = [value for value in np.asarray(values, dtype=object).tolist() if _is_text(value)]
        for text in dict.fromkeys(stated):
            check_unit(text, quantity, expected, f"{where}column {name!r}")


def check_unit(text: str, quantity: str, expected: Mapping[str, str], name: str) -> None:
    """Check one statement of a unit; a quantity of ``""`` stands for those of all labels."""
    if quantity == "":
        # Of targets alone, a unit without a name is theirs.
        if "energy" in expected and not are_expected_units(text, expected):
            listed = ", ".join(f"{key}: {unit}" for key, unit in expected.items())
            raise ValueError(
                f"{name} states the unit {text!r} of no named quantity; read are {listed}. Convert "
                "the labels, and drop that column."
            )
        return
    if quantity not in expected:
        return
    try:
        factor = unit_factor(text, quantity)
    except ValueError as error:
        raise ValueError(f"{name}: {error}. Correct it, or drop that column.") from error
    if not np.allclose(factor, unit_factor(expected[quantity], quantity), rtol=1e-6):
        raise ValueError(
            f"{name} states {text!r} for {quantity}; expected {expected[quantity]}. Convert the "
            "values, and correct or drop that column."
        )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
