"""Crystals and tables from whatever a user names on the command line."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

__all__ = ["Source", "is_matbench", "read_source", "refuse_option", "text_of_ids"]

FORMULAS = ("chemical_formula_reduced",)
#: Parameters of readers in messages, and the options that have their values.
COLUMN_PARAMETER = re.compile(r"\b(structure|id)_column=")


@dataclass(frozen=True)
class Source:
    """Crystals that were read, a table with the same rows, and a count of those skipped."""

    crystals: Any
    table: Any
    n_skipped: int

    @property
    def ids(self) -> np.ndarray:
        """Names of the crystals: their ids, or the index of the table."""
        ids = self.crystals.ids
        return np.asarray(self.table.index if ids is None else ids)

    def column(self, name: str, option: str) -> Any:
        """Return a column of the table."""
        if name in self.table:
            return self.table[name]
        # Formulas may be groups, but nothing to learn.
        offered = [each for each in self.table if option != "--target" or each not in FORMULAS]
        columns = ", ".join(map(str, offered)) or "none"
        raise click.UsageError(f"{option} {name}: the source has no such column; it has {columns}.")


def read_source(
    source: str,
    *,
    structure_column: str | None = None,
    id_column: str | None = None,
    n_jobs: int | None = None,
) -> Source:
    """Read crystals; files and rows that cannot be read are listed on stderr and left out."""
    if not source:
        raise click.UsageError("SOURCE is an empty text; expected a folder, a file or a pattern.")
    path = Path(source)
    if path.suffix == ".gnnpre":
        raise click.UsageError(f"{source} is a model file; expected structures.")
    # Formats of whole tables first; read_structures takes everything else.
    if path.suffix == ".parquet" or (path.is_dir() and any(path.glob("*.parquet"))):
        refuse_option("--structure-column", structure_column, source, "columns of LeMat")
        return _read_parquet(source, id_column)
    if is_matbench(path):
        from gnnpre.datasets import read_matbench

        refuse_option("--structure-column", structure_column, source, "MatBench's columns")
        refuse_option("--id-column", id_column, source, "its ids in its index")
        crystals, table = read_matbench(source)
        return Source(crystals, _as_frame(table), 0)
    from gnnpre.datasets import read_structures

    try:
        crystals, table, skipped = read_structures(
            source,
            id_column=id_column,
            n_jobs=n_jobs,
            errors="skip",
            structure_column=structure_column,
        )
    except ValueError as error:
        raise ValueError(_with_options(str(error))) from error
    for row in skipped.itertuples(index=False):
        click.echo(f"Skipped {row.source}: {row.reason}", err=True)
    return Source(crystals, table, len(skipped))


def _with_options(message: str) -> str:
    """Return the message of a reader with options in place of its parameters."""
    message = COLUMN_PARAMETER.sub(r"--\1-column ", message)
    return message.replace("-column .", "-column.")


def refuse_option(option: str, value: str | None, source: str, reason: str) -> None:
    """Raise if a column is named of a format in which it is fixed."""
    if value is not None:
        raise click.UsageError(f"{option} {value}: {source} has {reason}; leave the option out.")


def _read_parquet(source: str, id_column: str | None) -> Source:
    import pandas as pd

    from gnnpre.datasets import read_parquet

    crystals, labels = read_parquet(source)
    columns = dict(crystals.info)
    # Energies of frames are a column in the other formats, too.
    if np.isfinite(labels.energy).any():
        columns.setdefault("energy", labels.energy)
    if id_column is not None:
        # Of all columns, that of the ids too, which the table has not.
        stored = Source(crystals, pd.DataFrame(dict(labels.info)), 0)
        crystals.ids = text_of_ids(stored.column(id_column, "--id-column"))
    return Source(crystals, pd.DataFrame(columns), 0)


def text_of_ids(column: Any) -> np.ndarray:
    """Return a column of ids as text, after a check that none is missing."""
    missing = column.isna().to_numpy()
    if missing.any():
        raise click.UsageError(
            f"--id-column {column.name}: row {int(np.argmax(missing))} has no id; fill it in."
        )
    return column.astype(str).to_numpy(dtype=str)


def _as_frame(table: Any) -> Any:
    return table.to_frame() if table.ndim == 1 else table


def is_matbench(path: Path) -> bool:
    """Return whether a file is a table in MatBench's format."""
    from gnnpre.datasets import detect_format

    # Other suffixes are tables and archives, whose content says nothing about structures.
    if not path.is_file() or not path.name.lower().endswith((".json", ".json.gz")):
        return False
    try:
        return detect_format(path) == "matbench"
    except ValueError:
        return False  # the reader explains it
