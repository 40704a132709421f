"""Units that the comment lines of frames state, in any spelling, as factors to ours."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ._frame_blocks import FrameBlock
from ._units import accepted_units, unit_factor

__all__ = [
    "StatedFactors",
    "are_expected_units",
    "check_unit_entries",
    "is_unit_entry",
    "read_factors",
    "squash",
    "stated_quantity",
]

# Names of quantities as they stand before or after "unit", without case and punctuation.
_SUBJECTS = {
    "energy": {"energy", "energies", "e", "etot", "totalenergy", "potentialenergy", "freeenergy"},
    "forces": {"force", "forces", "f", "atomicforces"},
    "stress": {"stress", "stresses", "stresstensor", "pressure", "pressures"},
    "virial": {"virial", "virials", "virialtensor"},
    "length": {
        *("length", "lengths", "distance", "distances", "position", "positions", "pos"),
        *("coordinate", "coordinates", "coord", "coords", "cell", "lattice", "box", "xyz"),
    },
}
# Words before the name of a quantity that say where it is from.
_SOURCES = {"ref", "dft", "vasp", "qe", "mace", "total", "potential", "free", "my", "pbe"}
# Quantities that are not read, so that their unit does not matter.
_IRRELEVANT = re.compile(
    "charge|dipole|magmom|magnet|spin|time|velocit|moment|temperature|mass|frequenc|hessian|"
    "polari|gap|volume|density|dos|fermi|angle|field|enthalpy|entropy|formationenergy|hull|cutoff"
)
# Values of `units=` that name our own units. LAMMPS' "metal" is none: its pressure is in bar.
_OUR_UNITS = {"ase", "ev", "angstrom", "ang", "a"}


class _Statement(NamedTuple):
    """An entry of a comment line that states a unit, and the squashed name of its quantity."""

    name: str
    subject: str


class StatedFactors(NamedTuple):
    """Factors to our units of the frames of a block, and which frames state them."""

    factors: np.ndarray  # (n,)
    stated: np.ndarray  # (n,) bool
    foreign: np.ndarray  # (n,) bool: the unit is not ours; eV/atom is


def squash(name: str) -> str:
    """Return a name without case and punctuation."""
    return re.sub(r"[\W_]+", "", name).lower()


def is_unit_entry(name: str) -> bool:
    """Return whether the name of an entry of a comment line is that of a unit."""
    return _subject(name) is not None


def stated_quantity(name: str) -> str | None:
    """Return the quantity whose unit an entry states, ``""`` if it names none.

    Parameters
    ----------
    name : str
        Name of an entry or column.

    Returns
    -------
    str or None
        None for what states no unit of a label or length.
    """
    subject = _subject(name)
    if not subject:
        return subject
    return next((key for key, names in _SUBJECTS.items() if subject in names), None)


@lru_cache(maxsize=4096)
def _subject(name: str) -> str | None:
    squashed = squash(name)
    if squashed.startswith("unitcell") or "formulaunit" in squashed:
        return None
    match = re.fullmatch(r"units?(?:of)?(?P<after>.*)|(?P<before>.+?)(?:in)?units?", squashed)
    return None if match is None else match["after"] or match["before"] or ""


def read_factors(
    block: FrameBlock,
    quantity: str,
    keys: Sequence[str | None],
    default_units: Mapping[str, str],
) -> StatedFactors:
    """Return the factors of one quantity to our units.

    Parameters
    ----------
    block : FrameBlock
        The frames.
    quantity : {"energy", "forces", "stress", "virial", "length"}
        Labels to convert.
    keys : sequence of str or None
        The entry that each frame has it in: ``REF_energy_unit`` belongs to ``REF_energy`` only.
        None: the frame does not have it, and its unit does not matter.
    default_units : mapping
        Units of quantities, as the user passes them.

    Returns
    -------
    StatedFactors
        Factors, 1 where nothing is stated.

    Raises
    ------
    ValueError
        If an entry looks like a unit and is not understood, or two contradict each other.
    """
    factors, stated = np.ones(len(block)), np.zeros(len(block), dtype=bool)
    foreign = np.zeros(len(block), dtype=bool)
    by_user = default_units.get(quantity)
    for row, (entries, key) in enumerate(zip(block.entries, keys, strict=True)):
        if key is None:
            continue
        relevant = _relevant(tuple(entries), quantity, key)
        # The file and the user may both state a unit: they have to agree.
        texts = tuple((name, str(entries[name])) for name in relevant)
        by_name = _unit_in_name(key, quantity)
        if by_name is not None:
            texts += ((f"the name {key!r}", by_name),)
        if by_user is not None:
            texts += ((f"units[{quantity!r}]", by_user),)
        if not texts:
            continue
        try:
            factors[row], per_atom = _combine(texts, quantity)
        except ValueError as error:
            raise ValueError(f"Units of {block.where(row)}: {error}") from error
        stated[row], foreign[row] = True, factors[row] != 1
        if per_atom:
            factors[row] *= block.n_atoms[row]
    return StatedFactors(factors, stated, foreign)


@lru_cache(maxsize=4096)
def _relevant(names: tuple[str, ...], quantity: str, key: str) -> tuple[str, ...]:
    """Return the entries that state the unit of a quantity that stands in entry ``key``."""
    squashed = squash(key)
    accepted = _SUBJECTS[quantity] | {squashed, squashed.removesuffix("s"), squashed + "s"}
    return tuple(name for name in names if _subject(name) in accepted)


@lru_cache(maxsize=4096)
def _unit_in_name(key: str, quantity: str) -> str | None:
    """Return the unit that ends a name, such as ``energy_Ha`` or ``energy_per_atom``, if any."""
    words = re.findall(r"[^\W_]+", key)
    while words and squash(words[0]) in _SUBJECTS[quantity] | _SOURCES:
        words = words[1:]
    # "stress_GPa", "energy_kcal_mol", "energy_eV_per_atom", "energy_per_atom"
    text = "/".join(item for item in words if item.lower() != "per")
    for unit in (text, f"eV/{text}"):
        try:
            if text and text != key:
                unit_factor(unit, quantity)
                return unit
        except ValueError:
            continue
    return None


@lru_cache(maxsize=4096)
def _combine(texts: tuple[tuple[str, str], ...], quantity: str) -> tuple[float, bool]:
    """Return the factor that one or several statements agree on."""
    factors = []
    for name, text in texts:
        try:
            factors.append(unit_factor(text, quantity))
        except ValueError as error:
            raise ValueError(f"{name}: {error}. Correct {name} in the file") from error
    values = np.array(factors, dtype=float)
    if not np.allclose(values, values[0], rtol=1e-6):
        stated = ", ".join(f"{name}={text}" for name, text in texts)
        raise ValueError(f"these contradict each other: {stated}. Remove the wrong one")
    return factors[0]


def check_unit_entries(block: FrameBlock, label_keys: Sequence[str]) -> None:
    """Check that every entry that looks like a unit is understood.

    Parameters
    ----------
    block : FrameBlock
        The frames.
    label_keys : sequence of str
        Entries and columns that labels are read from.

    Raises
    ------
    ValueError
        If an entry looks like a unit of something unknown, or ``units=`` names other units
        than ours without naming a quantity.
    """
    checked: set[tuple[tuple[str, str], ...]] = set()
    for row, entries in enumerate(block.entries):
        _check_values(entries, block.where, row)
        unit_names = _unit_names(tuple(entries))
        statements = tuple((name, str(entries[name])) for name in unit_names)
        # Nearly all frames of a file state the same units.
        if statements in checked:
            continue
        checked.add(statements)
        quantities = {squash(name) for name in (*entries, *block.columns, *block.other_columns)}
        for name in unit_names:
            problem = _problem(
                name, entries[name], quantities | {squash(key) for key in label_keys}
            )
            if problem:
                raise ValueError(
                    f"{block.where(row)} has the entry {name}={entries[name]}. {problem}"
                )


@lru_cache(maxsize=4096)
def _unit_names(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if is_unit_entry(name))


def _check_values(entries: Mapping[str, object], where: Callable[[int], str], row: int) -> None:
    """Check that no entry such as ``energy_in=Ha`` states a unit under a name that is not one."""
    for name, quantity in _names_after_quantities(tuple(entries)):
        if _is_unit_of(entries[name], quantity):
            raise ValueError(
                f"{where(row)} has the entry {name}={entries[name]}. It looks like the unit of "
                f"{quantity}: rename it to {quantity}_unit, or leave it out."
            )


@lru_cache(maxsize=4096)
def _names_after_quantities(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return the names that begin with that of a quantity, such as ``energy_in``, and which."""
    return tuple(
        (name, quantity)
        for name in names
        for quantity, subjects in _SUBJECTS.items()
        if not is_unit_entry(name)
        and squash(name).startswith(tuple(subject for subject in subjects if len(subject) > 2))
    )


