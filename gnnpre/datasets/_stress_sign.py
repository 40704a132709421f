"""Check of the sign of a stress, in which codes differ, against the trend with volume."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gnnpre._warnings import DataQualityWarning, warn_user

__all__ = ["StressSign", "measure_stress_sign", "warn_of_stress_sign"]

_LEAST_SPREAD = 0.01  # of ln V in a group: less and other differences between frames dominate
_SCORE = 1.3  # |correlation| * sqrt(degrees of freedom) below which the sign is open
_LEAST_FREEDOM = {"material": 2, "elements": 5}


@dataclass(frozen=True)
class StressSign:
    """Evidence for the sign of the stress of frames.

    Attributes
    ----------
    correlation : float
        Rank correlation, within groups, of the mean stress and ln V per atom.
    n_frames, n_groups : int
        Frames and groups that it rests on.
    """

    correlation: float
    n_frames: int
    n_groups: int

    @property
    def freedom(self) -> int:
        """Degrees of freedom: each group has lost its mean."""
        return self.n_frames - self.n_groups

    @property
    def is_wrong(self) -> bool:
        """Whether larger volume goes with less tensile stress, by more than chance."""
        return self.correlation * np.sqrt(self.freedom) < -_SCORE

    @property
    def is_right(self) -> bool:
        """Whether larger volume goes with more tensile stress, by more than chance."""
        return self.correlation * np.sqrt(self.freedom) > _SCORE


def measure_stress_sign(
    log_volume: np.ndarray, mean_stress: np.ndarray, groups: list[Any]
) -> StressSign | None:
    """Correlate volume and stress within groups of frames.

    Both are centred on the mean of their group and ranked over all groups together: a few frames
    far from equilibrium then count no more than the others.

    Parameters
    ----------
    log_volume : ndarray of shape (n,)
        ln of the volume per atom.
    mean_stress : ndarray of shape (n,)
        A third of the trace of the stress, NaN where unknown.
    groups : list of length n
        Frames of one group are alike but for their volume.

    Returns
    -------
    StressSign or None
        None if no group has two frames that differ in volume.
    """
    from scipy.stats import rankdata

    # 1. groups in which the volume varies
    members: dict[Any, list[int]] = {}
    for index in np.flatnonzero(np.isfinite(log_volume) & np.isfinite(mean_stress)).tolist():
        members.setdefault(groups[index], []).append(index)
    informative = [i for i in members.values() if np.ptp(log_volume[i]) >= _LEAST_SPREAD]
    if not informative:
        return None
    # 2. rank correlation of deviations from the mean of the group
    volume, stress = (
        rankdata(np.concatenate([values[i] - values[i].mean() for i in informative]).round(12))
        for values in (log_volume, mean_stress)
    )
    if np.ptp(stress) == 0:
        return None
    return StressSign(float(np.corrcoef(volume, stress)[0, 1]), len(volume), len(informative))


def warn_of_stress_sign(
    log_volume: np.ndarray, mean_stress: np.ndarray, groups: list[Any], elements: list[Any]
) -> None:
    """Warn if larger volume does not go with more tensile stress.

    Parameters
    ----------
    log_volume, mean_stress : ndarray of shape (n,)
        See :func:`measure_stress_sign`.
    groups : list of length n
        Material of each frame.
    elements : list of length n
        Its elements: the groups where no material has frames of several volumes.
    """
    for level, labels in (("material", groups), ("elements", elements)):
        sign = measure_stress_sign(log_volume, mean_stress, labels)
        if sign is None or sign.freedom < _LEAST_FREEDOM[level]:
            continue
        if sign.is_wrong:
            warn_user(_describe(sign, level), DataQualityWarning)
        return


def _describe(sign: StressSign, level: str) -> str:
    return (
        "Larger volume does not go with more tensile stress: within groups of frames of the same "
        f"{level} the rank correlation is {sign.correlation:.2f} ({sign.n_frames} frames, "
        f"{sign.n_groups} groups). The stress has probably the opposite sign, as in VASP's "
        "output; gnnpre's is positive in tension (dE/dstrain / volume, as in ASE). If so, pass "
        "-labels.stress instead of labels.stress."
    )
