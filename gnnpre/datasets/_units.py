"""Units as files write them, converted to eV, Å, eV/Å and eV/Å^3."""

import re
import unicodedata
from collections import Counter
from functools import lru_cache
from typing import NamedTuple

__all__ = ["accepted_units", "unit_factor"]

_ACCEPTED = {
    "energy": "eV, meV, Ha, Ry, kcal/mol, kJ/mol, each also per atom (eV/atom)",
    "forces": "eV/A, meV/A, eV/nm, Ha/bohr, Ry/bohr, kcal/mol/A, kJ/mol/nm",
    "stress": "eV/A^3, meV/A^3, Ha/bohr^3, Ry/bohr^3, GPa, MPa, kbar, bar, Pa",
    "virial": "eV, meV, Ha, Ry, kcal/mol, kJ/mol",
    "length": "A (angstrom), nm, pm, bohr",
}
# Power of length beside one energy. A stress may be a pressure instead.
_LENGTH_POWER = {"energy": 0, "forces": -1, "stress": -3, "virial": 0}
# Denominators that only repeat that an energy is the cell's.
_WHOLE_CELL = {"cell", "unitcell", "supercell", "structure", "frame", "config", "configuration"}
_FACTOR = re.compile(r"(a0|[A-Za-z]+)(?:\^?([+-]?\d+))?")


class _Unit(NamedTuple):
    """A factor to our units, and the powers of each dimension."""

    factor: float
    powers: Counter[str]


def accepted_units(quantity: str) -> str:
    """Return the units of a quantity that are understood, for error messages."""
    return _ACCEPTED[quantity]


@lru_cache(maxsize=1024)
def unit_factor(text: str, quantity: str) -> tuple[float, bool]:
    """Return the factor from a stated unit to ours.

    Parameters
    ----------
    text : str
        The unit, such as ``"eV/Ang^3"``, ``"HARTREE/BOHR"``, ``"kcal mol-1 A-1"`` or ``"kbar"``.
        Case matters only where it decides: ``meV`` is not ``MeV``, ``MPa`` not ``mPa``.
    quantity : {"energy", "forces", "stress", "virial", "length"}
        The quantity that has this unit.

    Returns
    -------
    factor : float
        Multiply by this to get eV, eV/Å, eV/Å^3, eV or Å.
    per_atom : bool
        Whether the unit is one per atom (of an energy only).

    Raises
    ------
    ValueError
        If the unit is not understood, or is none of such a quantity.
    """
    unit = _parse(text)
    if unit is not None:
        powers = {dimension: power for dimension, power in unit.powers.items() if power}
        per_atom = powers.pop("atom", 0) == -1 and quantity == "energy"
        if (per_atom or "atom" not in unit.powers) and powers in _allowed_powers(quantity):
            return unit.factor, per_atom
    raise ValueError(
        f"{text!r} is not a known unit of {quantity}; known units are {accepted_units(quantity)}"
    )


def _allowed_powers(quantity: str) -> list[dict[str, int]]:
    if quantity == "length":
        return [{"length": 1}]
    length_power = _LENGTH_POWER[quantity]
    allowed = [{"energy": 1} | ({"length": length_power} if length_power else {})]
    return [*allowed, {"pressure": 1}] if quantity == "stress" else allowed


def _parse(text: str) -> _Unit | None:
    """Multiply the factors of a unit; None if one of them is not in the table."""
    factor, powers = 1.0, Counter[str]()
    # "eV/Å^3" is the factors of "eV" over those of "Å^3".
    for position, segment in enumerate(_normalise(text).split("/")):
        sign = -1 if position else 1
        for item in re.split(r"[\s*·.]+", segment.strip()):
            match = _FACTOR.fullmatch(item)
            base = _look_up(match[1]) if match else None
            if match is None or base is None:
                return None
            power = sign * int(match[2] or 1)
            # No unit of a label has a higher power; 10^400 would overflow.
            if abs(power) > 3:
                return None
            factor *= base.factor**power
            for dimension in base.powers:
                powers[dimension] += power
    return _Unit(factor, powers)


def _normalise(text: str) -> str:
    """Write a unit with plain letters, ``/`` and ``^``."""
    # Without accents: "Å" is "A", "ångström" is "angstrom".
    plain = unicodedata.normalize("NFKD", text).replace("\N{MINUS SIGN}", "-")
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    plain = plain.replace("\\AA", "A").replace("**", "^")
    plain = re.sub(r"(?i)\ba\.u\.?", "au", plain)
    # "eV_per_Angstrom", "eV per Angstrom"; then "electron_volt".
    plain = re.sub(r"(?i)[\s_-]+per[\s_-]+", "/", plain).replace("_", "")
    # In "kcal/(mol A)" all of the parenthesis divides.
    plain = re.sub(r"/\s*\(([^()]*)\)", lambda m: "/" + re.sub(r"[\s*·]+", "/", m[1]), plain)
    # "kcal/mol-A", as manuals of LAMMPS write it; "mol-1" has a power instead.
    plain = re.sub(r"(?<=[A-Za-z])-(?=[A-Za-z])", "/" if "/" in plain else " ", plain)
    plain = re.sub(r"[()\[\]\s]+", " ", plain).strip()
    # Energies per mole of cells become one word, since mol occurs nowhere else.
    mole = r"(?i)\b(kcal|kj)\s*(?:/\s*mole?|[\s*·.]+mole?\^?-1)(?![a-z])"
    return re.sub(mole, r"\1permol", plain)


def _look_up(name: str) -> _Unit | None:
    """Return the unit of that name in any case, but for the prefixes m and M."""
    prefixed = name[0] + name[1:].lower()
    if prefixed in _units():
        return _units()[prefixed]
    # What is left of those with m or M is ambiguous: "MEV", "mpa".
    return None if prefixed[0] == "M" else _units().get(name.lower())


@lru_cache
def _units() -> dict[str, _Unit]:
    from ase import units

    energies = dict.fromkeys(("ev", "electronvolt", "electronvolts"), 1.0) | {"mev": 1e-3}
    energies |= dict.fromkeys(("ha", "hartree", "hartrees", "eh"), units.Hartree)
    energies |= dict.fromkeys(("ry", "ryd", "rydberg", "rydbergs"), units.Rydberg)
    energies |= {"mha": 1e-3 * units.Hartree, "mry": 1e-3 * units.Rydberg}
    energies |= {"kcalpermol": units.kcal / units.mol, "kjpermol": units.kJ / units.mol}
    pressures = {"pa": units.Pascal, "kpa": 1e3 * units.Pascal, "Mpa": 1e6 * units.Pascal}
    pressures |= {"gpa": units.GPa, "bar": units.bar, "kbar": 1e3 * units.bar}
    pressures |= {"kb": 1e3 * units.bar, "Mbar": 1e6 * units.bar, "atm": 1.01325 * units.bar}
    angstroms = ("a", "aa", "ang", "angs", "angst", "angstrom", "angstroms", "angstroem")
    lengths = dict.fromkeys(angstroms, 1.0) | {"nm": 10.0, "pm": 0.01}
    lengths |= dict.fromkeys(("bohr", "bohrs", "a0", "au"), units.Bohr)
    table = {name: _Unit(1.0, Counter(["atom"])) for name in ("atom", "atoms")}
    table |= {name: _Unit(1.0, Counter()) for name in _WHOLE_CELL}
    for dimension, factors in (("energy", energies), ("pressure", pressures), ("length", lengths)):
        table |= {name: _Unit(factor, Counter([dimension])) for name, factor in factors.items()}
    return table
