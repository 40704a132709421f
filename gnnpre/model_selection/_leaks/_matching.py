"""Pairs of equal crystals, by pymatgen's StructureMatcher, among those of one composition."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from joblib import Parallel, delayed

from gnnpre.datasets import structure_from_arrays
from gnnpre.graphs import Crystals

from .._crystals import atoms_by_crystal
from .._vacuum import fix_vacuum

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Structure

__all__ = ["NO_MATCH", "MatchSettings", "first_structure_matches"]

#: In place of an index where nothing matches.
NO_MATCH = -1
# Query crystals of one composition per task of a worker process.
CHUNK = 64


@dataclass(frozen=True)
class MatchSettings:
    """Parameters of pymatgen's StructureMatcher."""

    ltol: float
    stol: float
    angle_tol: float
    scale: bool

    def matcher(self, filling: float) -> "StructureMatcher":
        """Build the matcher of structures that fill this share of their cells.

        Its ``stol`` is relative to ``(volume / n_atoms) ** (1/3)``. With vacuum in the volume,
        polymorphs of a layer would be within the tolerance.
        """
        from pymatgen.analysis.structure_matcher import StructureMatcher

        stol = self.stol * filling ** (1 / 3)
        return StructureMatcher(self.ltol, stol, self.angle_tol, scale=self.scale)


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
    The matcher is not quite symmetric: ``reference_first`` decides which side it gets first.
    """
    pairs = list(_buckets(*keys))
    results = Parallel(n_jobs=n_jobs)(
        delayed(_match_bucket)(
            reference[reference_rows], query[query_rows], settings, reference_first
        )
        for reference_rows, query_rows in pairs
    )
    matches = np.full(len(query), NO_MATCH, dtype=np.int64)
    for (reference_rows, query_rows), first in zip(pairs, results, strict=True):
        matches[query_rows] = np.where(first == NO_MATCH, NO_MATCH, reference_rows[first])
    return matches


def _buckets(
    reference_keys: np.ndarray, query_keys: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows of both sides that share a composition, queries in small chunks."""
    order = np.argsort(reference_keys, kind="stable")
    ordered = reference_keys[order]
    for key in np.intersect1d(reference_keys, query_keys):
        start, stop = np.searchsorted(ordered, [key, key + 1])
        query_rows = np.flatnonzero(query_keys == key)
        for first in range(0, len(query_rows), CHUNK):
            yield order[start:stop], query_rows[first : first + CHUNK]


def _match_bucket(
    reference: Crystals, query: Crystals, settings: MatchSettings, reference_first: bool
) -> np.ndarray:
    """Return for each query the row of its first match in the reference, or ``NO_MATCH``."""
    candidates, queries = _ReducedCrystals(reference), _ReducedCrystals(query)
    first = np.full(len(query), NO_MATCH, dtype=np.int64)
    for row in range(len(query)):
        for candidate in range(len(reference)):
            pair = (candidates[candidate], queries[row])
            if _is_same(settings, *(pair if reference_first else pair[::-1])):
                first[row] = candidate
                break
    return first


class _Reduced(NamedTuple):
    """A primitive, Niggli-reduced structure, its periodic directions and its filling."""

    structure: "Structure"
    n_periodic: int
    filling: float


def _is_same(settings: MatchSettings, first: _Reduced, second: _Reduced) -> bool:
    # A layer is not its bulk crystal, however much vacuum the conversion leaves.
    if first.n_periodic != second.n_periodic:
        return False
    # Primitive cells with different numbers of atoms never match; StructureMatcher does the same.
    if len(first.structure) != len(second.structure):
        return False
    matcher = settings.matcher(min(first.filling, second.filling))
    return bool(matcher.fit(first.structure, second.structure, skip_structure_reduction=True))


class _ReducedCrystals:
    """Primitive structures of crystals, each made when it is first needed."""

    def __init__(self, crystals: Crystals) -> None:
        self.crystals = crystals
        self.numbers = atoms_by_crystal(crystals.atomic_numbers, crystals)
        self.positions = atoms_by_crystal(crystals.positions, crystals)
        self.reduced: dict[int, _Reduced] = {}

    def __getitem__(self, row: int) -> _Reduced:
        if row not in self.reduced:
            self.reduced[row] = self._reduce(row)
        return self.reduced[row]

    def _reduce(self, row: int) -> _Reduced:
        crystals = self.crystals
        converted = fix_vacuum(crystals.cell[row], crystals.pbc[row], self.positions[row])
        structure = structure_from_arrays(self.numbers[row], converted.positions, converted.cell)
        # The steps of StructureMatcher itself, once per structure instead of once per pair.
        niggli = structure.get_reduced_structure(reduction_algo="niggli")
        primitive = niggli.get_primitive_structure()
        return _Reduced(primitive, converted.n_periodic, converted.filling)
