"""Crystals to pre-train on, from one or more sources, and the labels that come with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gnnpre.datasets import filter_frames, read_frames, read_parquet
from gnnpre.graphs import Crystals, FrameLabels, as_crystals
from gnnpre.model_selection import drop_leaks
from gnnpre.objectives import Mixture, Objective, PropertyTargets

from ..declare._networks import Pretraining
from ..declare._paths import is_frames
from ..plan._data import LocatedData, load_data
from ..plan._tables import number_columns, read_table

__all__ = ["Pool", "labels_for", "read_pool"]


@dataclass(frozen=True, eq=False)
class Pool:
    """Crystals, their labels, and how many were left out as leaks."""

    crystals: Crystals
    labels: FrameLabels
    #: Columns of labels, beside energies, forces and stresses.
    columns: tuple[str, ...]
    n_leaks: int = 0

    def __len__(self) -> int:
        return len(self.crystals)

    def take(self, indices: np.ndarray, n_leaks: int) -> "Pool":
        """Return some of the crystals."""
        return Pool(self.crystals[indices], self.labels[indices], self.columns, n_leaks)


def read_pool(
    declared: Pretraining, files: Sequence[Path], leaks: Sequence[LocatedData], n_jobs: int
) -> Pool:
    """Read the crystals of a pre-training, without those that a test set has."""
    # 1. all sources
    pool = _join([_read(path, declared.targets) for path in files])
    # 2. without crystals of the test sets; the audit of each sees what the last one left
    rows, n_leaks = np.arange(len(pool)), 0
    for located in leaks:
        tested = load_data(located).structures
        clean = drop_leaks(pool.crystals[rows], tested, declared.leak_level, n_jobs=n_jobs)
        n_leaks += len(rows) - len(clean)
        rows = rows[clean]
    # 3. a sample, in the order of the sources
    limit = declared.max_structures
    if limit is not None and limit < len(rows):
        rng = np.random.default_rng(declared.random_state)
        rows = np.sort(rng.permutation(rows)[:limit])
    return pool.take(rows, n_leaks)


def _read(path: Path, targets: Sequence[str] | None) -> Pool:
    if is_frames(path):
        frames, labels = filter_frames(*read_frames(path))
        return Pool(as_crystals(frames), labels, ())
    if path.name.lower().endswith(".parquet"):
        # Such a file may have energies, forces and stresses beside its columns.
        crystals, labels = filter_frames(*read_parquet(path))
        columns = number_columns(labels.info, path, targets)
    else:
        crystals, table = read_table(path)
        columns = number_columns(table, path, targets)
        labels = FrameLabels(crystals.n_atoms)
    return Pool(crystals, _with_columns(labels, columns), tuple(columns))


def _join(pools: Sequence[Pool]) -> Pool:
    """Concatenate sources; a column that a source lacks is missing (NaN) there."""
    columns = tuple(dict.fromkeys(name for pool in pools for name in pool.columns))
    labels = [
        _with_columns(pool.labels, {name: _column(pool, name) for name in columns})
        for pool in pools
    ]
    crystals = Crystals.concatenate([pool.crystals for pool in pools])
    return Pool(crystals, FrameLabels.concatenate(labels), columns)


def _with_columns(labels: FrameLabels, columns: Mapping[str, np.ndarray]) -> FrameLabels:
    """Return energies, forces and stresses with other columns."""
    return FrameLabels(
        labels.n_atoms,
        energy=labels.energy,
        forces=labels.forces,
        stress=labels.stress,
        info=columns,
    )


def _column(pool: Pool, name: str) -> np.ndarray:
    if name in pool.columns:
        return np.asarray(pool.labels.info[name], dtype=np.float64)
    return np.full(len(pool), np.nan)


def labels_for(objective: Objective, pool: Pool, targets: Sequence[str] | None) -> Any:
    """Return the labels in the form that an objective takes."""
    if not objective.needs_labels:
        return None
    if not isinstance(objective, PropertyTargets):
        _refuse_labels_of_tables(objective, pool)
        return pool.labels
    names = pool.columns if targets is None else tuple(targets)
    unknown = [name for name in names if name not in pool.columns]
    if unknown or not names:
        raise ValueError(
            f"targets is {targets}; the sources have the columns {list(pool.columns)}. Name some "
            "of them, or add a source of crystals with properties."
        )
    return np.stack([pool.labels.info[name] for name in names], axis=1)


def _refuse_labels_of_tables(objective: Objective, pool: Pool) -> None:
    """Raise if a column of a table looks like a label that the objective would not see."""
    items = objective.parts if isinstance(objective, Mixture) else [("", objective, 1.0)]
    properties = {name for name, item, _ in items if isinstance(item, PropertyTargets)}
    frames = [
        item for _, item, _ in items if item.needs_labels and not isinstance(item, PropertyTargets)
    ]
    for name in pool.columns if frames else ():
        if name.lower() in ("energy", "forces", "stress") and name not in properties:
            raise ValueError(
                f"sources have a column {name!r}, which is a property like any other; "
                f"{type(frames[0]).__name__} learns energies, forces and stresses of extended XYZ "
                "and Parquet files (gnnpre.datasets.to_extxyz writes one). Write such a file, or "
                "rename the column."
            )