def _is_unit_of(value: object, quantity: str) -> bool:
    """Return whether a value is the name of a unit of a quantity that is not ours."""
    if not isinstance(value, str):
        return False
    try:
        factor, per_atom = unit_factor(value, quantity)
    except ValueError:
        return False
    return per_atom or factor != 1.0


def _problem(name: str, value: object, quantities: set[str]) -> str | None:
    """Return the problem of an entry, None if it has none."""
    subject = _subject(name)
    if subject is None or any(subject in subjects for subjects in _SUBJECTS.values()):
        return None
    accepted = ", ".join(f"{quantity}_unit ({accepted_units(quantity)})" for quantity in _SUBJECTS)
    if subject == "":
        units = re.split(r"[\s,;]+", str(value).lower().replace("å", "a"))
        if all(unit in _OUR_UNITS or _is_our_unit(unit) for unit in units if unit):
            return None
        return f"It does not name the quantities of these units; state {accepted}."
    names_something = {subject, subject + "s", subject.removesuffix("s")} & quantities
    if names_something or _IRRELEVANT.search(subject) or not isinstance(value, str):
        return None
    return f"It looks like a unit and is not understood; understood are {accepted}."


def are_expected_units(text: str, expected: Mapping[str, str]) -> bool:
    """Return whether all units in a text are among those expected, or a name for all of ours."""
    units = [unit for unit in re.split(r"[\s,;]+", text.lower().replace("å", "a")) if unit]
    return all(unit in _OUR_UNITS or _is_expected(unit, expected) for unit in units)


def _is_expected(unit: str, expected: Mapping[str, str]) -> bool:
    for quantity, right in expected.items():
        try:
            if np.allclose(unit_factor(unit, quantity), unit_factor(right, quantity), rtol=1e-6):
                return True
        except ValueError:
            continue
    return False


def _is_our_unit(unit: str) -> bool:
    for quantity in _SUBJECTS:
        try:
            return unit_factor(unit, quantity)[0] == 1.0
        except ValueError:
            continue
    return False
