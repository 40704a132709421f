"""Crystals of one set that occur in another, by id, composition, prototype and structure."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnnpre._labels import is_missing
from gnnpre.graphs import Crystals

from .._crystals import reduced_formulas
from .._splits._structure_groups import check_lengths
from .._symmetry import UNKNOWN_SPACE_GROUP, space_group_numbers
from ._matching import NO_MATCH, MatchSettings, first_structure_matches

__all__ = ["AuditSettings", "Side", "as_id_list", "check_ids", "find_overlaps"]


@dataclass(frozen=True)
class AuditSettings:
    """Settings of the comparison."""

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
        """Return a side with the reduced formulas of its crystals."""
        return cls(crystals, reduced_formulas(crystals), ids)


def find_overlaps(
    reference: Side,
    query: Side,
    levels: set[str],
    settings: AuditSettings,
    *,
    reference_first: bool = True,
) -> dict[str, np.ndarray]:
    """Return, by level, the first crystal of ``reference`` that equals each of ``query``."""
    matches = {}
    # From cheap to expensive: matching structures takes milliseconds for each pair.
    if "id" in levels:
        matches["id"] = _first_same_id(reference.ids or [], query.ids or [])
    keys = _numbered(reference.formulas, query.formulas)
    if "composition" in levels:
        matches["composition"] = _first_same(*keys)
    if "prototype" in levels:
        matches["prototype"] = _first_same_prototype(reference, query, keys, settings)
    if "structure" in levels:
        matches["structure"] = first_structure_matches(
            reference.crystals,
            query.crystals,
            keys,
            settings.matching,
            reference_first=reference_first,
            n_jobs=settings.n_jobs,
        )
    return matches


def _numbered(reference: np.ndarray, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of both sides as numbers from 0, equal numbers for equal labels."""
    _, numbers = np.unique(np.concatenate([reference, query]), return_inverse=True)
    return numbers[: len(reference)], numbers[len(reference) :]


def _first_same(reference: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Find the first of ``reference`` equal to each of ``query``; both are numbers from 0."""
    first = np.full(max(reference.max(), query.max()) + 1, NO_MATCH, dtype=np.int64)
    values, indices = np.unique(reference, return_index=True)
    first[values] = indices
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
    matches = np.full(len(query.crystals), NO_MATCH, dtype=np.int64)
    if len(shared):
        first = _first_same(*_numbered(*labels))
        matches[rows[1]] = np.where(first == NO_MATCH, NO_MATCH, rows[0][first])
    return matches


def _first_same_id(reference: list[Any], query: list[Any]) -> np.ndarray:
    first: dict[Any, int] = {}
    for row, name in enumerate(reference):
        if name is not None:
            first.setdefault(name, row)
    return np.array([NO_MATCH if name is None else first.get(name, NO_MATCH) for name in query])


def check_ids(pretraining: Any, evaluation: Any, counts: tuple[int, int]) -> list[Any]:
    """Return the ids of both sides as lists, None for a missing id; or None for both sides."""
    # 1. both or none
    ids = {"pretraining_ids": pretraining, "evaluation_ids": evaluation}
    absent = [name for name, values in ids.items() if values is None]
    if len(absent) == 1:
        (present,) = set(ids) - set(absent)
        raise ValueError(
            f"{present} was given without {absent[0]}; expected ids of both sets or of none. Pass "
            f"{absent[0]} too, one id for each crystal, or leave {present} out."
        )
    if absent:
        return [None, None]
    # 2. one for each crystal, and comparable
    sides = [
        as_id_list(name, values, n) for (name, values), n in zip(ids.items(), counts, strict=True)
    ]
    _check_types(*sides)
    return sides


def as_id_list(name: str, values: Any, n: int) -> list[Any]:
    """Return ids as a list, None for a missing one."""
    check_lengths(name, values, n, name.replace("_ids", "_structures"))
    ids = [None if is_missing(item) else item for item in values]
    for row, item in enumerate(ids):
        if not isinstance(item, Hashable) or isinstance(item, (tuple, frozenset)):
            raise TypeError(
                f"{name}[{row}] is {item!r}; expected text or a number, such as 'mp-149'."
            )
    return ids


def _check_types(pretraining: list[Any], evaluation: list[Any]) -> None:
    """Check that ids are not strings against numbers: never equal, they would hide every leak."""
    first, second = (
        {isinstance(name, str) for name in side if name is not None}
        for side in (pretraining, evaluation)
    )
    if first and second and not first & second:
        types = ("strings", "no strings") if first == {True} else ("no strings", "strings")
        raise ValueError(
            f"pretraining_ids are {types[0]} and evaluation_ids are {types[1]}, so none can be "
            "equal. Write both in the same way, such as 'mp-149'."
        )
