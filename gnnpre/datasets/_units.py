"""Units that files state for their labels, as factors to eV, eV/Å and eV/Å^3."""

import re
from functools import lru_cache

__all__ = ["unit_factor"]

# What each label is made of: energy over a power of length, or a pressure.
_LENGTH_POWER = {"energy": 0, "forces": 1, "stress": 3, "virial": 0}
_EXAMPLES = {
    "energy": "eV, meV, Ha, Ry, kcal/mol, kJ/mol, each also /atom",
    "forces": "eV/A, meV/A, Ha/bohr, Ry/bohr, kcal/mol/A",
    "stress": "eV/A^3, meV/A^3, Ha/bohr^3, Ry/bohr^3, GPa, MPa, kbar, bar",
    "virial": "eV, meV, Ha, Ry",
}


def unit_factor(text: str, label: str) -> tuple[float, bool]:
    """Give the factor from a stated unit to ours.

    Parameters
    ----------
    text : str
        The unit, such as ``"eV/Ang^3"`` or ``"kbar"``.
    label : {"energy", "forces", "stress", "virial"}
        What has that unit.

    Returns
    -------
    factor : float
        What to multiply with to get eV, eV/Å or eV/Å^3.
    per_atom : bool
        Whether the unit is one per atom.

    Raises
    ------
    ValueError
        If the unit is unknown or no unit of such a label.
    """
    numerator, length_power, length, per_atom = _parse(text)
    if label == "stress" and length_power == 0 and numerator in _pressures():
        return _pressures()[numerator], _refuse_per_atom(text, label, per_atom)
    if numerator not in _energies() or length_power != _LENGTH_POWER[label]:
        raise ValueError(f"{text!r} is no known unit of {label}; known are {_EXAMPLES[label]}")
    if label != "energy":
        _refuse_per_atom(text, label, per_atom)
    return _energies()[numerator] / length**length_power, per_atom


def _refuse_per_atom(text: str, label: str, per_atom: bool) -> bool:
    if per_atom:
        raise ValueError(f"{text!r} is no known unit of {label}; known are {_EXAMPLES[label]}")
    return False


def _parse(text: str) -> tuple[str, int, float, bool]:
    """Split ``energy/length^power/atom``: energy folded in case, power, length in Å, per atom."""
    compact = re.sub(r"[\s()]", "", text).replace("**", "^").replace("³", "^3").replace("Å", "A")
    parts = re.sub(r"(?i)(kcal|kj)/mol(e)?(?![a-z])", r"\1permol", compact).split("/")
    per_atom = parts[-1].lower() in {"atom", "atoms"}
    if per_atom:
        parts = parts[:-1]
    numerator = _fold(parts[0])
    if len(parts) == 1:
        return numerator, 0, 1.0, per_atom
    match = re.fullmatch(r"([A-Za-z]+|a0)\^?([1-3]?)", parts[1]) if len(parts) == 2 else None
    if match is None or match[1].lower() not in _lengths():
        return "", 0, 1.0, per_atom
    return numerator, int(match[2] or 1), _lengths()[match[1].lower()], per_atom


def _fold(name: str) -> str:
    """Lower case, but for the prefix m, which is not M."""
    return name if name.startswith("M") else name.lower()


@lru_cache
def _energies() -> dict[str, float]:
    from ase import units

    names = {"ha": units.Hartree, "hartree": units.Hartree, "eh": units.Hartree}
    names |= {"ry": units.Rydberg, "rydberg": units.Rydberg, "ev": 1.0, "mev": 1e-3}
    return names | {"kcalpermol": units.kcal / units.mol, "kjpermol": units.kJ / units.mol}


@lru_cache
def _pressures() -> dict[str, float]:
    from ase import units

    names = {"gpa": units.GPa, "MPa": 1e-3 * units.GPa, "pa": units.Pascal}
    return names | {"bar": units.bar, "kbar": 1e3 * units.bar, "kb": 1e3 * units.bar}


@lru_cache
def _lengths() -> dict[str, float]:
    from ase.units import Bohr

    return {"a": 1.0, "ang": 1.0, "angstrom": 1.0, "angstroms": 1.0, "bohr": Bohr, "a0": Bohr}
