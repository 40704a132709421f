"""Crystals of an evaluation set that a model was trained on, by the keys of its training set."""

from collections import defaultdict
from typing import Any

import numpy as np

from gnnpre.graphs import Crystals
from gnnpre.pretrained import LeakKeys, text_digests

from .._crystals import reduced_formulas
from ._leak_report import LeakAudit
from ._matching import NO_MATCH
from ._overlaps import Side
from ._structure_keys import TOLERANCE, fingerprint_distances, structure_fingerprints

__all__ = ["audit_by_keys", "make_leak_keys"]


def make_leak_keys(
    crystals: Crystals, labels: dict[str, np.ndarray], ids: list[Any] | None = None
) -> LeakKeys:
    """Return the keys of training structures.

    Parameters
    ----------
    crystals : Crystals of length n
        The structures.
    labels : dict of str to ndarray of bool of shape (n,)
        For each label, which of the structures were trained on with it.
    ids : list of length n, optional
        Their ids; None for a missing one.

    Returns
    -------
    LeakKeys
        The keys, sorted by composition.
    """
    formulas = text_digests(reduced_formulas(crystals))
    # Sorted by composition: a search finds all structures of one by bisection.
    order = np.argsort(formulas, kind="stable")
    fingerprints, periodic = structure_fingerprints(crystals)
    masks = np.zeros(len(crystals), dtype=np.uint16)
    for bit, present in enumerate(labels.values()):
        masks |= np.where(present, 1 << bit, 0).astype(np.uint16)
    names = np.zeros(len(crystals), np.uint64) if ids is None else text_digests(ids)
    return LeakKeys(
        compositions=formulas[order],
        ids=names[order],
        periodic=periodic[order],
        fingerprints=fingerprints[order],
        masks=masks[order],
        labels=list(labels),
    )


def audit_by_keys(keys: LeakKeys, evaluation: Side, match: bool) -> LeakAudit:
    """Compare crystals with the keys of a model's training structures.

    Parameters
    ----------
    keys : LeakKeys
        The keys.
    evaluation : Side
        The evaluation crystals, perhaps with ids.
    match : bool
        Whether to compare structures.

    Returns
    -------
    LeakAudit
        The levels, and with which labels a crystal of the same structure or id was trained on:
        no labels if there are no ids and ``match`` is False.
    """
    # 1. the same composition
    digests = text_digests(evaluation.formulas)
    first = np.searchsorted(keys.compositions, digests, side="left")
    last = np.searchsorted(keys.compositions, digests, side="right")
    matches = {"composition": np.where(first < last, first, NO_MATCH)}
    # 2. the same id, and the same structure
    rows: list[list[int]] = [[] for _ in digests]
    if evaluation.ids is not None:
        _add_same_ids(rows, keys, evaluation.ids)
        matches["id"] = _first_rows(rows)
    if match:
        same = _same_structures(keys, evaluation.crystals, first, last)
        matches["structure"] = _first_rows(same)
        rows = [[*by_id, *by_structure] for by_id, by_structure in zip(rows, same, strict=True)]
    # 3. the labels that these were trained on
    masks = np.array([np.bitwise_or.reduce(keys.masks[chosen], initial=0) for chosen in rows])
    # Where neither ids nor structures were compared, nothing is known of labels.
    names = keys.labels if match or evaluation.ids is not None else []
    labels = {name: (masks >> bit) & 1 > 0 for bit, name in enumerate(names)}
    return LeakAudit(evaluation.formulas, len(keys), matches, labels)


def _add_same_ids(rows: list[list[int]], keys: LeakKeys, ids: list[Any]) -> None:
    # Several frames may have one id.
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row, name in enumerate(keys.ids.tolist()):
        rows_of[name].append(row)
    for row, digest in enumerate(text_digests(ids).tolist()):
        if digest:
            rows[row].extend(rows_of.get(digest, []))


def _first_rows(rows: list[list[int]]) -> np.ndarray:
    return np.array([chosen[0] if chosen else NO_MATCH for chosen in rows], dtype=np.int64)


def _same_structures(
    keys: LeakKeys, crystals: Crystals, first: np.ndarray, last: np.ndarray
) -> list[list[int]]:
    """Return, for each crystal, the keys of one composition with a fingerprint like its own."""
    rows: list[list[int]] = [[] for _ in first]
    shared = np.flatnonzero(first < last)
    if not len(shared):
        return rows
    fingerprints, periodic = structure_fingerprints(crystals[shared])
    for row, fingerprint, n_periodic in zip(shared, fingerprints, periodic, strict=True):
        candidates = np.arange(first[row], last[row])
        distances = fingerprint_distances(fingerprint, keys.fingerprints[candidates])
        # A layer is not its bulk crystal.
        is_same = (distances <= TOLERANCE) & (keys.periodic[candidates] == n_periodic)
        rows[row] = candidates[is_same].tolist()
    return rows
