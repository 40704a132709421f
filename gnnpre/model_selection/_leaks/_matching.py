"""Pairs of equal crystals, by pymatgen's StructureMatcher, among those of one composition."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import Parallel, delayed

from gnnpre.datasets import structure_from_arrays
from gnnpre.graphs import Crystals

from .._crystals import atoms_by_crystal
from .._symmetry import has_lattice, three_dimensional_cell

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Structure

__all__ = ["NO_MATCH", "MatchSettings", "first_structure_matches"]

#: In place of an index where nothing matches.
NO_MATCH = -1
# Crystals of one composition that a worker looks up at a time.
CHUNK = 64


@dataclass(frozen=True)
class MatchSettings:
    """Parameters of pymatgen's StructureMatcher."""

    ltol: float
    stol: float
    angle_tol: float
    scale: bool

    def matcher(self) -> "StructureMatcher":
        """Build the matcher."""
        from pymatgen.analysis.structure_matcher import StructureMatcher

        return StructureMatcher(self.ltol, self.stol, self.angle_tol, scale=self.scale)


def first_structure_matches(
    reference: Crystals,
    query: Crystals,
    keys: tuple[np.ndarray, np.ndarray],
    settings: MatchSettings,
    *,
    reference_first: bool = True,
    n_jobs: int | None = None,
) -> np.ndarray:
    """Find, for each query, the first crystal of the reference that is the same structure.

    ``keys`` number the compositions of both sides: only crystals with equal numbers are compared.
    The matcher is not quite symmetric: ``reference_first`` says which side it gets first.
    """
    pairs = list(_buckets(*keys))
    found = Parallel(n_jobs=n_jobs)(
        delayed(_match_bucket)(reference[rows], query[asked], settings, reference_first)
        for rows, asked in pairs
    )
    matches = np.full(len(query), NO_MATCH, dtype=np.int64)
    for (rows, asked), places in zip(pairs, found, strict=True):
        matches[asked] = np.where(places == NO_MATCH, NO_MATCH, rows[places])
    return matches


def _buckets(
    reference_keys: np.ndarray, query_keys: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows of both sides that have a composition in common, queries in small parts."""
    order = np.argsort(reference_keys, kind="stable")
    ordered = reference_keys[order]
    for key in np.intersect1d(reference_keys, query_keys):
        start, stop = np.searchsorted(ordered, [key, key + 1])
        asked = np.flatnonzero(query_keys == key)
        for first in range(0, len(asked), CHUNK):
            yield order[start:stop], asked[first : first + CHUNK]


def _match_bucket(
    reference: Crystals, query: Crystals, settings: MatchSettings, reference_first: bool
) -> np.ndarray:
    matcher = settings.matcher()
    candidates, asked = _Reduced(reference), _Reduced(query)
    found = np.full(len(query), NO_MATCH, dtype=np.int64)
    for row in range(len(query)):
        for place in range(len(reference)):
            pair = (candidates[place], asked[row])
            if _same(matcher, *(pair if reference_first else pair[::-1])):
                found[row] = place
                break
    return found


def _same(matcher: "StructureMatcher", first: Any, second: Any) -> bool:
    # Primitive cells with other numbers of atoms never match: that is what the matcher does too.
    if first is None or second is None or len(first) != len(second):
        return False
    return bool(matcher.fit(first, second, skip_structure_reduction=True))


class _Reduced:
    """Primitive, Niggli-reduced structures of crystals, each made when first asked for."""

    def __init__(self, crystals: Crystals) -> None:
        self.crystals = crystals
        self.numbers = atoms_by_crystal(crystals.atomic_numbers, crystals)
        self.positions = atoms_by_crystal(crystals.positions, crystals)
        self.made: dict[int, Structure | None] = {}

    def __getitem__(self, row: int) -> "Structure | None":
        if row not in self.made:
            self.made[row] = self._reduce(row)
        return self.made[row]

    def _reduce(self, row: int) -> "Structure | None":
        pbc, positions = self.crystals.pbc[row], self.positions[row]
        if not has_lattice(pbc):
            return None
        cell = three_dimensional_cell(self.crystals.cell[row], pbc, positions)
        structure = structure_from_arrays(self.numbers[row], positions, cell)
        # The steps of StructureMatcher itself, once a structure in place of once a pair.
        return structure.get_reduced_structure(reduction_algo="niggli").get_primitive_structure()
