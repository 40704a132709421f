"""Data sets of a study, located and read."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gnnpre._labels import as_floats, rows_text
from gnnpre.graphs import CrystalGraphs, StructureToGraph

from ..declare._data_set import DataSet
from ..declare._paths import TABLE_SUFFIXES
from ._files import MATBENCH, expand_path, find_matbench, hash_content
from ._tables import number_columns, read_table

__all__ = ["LoadedData", "LocatedData", "load_data", "locate_data"]


@dataclass(frozen=True)
class LocatedData:
    """A data set whose file exists."""

    declared: DataSet
    path: Path
    target: str | None
    unit: str

    @property
    def matbench_name(self) -> str | None:
        """The name of its MatBench table; None for a file of the user."""
        return None if self.declared.path else self.declared.source or self.declared.name

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """All that decides which crystals and labels it has."""
        return {
            "name": self.declared.name,
            "sha256": hash_content(self.path),
            "target": self.target,
            "sample": self.declared.sample,
            "sample_seed": None if self.declared.sample is None else self.declared.sample_seed,
            "n_labels": self.declared.n_labels,
        }

    @property
    def digest(self) -> str:
        """Digest of :attr:`parameters`: another file, target or sample has another one."""
        text = json.dumps(self.parameters, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class LoadedData:
    """Crystals and their property, in the order that the indices of records refer to."""

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
        """Return some of the structures."""
        return [self.structures[index] for index in indices.tolist()]

    def summary(self) -> dict[str, Any]:
        """Describe the data set for its file in the folder of a study."""
        return {
            "name": self.name,
            "target": self.target,
            "unit": self.unit,
            "n": len(self),
            "formulas": [s.composition.reduced_formula for s in self.structures],
            "rows": self.rows.tolist(),
        }


def locate_data(declared: DataSet, home: Path | None) -> LocatedData:
    """Locate the file of a data set; nothing is read yet."""
    if declared.path is not None:
        what = f"path of data set {declared.name!r}"
        path = expand_path(what, declared.path)
        if path.is_dir():
            raise ValueError(f"{what} is {str(path)!r}, a folder; expected a file.")
        if not path.is_file():
            raise FileNotFoundError(f"{what} is {str(path)!r}, but there is no such file.")
        if not path.name.lower().endswith(TABLE_SUFFIXES):
            raise ValueError(
                f"{what} is {str(path)!r}; expected a file that ends in "
                f"{', '.join(TABLE_SUFFIXES)}."
            )
        return LocatedData(declared, path, declared.target, declared.unit or "")
    name = declared.source or declared.name
    if name not in MATBENCH:
        field = "name" if declared.source is None else "source"
        raise ValueError(
            f"Unknown data set: {field} is {name!r}; expected a table of MatBench "
            f"({', '.join(MATBENCH)}). For a file of your own set path, target and unit."
        )
    return LocatedData(declared, find_matbench(name, home), None, MATBENCH[name].unit)


def load_data(located: LocatedData) -> LoadedData:
    """Read a data set, or the sample of it that is declared."""
    name, declared = located.declared.name, located.declared
    # 1. the file, with one target
    crystals, table = read_table(located.path, located.target)
    if located.target is None and table.shape[1] != 1:
        # Text, such as formulas, is no target.
        table = table[list(number_columns(table, located.path))]
    if table.shape[1] != 1:
        raise ValueError(
            f"target of data set {name!r} is None, and {located.path} has the targets "
            f"{list(table.columns)}: name one of them."
        )
    y = table.iloc[:, 0]
    _check_rows(located, len(crystals))
    # 2. a number for each crystal
    values = as_floats(f"target {y.name} of data set {name!r}", y.to_numpy(), n_dims=(1,))
    missing = np.flatnonzero(np.isnan(values))
    if len(missing):
        raise ValueError(
            f"Data set {name!r} has no target {y.name} in {len(missing)} of {len(values)} rows of "
            f"{located.path}, the first at {rows_text(missing, y)}. Leave them out of the file."
        )
    # 3. the declared sample, in the order of the file
    rows = _sample(name, len(values), declared.sample, declared.sample_seed)
    structures = crystals[rows].to_structures()
    return LoadedData(name, str(y.name), located.unit, structures, values[rows], rows)


def _check_rows(located: LocatedData, n_rows: int) -> None:
    """Check that a table named as one of MatBench's has its rows: scores would not compare."""
    name = located.matbench_name
    if name is not None and n_rows != MATBENCH[name].n_rows:
        raise ValueError(
            f"{located.path} has {n_rows} rows; MatBench's {name} has {MATBENCH[name].n_rows}. For "
            "a table of your own set path, target and unit, and choose another name."
        )


def _sample(name: str, n: int, size: int | None, seed: int) -> np.ndarray:
    if size is None:
        return np.arange(n)
    if size > n:
        raise ValueError(f"sample of data set {name!r} is {size}, but the file has {n} crystals.")
    return np.sort(np.random.default_rng(seed).permutation(n)[:size])
