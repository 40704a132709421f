"""Frames that gnnpre-1-forces is trained on, with all energies on one scale.

The sources differ in the energies of the elements, and have too few frames to fit these to total
energies: that leaves 0.6 eV/atom. Formation energies that gnnpre-1 predicts take up most of it, so
that the elements' energies are fitted to the rest. The network learns formation energies.
"""

from pathlib import Path

import numpy as np

from gnnpre import CrystalGraphs, Crystals, FrameLabels, Pretrainer
from gnnpre.datasets import filter_frames, read_frames
from gnnpre.graphs import as_crystals
from gnnpre.model_selection import structure_groups
from gnnpre.objectives._references import element_counts, fit_reference_energies

from .structures import read_training_set, reserved_formulas

__all__ = ["FILES", "align_energies", "read_training_frames"]

#: For each file the one near equilibrium that its elements' energies are fitted to, the column with
#: the group, and the largest number of frames. None: other pseudopotentials or settings, and too
#: few compositions, so that forces and stress alone are used.
FILES: dict[str, tuple[str | None, str, int | None]] = {
    "mptrj-random-1k": ("mptrj-random-1k", "mptrj_traj_id", None),
    "mptrj-highest-stress-1k": ("mptrj-random-1k", "mptrj_traj_id", None),
    "alexandria-random-1k": ("alexandria-random-1k", "alexandria_id", None),
    "mpf-TP": ("mptrj-random-1k", "formula", None),
    "mpf-alkali-TP": ("mptrj-random-1k", "formula", None),
    "emmet": (None, "group", None),
    "snap": (None, "group", 1500),
    "mlearn": (None, "group", 400),
}
# Relaxed structures with their formation energies alone, so that the network does not forget them.
STRUCTURES, N_STRUCTURES, MOST_ATOMS = "mp_155k", 6000, 16
SEED = 0


def read_training_frames(data: Path) -> tuple[Crystals, FrameLabels]:
    """Return the frames and their labels; ``info`` has file, group and formula."""
    pairs = [_read_file(data / "upstream" / f"{name}.extxyz.gz", name) for name in FILES]
    pairs.append(_read_structures(data))
    crystals = Crystals.concatenate([frames for frames, _ in pairs])
    labels = FrameLabels.concatenate([labels for _, labels in pairs])
    # Its embeddings take part in predictions of properties: no evaluation crystal is trained on.
    is_reserved = np.isin(labels.info["formula"], sorted(reserved_formulas(data)))
    rows = np.flatnonzero(~is_reserved)
    return crystals[rows], labels[rows]


def _read_file(path: Path, name: str) -> tuple[Crystals, FrameLabels]:
    reference, group, limit = FILES[name]
    crystals, labels = filter_frames(*read_frames(path))
    rows = np.arange(len(labels))
    if limit is not None and limit < len(rows):
        rows = np.sort(np.random.default_rng(SEED).permutation(len(rows))[:limit])
    crystals, labels = crystals[rows], labels[rows]
    formulas = structure_groups(crystals)
    groups = formulas if group == "formula" else labels.groups(group)
    info = {
        "file": np.full(len(rows), name),
        "group": np.array([f"{name.split('-')[0]}:{value}" for value in groups]),
        "formula": formulas,
    }
    energy = labels.energy if reference else np.full(len(rows), np.nan)
    return crystals, FrameLabels(
        labels.n_atoms, energy=energy, forces=labels.forces, stress=labels.stress, info=info
    )


def _read_structures(data: Path) -> tuple[Crystals, FrameLabels]:
    crystals, labels = read_training_set(data)
    energy = labels.info["formation_energy_eV_per_atom"] * labels.n_atoms
    rows = np.flatnonzero(np.isfinite(energy) & (labels.n_atoms <= MOST_ATOMS))
    rows = np.sort(np.random.default_rng(SEED).permutation(rows)[:N_STRUCTURES])
    formulas = labels.info["formula"][rows]
    info = {"file": np.full(len(rows), STRUCTURES), "group": formulas, "formula": formulas}
    return crystals[rows], FrameLabels(labels.n_atoms[rows], energy=energy[rows], info=info)


def align_energies(graphs: CrystalGraphs, labels: FrameLabels, base: Pretrainer) -> FrameLabels:
    """Return labels with formation energies in place of total energies."""
    predicted = np.ravel(base.predict(graphs)["formation_energy_eV_per_atom"]) * labels.n_atoms
    counts = element_counts(as_crystals(graphs), 100)
    files, energy = labels.info["file"], labels.energy.copy()
    for name, (reference, _, _) in FILES.items():
        rows = files == name
        if reference is None or not rows.any():
            continue
        fitted = (files == reference) & np.isfinite(labels.energy)
        elements = fit_reference_energies(counts[fitted], (labels.energy - predicted)[fitted])
        energy[rows] -= counts[rows] @ elements
        # Elements that the reference lacks have no energy on this scale.
        occurs = counts[fitted].sum(axis=0) > 0
        unknown = counts[:, ~occurs].sum(axis=1) > 0
        energy[rows & unknown] = np.nan
    return FrameLabels(
        labels.n_atoms,
        energy=energy,
        forces=labels.forces,
        stress=labels.stress,
        info=labels.info,
    )
