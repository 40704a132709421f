"""Frames that gnnpre-1-forces is trained on."""

from pathlib import Path

import numpy as np

from gnnpre import Crystals, FrameLabels
from gnnpre.datasets import filter_frames, read_frames
from gnnpre.model_selection import structure_groups

__all__ = ["ENERGY_SOURCES", "FILES", "read_training_frames"]

#: For each file the source whose reference energies its energies have, the column with the group,
#: and the largest number of frames. None: other pseudopotentials or settings, and too few
#: compositions to align them, so that forces and stress alone are used.
FILES: dict[str, tuple[str | None, str, int | None]] = {
    "mptrj-random-1k": ("mptrj", "mptrj_traj_id", None),
    "mptrj-highest-stress-1k": ("mptrj", "mptrj_traj_id", None),
    "alexandria-random-1k": ("alexandria", "alexandria_id", None),
    "mpf-TP": ("mpf", "formula", None),
    "mpf-alkali-TP": ("mpf", "formula", None),
    "emmet": (None, "group", None),
    "snap": (None, "group", 1500),
    "mlearn": (None, "group", 400),
}
ENERGY_SOURCES = ("mptrj", "alexandria", "mpf")
SEED = 0


def read_training_frames(data: Path) -> tuple[Crystals, FrameLabels]:
    """Return the frames and their labels; ``info`` has source, file, group and formula."""
    pairs = [_read_file(data / "upstream" / f"{name}.extxyz.gz", name) for name in FILES]
    crystals = Crystals.concatenate([frames for frames, _ in pairs])
    return crystals, FrameLabels.concatenate([labels for _, labels in pairs])


def _read_file(path: Path, name: str) -> tuple[Crystals, FrameLabels]:
    source, group, limit = FILES[name]
    crystals, labels = filter_frames(*read_frames(path))
    rows = np.arange(len(labels))
    if limit is not None and limit < len(rows):
        rows = np.sort(np.random.default_rng(SEED).permutation(len(rows))[:limit])
    crystals, labels = crystals[rows], labels[rows]
    formulas = structure_groups(crystals)
    groups = formulas if group == "formula" else labels.groups(group)
    n = len(rows)
    info = {
        # Frames without an energy do not enter the reference energies.
        "source": np.full(n, source or ENERGY_SOURCES[0]),
        "file": np.full(n, name),
        "group": np.array([f"{name.split('-')[0]}:{value}" for value in groups]),
        "formula": formulas,
    }
    energy = labels.energy if source else np.full(n, np.nan)
    return crystals, FrameLabels(
        labels.n_atoms, energy=energy, forces=labels.forces, stress=labels.stress, info=info
    )
