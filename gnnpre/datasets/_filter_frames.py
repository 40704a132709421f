"""Leave out frames far from equilibrium."""

from collections.abc import Mapping, Sequence, Set, Sized
from numbers import Real
from typing import Any, TypeVar

import numpy as np

from gnnpre._warnings import DataQualityWarning, warn_user

from ..graphs import Crystals, FrameLabels

__all__ = ["filter_frames"]

_GPA = 1 / 160.21766208  # eV/Å^3
_MOST_DROPPED = 0.9  # of the frames, without a warning
_StructuresT = TypeVar("_StructuresT", Crystals, Sequence[Any])


def filter_frames(
    structures: _StructuresT,
    labels: FrameLabels,
    *,
    max_force: float | None = 20.0,
    max_stress: float | None = 100 * _GPA,
) -> tuple[_StructuresT, FrameLabels]:
    """Leave out frames with a large force or stress, which dominate a fit to the others.

    Parameters
    ----------
    structures : Crystals or sequence of length n
        The crystals.
    labels : FrameLabels
        Their labels; a frame is not left out for a label that is missing.
    max_force : float or None, default=20.0
        Frames remain if the length of every force is below this, in eV/Å.
    max_stress : float or None, default=0.624
        Frames remain if the size of every component of the stress is below this, in eV/Å^3;
        the default is 100 GPa.

    Returns
    -------
    structures : Crystals or list
        The crystals that remain; a list unless ``structures`` is `Crystals`.
    labels : FrameLabels
        Their labels.

    Raises
    ------
    ValueError
        If the two arguments differ in length, or a limit is not a positive number.

    Warns
    -----
    UserWarning
        If nine tenths of the frames or more are left out; the message names the limit.

    Examples
    --------
    >>> from gnnpre.datasets import filter_frames, make_emt_frames
    >>> structures, labels = make_emt_frames(20, random_state=0)
    >>> gentle, gentle_labels = filter_frames(structures, labels, max_force=5.0)
    >>> len(gentle) == len(gentle_labels) < 20
    True
    """
    _check_limit("max_force", max_force, "eV/Å")
    _check_limit("max_stress", max_stress, "eV/Å^3")
    if not isinstance(labels, FrameLabels):
        raise TypeError(f"labels must be FrameLabels; got {type(labels).__name__}.")
    if not isinstance(structures, Sized) or isinstance(structures, (Mapping, Set)):
        raise TypeError(f"structures must be Crystals or a list; got {type(structures).__name__}.")
    if len(structures) != len(labels):
        raise ValueError(f"There are {len(structures)} structures and {len(labels)} labels.")
    # 1. the largest force and stress of each frame
    largest = {"max_force": _largest_forces(labels), "max_stress": _largest_stresses(labels)}
    limits = {"max_force": max_force, "max_stress": max_stress}
    too_large = {
        name: largest[name] >= limit if limit is not None else np.zeros(len(labels), dtype=bool)
        for name, limit in limits.items()
    }
    # 2. frames that exceed neither limit
    remains = ~(too_large["max_force"] | too_large["max_stress"])
    _warn_if_few_remain(remains, too_large, limits, largest)
    rows = np.flatnonzero(remains)
    crystals: Any = structures
    if isinstance(structures, Crystals):
        return crystals[rows], labels[rows]
    # By position: a Series would look its rows up by their index.
    crystals = list(structures)
    remaining: Any = [crystals[row] for row in rows.tolist()]
    return remaining, labels[rows]


def _largest_forces(labels: FrameLabels) -> np.ndarray:
    """Return the length of the largest force of each frame, 0 where missing; shape (n,)."""
    if len(labels) == 0:
        return np.zeros(0)
    lengths = np.nan_to_num(np.linalg.norm(labels.forces, axis=1))
    return np.maximum.reduceat(lengths, labels.offsets[:-1])


def _largest_stresses(labels: FrameLabels) -> np.ndarray:
    return np.abs(np.nan_to_num(labels.stress)).max(axis=(1, 2), initial=0.0)


def _check_limit(name: str, value: Any, unit: str) -> None:
    is_number = isinstance(value, Real) and not isinstance(value, (bool, np.bool_))
    if value is not None and not (is_number and float(value) > 0):
        raise ValueError(f"{name} must be a positive number of {unit}, or None; got {value!r}.")


def _warn_if_few_remain(
    remains: np.ndarray,
    too_large: dict[str, np.ndarray],
    limits: dict[str, float | None],
    largest: dict[str, np.ndarray],
) -> None:
    n, n_left_out = len(remains), int((~remains).sum())
    if n_left_out == 0 or n_left_out < max(_MOST_DROPPED * n, 2 if remains.any() else 1):
        return
    # So many frames beyond a limit rather mean another unit than bad frames.
    units = {"max_force": "eV/Å", "max_stress": "eV/Å^3"}
    reasons = "; ".join(
        f"{name}={limits[name]:.4g} {units[name]} leaves out {int(rows.sum())} (their median is "
        f"{np.median(largest[name][rows]):.4g} {units[name]})"
        for name, rows in too_large.items()
        if rows.any()
    )
    warn_user(
        f"{'None' if n_left_out == n else n - n_left_out} of {n} frames remain: {reasons}. Check "
        "the units of these labels, or raise the limit (None: no limit).",
        DataQualityWarning,
    )
