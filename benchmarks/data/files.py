"""Files to read: real frames of about twenty atoms in several formats."""

import json
import os
import zlib
from pathlib import Path

import lmdb
import numpy as np

from gnnpre.datasets import read_frames, to_extxyz
from gnnpre.graphs import Crystals, FrameLabels

__all__ = ["DATA", "frames_of_twenty_atoms", "write_aselmdb", "write_extxyz"]

DATA = Path(os.environ.get("GNNPRE_DATA", ""))
SOURCES = ("snap", "mptrj-random-1k", "mptrj-highest-stress-1k", "mpf-TP", "emmet")
FEWEST, MOST = 16, 24  # atoms


def frames_of_twenty_atoms(n_frames: int) -> tuple[Crystals, FrameLabels]:
    """Return real frames of 16 to 24 atoms, repeated until there are enough."""
    crystals, labels = read_frames([DATA / "upstream" / f"{name}.extxyz.gz" for name in SOURCES])
    rows = np.flatnonzero((labels.n_atoms >= FEWEST) & (labels.n_atoms <= MOST))
    rows = np.resize(np.random.default_rng(0).permutation(rows), n_frames)
    plain = FrameLabels(
        labels.n_atoms, energy=labels.energy, forces=labels.forces, stress=labels.stress
    )
    return crystals[rows], plain[rows]


def write_extxyz(path: Path, crystals: Crystals, labels: FrameLabels) -> Path:
    to_extxyz(path, crystals, labels)
    return path


def write_aselmdb(path: Path, crystals: Crystals, labels: FrameLabels) -> Path:
    """Write frames as ase-db-backends does: zlib of JSON with flat arrays."""
    with (
        lmdb.open(str(path), subdir=False, map_size=2**32, lock=False) as file,
        file.begin(write=True) as transaction,
    ):
        for row in range(len(crystals)):
            content = json.dumps(_row(crystals, labels, row))
            transaction.put(b"%d" % (row + 1), zlib.compress(content.encode()))
        transaction.put(b"nextid", zlib.compress(str(len(crystals) + 1).encode()))
    return path


def _row(crystals: Crystals, labels: FrameLabels, row: int) -> dict:
    atoms = slice(crystals.offsets[row], crystals.offsets[row + 1])
    six = labels.stress[row][[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    return {
        "numbers": _array(crystals.atomic_numbers[atoms]),
        "positions": _array(crystals.positions[atoms]),
        "cell": _array(crystals.cell[row]),
        "pbc": _array(crystals.pbc[row]),
        "energy": float(labels.energy[row]),
        "forces": _array(labels.forces[atoms]),
        "stress": _array(six),
        "unique_id": f"{row:032x}",
        "ctime": 24.8,
        "mtime": 24.8,
        "user": "x",
        "key_value_pairs": {},
        "data": {},
        "calculator": "unknown",
    }


def _array(values: np.ndarray) -> dict:
    return {"__ndarray__": [list(values.shape), values.dtype.name, values.ravel().tolist()]}
