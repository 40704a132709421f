"""Check of frames that have a stress and a virial: each follows from the other."""

from collections.abc import Callable, Sequence

import numpy as np

from gnnpre._warnings import DataQualityWarning, warn_user

from ._frame_blocks import FrameBlock
from ._label_keys import virial_name

__all__ = ["warn_of_contradicting_virials"]

# Files have three digits or more of a stress.
_TOLERANCE = 0.05

StressOf = Callable[[FrameBlock, list[str | None], np.ndarray], np.ndarray]


def warn_of_contradicting_virials(
    blocks: Sequence[FrameBlock],
    stresses: Sequence[np.ndarray],
    cells: Sequence[np.ndarray],
    stress_of: StressOf,
) -> None:
    """Warn of frames whose stress is not minus their virial divided by the volume.

    Parameters
    ----------
    blocks : sequence of FrameBlock
        The frames.
    stresses : sequence of ndarray of shape (n, 3, 3)
        Their stresses in eV/Å^3, as read from an entry that is not a virial.
    cells : sequence of ndarray of shape (n, 3, 3)
        Their cells in Å.
    stress_of : callable
        ``stress_of(block, keys, cells)`` returns the stresses by the entries ``keys``.
    """
    n_both = n_different = n_opposite = 0
    first = ""
    for block, stress, cell in zip(blocks, stresses, cells, strict=True):
        keys = [virial_name(tuple(entries)) for entries in block.entries]
        if not any(keys):
            continue
        by_virial = stress_of(block, keys, cell)
        size = np.abs(stress).max(axis=(1, 2))  # NaN where there is none
        different = np.abs(stress - by_virial).max(axis=(1, 2)) > _TOLERANCE * size
        opposite = np.abs(stress + by_virial).max(axis=(1, 2)) < _TOLERANCE * size
        if different.any() and not first:
            first = block.where(int(np.argmax(different)))
        n_both += int((np.isfinite(size) & np.isfinite(by_virial).all(axis=(1, 2))).sum())
        n_different += int(different.sum())
        n_opposite += int((different & opposite).sum())
    if n_different:
        sign = f", in {n_opposite} of them by the sign" if n_opposite else ""
        warn_user(
            f"Stress and virial contradict each other in {n_different} of {n_both} frames{sign} "
            f"(the first is {first}): the stress, positive in tension, should be minus the virial "
            "divided by the volume. The stress was read; pass stress_key= to choose, and state "
            "the units.",
            DataQualityWarning,
        )
