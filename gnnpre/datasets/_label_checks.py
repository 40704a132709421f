"""Checks of the labels that any reader ends with: sizes, and the sign of the stress."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..graphs import Crystals, FrameLabels
from ._composition import composition_keys, element_keys
from ._plausibility import warn_of_implausible_labels
from ._stress_sign import warn_of_stress_sign

__all__ = ["check_labels"]

_MOST_ROWS = 20_000  # of large sets; an unsuitable unit or sign shows in any part of them


def check_labels(
    crystals: Crystals,
    labels: FrameLabels,
    name: Callable[[str, int], str],
    groups: Any = None,
) -> None:
    """Warn of labels that are implausible, or a stress that seems to have the opposite sign.

    Parameters
    ----------
    crystals : Crystals
        The structures.
    labels : FrameLabels
        Their labels.
    name : callable
        ``name(label, row)`` returns the name of a label of a row for messages.
    groups : array-like of shape (n,), optional
        Material of each row; by default rows of one composition and number of atoms.
    """
    if not _has_labels(labels):
        return
    if groups is not None:
        groups = np.asarray(groups)
    if len(labels) > _MOST_ROWS:
        # Consecutive rows: steps of one relaxation stand next to each other.
        start = (len(labels) - _MOST_ROWS) // 2
        rows = slice(start, start + _MOST_ROWS)
        crystals, labels = crystals[rows], labels[rows]
        groups = None if groups is None else groups[rows]
    else:
        start = 0
    compositions = composition_keys(crystals)
    if groups is None:
        materials = list(zip(compositions.tolist(), labels.n_atoms.tolist(), strict=True))
    else:
        materials = groups.tolist()

    def name_from_start(label: str, row: int) -> str:
        return name(label, start + row)

    warn_of_implausible_labels(crystals, labels, materials, compositions, name_from_start)
    _check_stress_sign(crystals, labels, materials)


def _has_labels(labels: FrameLabels) -> bool:
    return any(
        np.isfinite(values).any() for values in (labels.energy, labels.forces, labels.stress)
    )


def _check_stress_sign(crystals: Crystals, labels: FrameLabels, materials: list[Any]) -> None:
    if not np.isfinite(labels.stress).any():
        return
    log_volume = np.full(len(labels), np.nan)
    periodic = crystals.pbc.all(axis=1)
    volume = np.abs(np.linalg.det(crystals.cell[periodic]))
    log_volume[periodic] = np.log(np.maximum(volume, 1e-300) / labels.n_atoms[periodic])
    mean_stress = np.trace(labels.stress, axis1=1, axis2=2) / 3
    warn_of_stress_sign(log_volume, mean_stress, materials, element_keys(crystals).tolist())
