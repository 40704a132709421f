"""Crystals to pre-train on, from one or more sources, and the labels that come with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gnnpre.datasets import filter_frames, read_frames, read_parquet
from gnnpre.graphs import Crystals, FrameLabels, as_crystals
from gnnpre.model_selection import drop_leaks
from gnnpre.objectives import Objective, PropertyTargets

from ..declare._networks import Pretraining
from ..declare._paths import is_frames
from ..plan._data import LocatedData, load_data
from ..plan._tables import read_table

if TYPE_CHECKING:
    import pandas as pd

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
    pool = _join([_read(path) for path in files])
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


def _read(path: Path) -> Pool:
    if is_frames(path):
        frames, labels = filter_frames(*read_frames(path))
        return Pool(as_crystals(frames), labels, ())
    if path.suffix == ".parquet":
        # Such a file may have energies, forces and stresses beside its columns.
        crystals, labels = filter_frames(*read_parquet(path))
        columns = _numbers(labels.info, path)
    else:
        crystals, table = read_table(path)
        columns = _numbers(table, path)
        labels = FrameLabels(crystals.n_atoms, info=columns)
    return Pool(crystals, labels, tuple(columns))


def _numbers(table: "Mapping[str, Any] | pd.DataFrame", path: Path) -> dict[str, np.ndarray]:
    """Return the columns of numbers; text, such as names of functionals, is no label."""
    import pandas as pd

    columns = {}
    for name in table:
        values = pd.Series(np.asarray(table[name]))
        numbers = pd.to_numeric(values, errors="coerce")
        text = np.flatnonzero(numbers.isna() & values.notna())
        if len(text) == values.notna().sum() > 0:
            continue
        if len(text):
            raise ValueError(
                f"Column {str(name)!r} of {path} has {values[text[0]]!r} in row {text[0]}, among "
                "numbers; expected a number, or an empty cell where there is none."
            )
        columns[str(name)] = numbers.to_numpy(dtype=np.float64)
    return columns


def _join(pools: Sequence[Pool]) -> Pool:
    """Concatenate sources; a column that a source lacks is missing (NaN) there."""
    columns = tuple(dict.fromkeys(name for pool in pools for name in pool.columns))
    labels = [
        FrameLabels(
            pool.labels.n_atoms,
            energy=pool.labels.energy,
            forces=pool.labels.forces,
            stress=pool.labels.stress,
            info={name: _column(pool, name) for name in columns},
        )
        for pool in pools
    ]
    crystals = Crystals.concatenate([pool.crystals for pool in pools])
    return Pool(crystals, FrameLabels.concatenate(labels), columns)


def _column(pool: Pool, name: str) -> np.ndarray:
    if name in pool.columns:
        return np.asarray(pool.labels.info[name], dtype=np.float64)
    return np.full(len(pool), np.nan)


def labels_for(objective: Objective, pool: Pool, targets: Sequence[str] | None) -> Any:
    """Return the labels in the form that an objective takes."""
    if not objective.needs_labels:
        return None
    if not isinstance(objective, PropertyTargets):
        return pool.labels
    names = pool.columns if targets is None else tuple(targets)
    unknown = [name for name in names if name not in pool.columns]
    if unknown or not names:
        raise ValueError(
            f"targets is {targets}; the sources have the columns {list(pool.columns)}. Name some "
            "of them, or add a source of crystals with properties."
        )
    return np.stack([pool.labels.info[name] for name in names], axis=1)
