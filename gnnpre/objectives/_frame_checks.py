"""Checks of frame labels against crystals, and of the sources that frames come from."""

from typing import Any

import numpy as np

from gnnpre._labels import as_labels
from gnnpre.graphs import CrystalGraphs, FrameLabels, LazyLabels

__all__ = ["SOURCE", "check_frame_labels", "check_sources", "source_codes"]

#: Column of ``FrameLabels.info`` that names the data set of each frame.
SOURCE = "source"


def check_sources(name: str, sources: Any) -> None:
    """Check that sources are None or distinct names, at least one."""
    if sources is None:
        return
    valid = isinstance(sources, (list, tuple)) and len(sources) > 0
    if not valid or len(set(sources)) < len(sources):
        raise ValueError(
            f"{name}={sources!r}; expected None or distinct names of data sets, such as "
            "('mptrj', 'alexandria')."
        )


def check_frame_labels(graphs: CrystalGraphs, y: Any) -> None:
    """Check that ``y`` holds labels of the frames in ``graphs``."""
    if not isinstance(y, (FrameLabels, LazyLabels)):
        raise TypeError(
            f"y is of type {type(y).__name__}; ForceField expects FrameLabels with energy, forces "
            "or stress, such as gnnpre.datasets.read_frames returns."
        )
    if len(y) != len(graphs):
        raise ValueError(f"y has {len(y)} frames; X has {len(graphs)} crystals.")
    # Labels in another order than the crystals show in the numbers of atoms.
    different = np.flatnonzero(y.n_atoms != graphs.atom_counts)
    if len(different):
        index = different[0]
        raise ValueError(
            f"y has {y.n_atoms[index]} atoms in frame {index}; crystal {index} of X has "
            f"{graphs.atom_counts[index]}. Are both in the same order?"
        )


def source_codes(y: FrameLabels, sources: list[str]) -> np.ndarray:
    """Return the position of each frame's source in ``sources``."""
    if SOURCE not in y.info:
        raise ValueError(
            f"sources={sources} needs y.info[{SOURCE!r}], the name of the data set of each frame; "
            f"there are {sorted(y.info)}. Set sources=None if all frames are of one."
        )
    names = as_labels(f"y.info[{SOURCE!r}]", y.info[SOURCE], n_rows=len(y)).tolist()
    unknown = sorted({str(name) for name in names if name not in sources})
    if unknown:
        raise ValueError(
            f"y.info[{SOURCE!r}] holds {', '.join(unknown[:3])}; sources={sources} does not."
        )
    return np.array([sources.index(name) for name in names], dtype=np.int64)
