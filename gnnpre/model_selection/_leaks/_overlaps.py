"""Which crystals of one set occur in another, by ids, compositions, prototypes and structures."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gnnpre.graphs import Crystals

from .._crystals import reduced_formulas
from .._symmetry import UNKNOWN_SPACE_GROUP, space_group_numbers
from ._matching import NO_MATCH, MatchSettings, first_structure_matches

__all__ = ["AuditSettings", "Side", "check_ids", "find_overlaps"]


@dataclass(frozen=True)
class AuditSettings:
    """How crystals are compared."""

    matching: MatchSettings
    symprec: float
    n_jobs: int | None


@dataclass(frozen=True)
class Side:
    """One of the two sets."""

    crystals: Crystals
    formulas: np.ndarray  # (n,)
    ids: list[Any] | None

    @classmethod
    def of(cls, crystals: Crystals, ids: list[Any] | None) -> "Side":
        """Name the crystals' compositions."""
        return cls(crystals, reduced_formulas(crystals), ids)


def find_overlaps(
    reference: Side,
    query: Side,
    levels: set[str],
    settings: AuditSettings,
    *,
    reference_first: bool = True,
) -> dict[str, np.ndarray]:
    """Give, level by level, the first crystal of ``reference`` that each of ``query`` equals."""
    found = {}
    if "id" in levels:
        found["id"] = _first_same_id(reference.ids or [], query.ids or [])
    keys = _numbered(reference.formulas, query.formulas)
    if "composition" in levels:
        found["composition"] = _first_same(*keys)
    if "prototype" in levels:
        found["prototype"] = _first_same_prototype(reference, query, keys, settings)
    if "structure" in levels:
        found["structure"] = first_structure_matches(
            reference.crystals,
            query.crystals,
            keys,
            settings.matching,
            reference_first=reference_first,
            n_jobs=settings.n_jobs,
        )
    return found


def _numbered(reference: np.ndarray, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give equal labels equal numbers, from 0, on both sides."""
    _, numbers = np.unique(np.concatenate([reference, query]), return_inverse=True)
    return numbers[: len(reference)], numbers[len(reference) :]


def _first_same(reference: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Find the first of ``reference`` equal to each of ``query``; both are numbers from 0."""
    first = np.full(max(reference.max(), query.max()) + 1, NO_MATCH, dtype=np.int64)
    values, places = np.unique(reference, return_index=True)
    first[values] = places
    return first[query]


def _first_same_prototype(
    reference: Side, query: Side, keys: tuple[np.ndarray, np.ndarray], settings: AuditSettings
) -> np.ndarray:
    # Symmetry costs milliseconds a crystal: only for compositions that both sides have.
    shared = np.intersect1d(*keys)
    rows = [np.flatnonzero(np.isin(side, shared)) for side in keys]
    labels = []
    for side, key, chosen in zip((reference, query), keys, rows, strict=True):
        crystals = side.crystals[chosen]
        numbers = space_group_numbers(crystals, settings.symprec, settings.n_jobs)
        # Where there is no space group nothing is the same prototype: -1 here, -2 over there.
        unknown = -1 if side is reference else -2
        labels.append(
            np.where(numbers == UNKNOWN_SPACE_GROUP, unknown, 231 * key[chosen] + numbers)
        )
    found = np.full(len(query.crystals), NO_MATCH, dtype=np.int64)
    if len(shared):
        places = _first_same(*_numbered(*labels))
        found[rows[1]] = np.where(places == NO_MATCH, NO_MATCH, rows[0][places])
    return found


def _first_same_id(reference: list[Any], query: list[Any]) -> np.ndarray:
    first: dict[Any, int] = {}
    for place, name in enumerate(reference):
        if not _is_missing(name):
            first.setdefault(name, place)
    return np.array([NO_MATCH if _is_missing(x) else first.get(x, NO_MATCH) for x in query])


def _is_missing(name: Any) -> bool:
    return name is None or name != name


def check_ids(pretraining: Any, evaluation: Any, counts: tuple[int, int]) -> list[Any]:
    """Give both sides' ids as lists, or None for both where there are none."""
    given = {"pretraining_ids": pretraining, "evaluation_ids": evaluation}
    missing = [name for name, ids in given.items() if ids is None]
    if len(missing) == 1:
        (other,) = set(given) - set(missing)
        raise ValueError(
            f"{other} was given without {missing[0]}; expected ids of both sets or of none. Pass "
            f"{missing[0]} too, one id a crystal, or leave {other} out."
        )
    if missing:
        return [None, None]
    for (name, ids), n in zip(given.items(), counts, strict=True):
        if len(ids) != n:
            raise ValueError(
                f"{name} has {len(ids)} entries; {name.replace('_ids', '_structures')} has {n} "
                "crystals. Pass one id a crystal, in the same order."
            )
    sides = [list(ids) for ids in given.values()]
    _check_kinds(*sides)
    return sides


def _check_kinds(pretraining: list[Any], evaluation: list[Any]) -> None:
    """Refuse strings against numbers, which are never equal and would hide every leak."""
    first, second = (
        {isinstance(name, str) for name in side if not _is_missing(name)}
        for side in (pretraining, evaluation)
    )
    if first and second and not first & second:
        kinds = ("strings", "no strings") if first == {True} else ("no strings", "strings")
        raise ValueError(
            f"pretraining_ids are {kinds[0]} and evaluation_ids are {kinds[1]}, so none can be "
            "equal. Write both in the same way, such as 'mp-149'."
        )
