"""Data sets of a study, found and read."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gnnpre.datasets import read_matbench
from gnnpre.graphs import CrystalGraphs, StructureToGraph

from ..declare._data_set import DataSet
from ._known_data import KNOWN_DATA, find_file, hash_file

__all__ = ["FoundData", "LoadedData", "find_data", "load_data"]


@dataclass(frozen=True)
class FoundData:
    """A data set whose file is there."""

    declared: DataSet
    path: Path
    target: str | None
    unit: str

    @property
    def known_name(self) -> str:
        """Name of the known data set that it is of, where there is no path."""
        return self.declared.source or self.declared.name

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """All that decides which crystals and labels it has."""
        return {
            "name": self.declared.name,
            "sha256": hash_file(self.path),
            "target": self.target,
            "sample": self.declared.sample,
            "sample_seed": None if self.declared.sample is None else self.declared.sample_seed,
            "n_labels": self.declared.n_labels,
        }


@dataclass(frozen=True, eq=False)
class LoadedData:
    """Crystals and their property, in the order that indices of records are about."""

    name: str
    target: str
    unit: str
    structures: list[Any]
    y: np.ndarray  # (n,)
    rows: np.ndarray  # (n,) in the file

    def __len__(self) -> int:
        return len(self.y)

    def graphs(self, settings: StructureToGraph) -> CrystalGraphs:
        """Build the graphs of all crystals."""
        return settings.fit_transform(self.structures)

    def subset(self, indices: np.ndarray) -> list[Any]:
        """Give some of the structures."""
        return [self.structures[index] for index in indices.tolist()]

    def summary(self) -> dict[str, Any]:
        """Give what the file of the data set in a study's folder says."""
        return {
            "name": self.name,
            "target": self.target,
            "unit": self.unit,
            "n": len(self),
            "formulas": [s.composition.reduced_formula for s in self.structures],
            "rows": self.rows.tolist(),
        }


def find_data(declared: DataSet, home: Path | None) -> FoundData:
    """Find the file of a data set; nothing is read yet."""
    if declared.path is not None:
        path = Path(declared.path)
        if not path.is_file():
            raise FileNotFoundError(
                f"path of data set {declared.name!r} is {str(path)!r}, but there is no such file."
            )
        return FoundData(declared, path, declared.target, declared.unit or "")
    name = declared.source or declared.name
    if name not in KNOWN_DATA:
        what = "name" if declared.source is None else "source"
        raise ValueError(
            f"Unknown data set: {what} is {name!r}; known are {', '.join(KNOWN_DATA)}. For a file "
            "of your own give path= and target=."
        )
    known = KNOWN_DATA[name]
    return FoundData(declared, find_file(known.file, home), known.target, known.unit)


def load_data(found: FoundData) -> LoadedData:
    """Read a data set, or the sample of it that is declared."""
    name, declared = found.declared.name, found.declared
    structures, y = read_matbench(found.path, found.target)
    if getattr(y, "ndim", 1) != 1:
        raise ValueError(
            f"target of data set {name!r} is None, and {found.path} has the targets "
            f"{list(y.columns)}: name one of them."
        )
    values = np.asarray(y, dtype=np.float64)
    missing = np.flatnonzero(~np.isfinite(values))
    if len(missing):
        raise ValueError(
            f"Data set {name!r} has no finite target in {len(missing)} of {len(values)} rows, the "
            f"first row {missing[0]} of {found.path}. Leave them out of the file."
        )
    rows = _sample(name, len(values), declared.sample, declared.sample_seed)
    chosen = [structures[row] for row in rows.tolist()]
    return LoadedData(name, str(y.name), found.unit, chosen, values[rows], rows)


def _sample(name: str, n: int, size: int | None, seed: int) -> np.ndarray:
    if size is None:
        return np.arange(n)
    if size > n:
        raise ValueError(f"sample of data set {name!r} is {size}, but the file has {n} crystals.")
    return np.sort(np.random.default_rng(seed).permutation(n)[:size])
