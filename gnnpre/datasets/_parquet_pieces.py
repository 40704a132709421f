"""Rows of Parquet files with LeMat's columns, piece by piece."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..graphs import Crystals, FrameLabels
from ._arrow import flat_numbers, flat_symbols, list_counts, matrices, plain_column, vectors
from ._extras import import_extra
from ._parameters import check_paths
from ._parquet_types import check_types

__all__ = [
    "ATOM_COLUMNS",
    "KBAR_OF_VASP",
    "ParquetPiece",
    "Selection",
    "convert_rows",
    "iterate_group",
    "iterate_parquet",
    "select_columns",
]

# VASP prints a stress in kbar that is positive in compression.
KBAR_OF_VASP = -1 / 1602.1766208  # eV/Å^3, positive in tension
#: Entry of the metadata of our own files that names the columns of atoms.
ATOM_COLUMNS = b"gnnpre.atom_info"
_GEOMETRY = ("species_at_sites", "lattice_vectors", "cartesian_site_positions")
_LABELS = ("energy", "forces", "stress_tensor")
_IDS = ("immutable_id", "id")
# Scalars that repeat the structure or hold JSON: not read unless asked for.
_SKIPPED = {"nsites", "nelements", "nperiodic_dimensions", "species", "last_modified"}
_BATCH_ROWS = 16384
_PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class ParquetPiece:
    """Consecutive rows of a file."""

    file: str
    first_row: int
    crystals: Crystals
    labels: FrameLabels | None
    targets: dict[str, np.ndarray]
    n_malformed: dict[str, int]


def iterate_parquet(
    source: _PathLike | Iterable[_PathLike],
    targets: Sequence[str] | None = None,
    *,
    columns: Sequence[str] | None = None,
    labels: bool = True,
    batch_rows: int = _BATCH_ROWS,
) -> Iterator[ParquetPiece]:
    """Read Parquet files piece by piece, never more than one of them in memory.

    Parameters
    ----------
    source, targets, columns : optional
        As for :func:`read_parquet`.
    labels : bool, default=True
        Whether to read energy, forces and stress.
    batch_rows : int, default=16384
        Most rows of a piece.

    Yields
    ------
    ParquetPiece
        The rows, in order.

    Raises
    ------
    ValueError
        As :func:`read_parquet`.
    """
    n_rows = 0
    paths = check_paths("source", source, ".parquet")
    for path in paths:
        for piece in _iterate_file(path, targets, columns, labels, batch_rows):
            n_rows += len(piece.crystals)
            yield piece
    if not n_rows:
        raise ValueError(f"There are no rows in {', '.join(map(str, paths))}.")


def _iterate_file(
    path: Path,
    targets: Sequence[str] | None,
    columns: Sequence[str] | None,
    labels: bool,
    batch_rows: int,
) -> Iterator[ParquetPiece]:
    import_extra("pyarrow", "store", "read_parquet")
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}.")
    # Row group by row group, so that a file of any size takes the memory of one.
    first_row = 0
    try:
        with pq.ParquetFile(path) as file:
            selection = select_columns(file.schema_arrow, path, targets, columns, labels)
            n_groups = file.num_row_groups
        for group in range(n_groups):
            for batch in iterate_group(path, group, selection.names, batch_rows):
                yield convert_rows(batch, selection, str(path), first_row)
                first_row += len(batch)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} cannot be read after {first_row} rows ({error}): it is truncated, damaged or "
            "no Parquet file."
        ) from error


def iterate_group(
    path: Path, group: int, names: list[str], batch_rows: int, footer: Any = None
) -> Iterator[Any]:
    """Read the batches of a row group; ``footer`` is that of the file, if it has been read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Symbols come as codes of a dictionary, without a string for each atom. Arrow cannot do so
    # where a batch has several dictionaries.
    for as_codes in (["species_at_sites.list.element"], None):
        n_batches = 0
        try:
            with pq.ParquetFile(path, read_dictionary=as_codes, metadata=footer) as file:
                for batch in file.iter_batches(
                    batch_rows, row_groups=[group], columns=names, use_threads=False
                ):
                    n_batches += 1
                    yield batch
                return
        except pa.ArrowNotImplementedError:
            if as_codes is None or n_batches:
                raise


@dataclass(frozen=True)
class Selection:
    """Columns of a file to read, by their use."""

    labels: tuple[str, ...]
    ids: str | None
    pbc: bool
    info: tuple[str, ...]
    targets: tuple[str, ...]
    atoms: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """All columns, each once."""
        names = (*_GEOMETRY, *self.labels, *self.info, *self.targets, *self.atoms)
        extra = [name for name in (self.ids, "dimension_types" if self.pbc else None) if name]
        return list(dict.fromkeys([*names, *extra]))


def select_columns(
    schema: Any,
    path: Path,
    targets: Sequence[str] | None,
    columns: Sequence[str] | None,
    labels: bool,
) -> Selection:
    """Choose the columns to read from a file; raise ValueError for one that it lacks."""
    import pyarrow as pa

    available = schema.names
    # 1. names that pyarrow could not tell apart, or that are missing
    repeated = sorted({name for name in available if available.count(name) > 1})
    if repeated:
        raise ValueError(
            f"{path} has several columns named {', '.join(map(repr, repeated))}; expected names "
            "that differ."
        )
    missing = [
        name for name in (*_GEOMETRY, *(targets or ()), *(columns or ())) if name not in available
    ]
    if missing:
        raise ValueError(
            f"{path} has no column {', '.join(map(repr, missing))}; it has {available}. A table "
            "with structures as CIF text or dictionaries is read with pandas.read_parquet and "
            "read_structures."
        )
    check_types(schema, path)
    # 2. the columns to read; by default all that hold one value for each crystal
    ids = next((name for name in _IDS if name in available), None)
    atoms = _columns_of_atoms(schema, columns or ()) if labels else []
    if columns is not None:
        columns = [name for name in columns if name not in atoms]
    else:
        columns = [
            field.name
            for field in schema
            if not pa.types.is_nested(field.type)
            and field.name not in {*_SKIPPED, "energy"}
            and field.name not in (targets or ())
        ]
    return Selection(
        labels=tuple(
            name
            for name in _LABELS
            if labels and name in available and not pa.types.is_null(schema.field(name).type)
        ),
        ids=ids,
        pbc="dimension_types" in available,
        info=tuple(columns),
        targets=tuple(targets or ()),
        atoms=tuple(atoms),
    )


def _columns_of_atoms(schema: Any, columns: Sequence[str]) -> list[str]:
    """Return the columns of one number per atom: those of our own files, and those asked for."""
    import pyarrow as pa

    stated = (schema.metadata or {}).get(ATOM_COLUMNS, b"[]")
    try:
        own_names = [str(name) for name in json.loads(stated)]
    except (TypeError, ValueError):  # another program's metadata under this name
        own_names = []
    return [
        field.name
        for field in schema
        if field.name in {*own_names, *columns}
        and pa.types.is_list(field.type)
        and pa.types.is_floating(field.type.value_type)
    ]


def convert_rows(batch: Any, selection: Selection, file: str, first_row: int) -> ParquetPiece:
    """Convert a batch of Arrow rows."""
    n_malformed: dict[str, int] = {}
    # 1. structures
    species = batch.column("species_at_sites")
    n_atoms = list_counts(species)
    info = {name: plain_column(batch.column(name)) for name in selection.info}
    ids = None
    if selection.ids is not None and not batch.column(selection.ids).null_count:
        ids = plain_column(batch.column(selection.ids))

    def fail(row: int, problem: str) -> ValueError:
        name = f" ({selection.ids} {ids[row]})" if ids is not None else ""
        return ValueError(f"Row {first_row + row}{name} of {file}: {problem}.")

    positions = vectors(batch.column("cartesian_site_positions"), n_atoms)
    cells = matrices(batch.column("lattice_vectors"))
    bad = np.flatnonzero(
        (n_atoms == 0)
        | positions.is_malformed
        | positions.is_missing
        | cells.is_malformed
        | cells.is_missing
    )
    if bad.size:
        row = int(bad[0])
        raise fail(
            row,
            f"it has {n_atoms[row]} species_at_sites, and cartesian_site_positions or "
            "lattice_vectors that do not fit; expected one position per atom and three vectors",
        )
    try:
        crystals = Crystals(
            atomic_numbers=flat_symbols(species),
            positions=positions.values,
            cell=cells.values,
            n_atoms=n_atoms,
            pbc=_pbc(batch, selection, len(n_atoms)),
            ids=ids,
            info={name: values for name, values in info.items() if name != selection.ids},
        )
    except ValueError as error:
        last = first_row + len(n_atoms) - 1
        raise ValueError(f"Rows {first_row} to {last} of {file}: {error}") from error
    # 2. labels
    labels = None
    if selection.labels or not selection.targets:
        try:
            labels = _convert_labels(batch, selection, n_atoms, info, n_malformed)
        except ValueError as error:
            last = first_row + len(n_atoms) - 1
            raise ValueError(f"Rows {first_row} to {last} of {file}: {error}.") from error
    targets = {name: plain_column(batch.column(name)) for name in selection.targets}
    return ParquetPiece(file, first_row, crystals, labels, targets, n_malformed)


def _pbc(batch: Any, selection: Selection, n: int) -> Any:
    if not selection.pbc:
        return True
    column = batch.column("dimension_types")
    flat = column.flatten().to_numpy(zero_copy_only=False)
    if (list_counts(column) != 3).any() or not np.isin(flat, (0, 1)).all():
        raise ValueError("dimension_types should be three of 0 and 1 in each row")
    return flat.astype(bool).reshape(n, 3)


def _convert_labels(
    batch: Any,
    selection: Selection,
    n_atoms: np.ndarray,
    info: dict[str, np.ndarray],
    n_malformed: dict[str, int],
) -> FrameLabels:
    energy = forces = stress = None
    if "energy" in selection.labels:
        energy = plain_column(batch.column("energy")).astype(np.float64)
    if "forces" in selection.labels:
        rows = vectors(batch.column("forces"), n_atoms)
        forces, n_malformed["forces"] = rows.values, int(rows.is_malformed.sum())
    if "stress_tensor" in selection.labels:
        rows = matrices(batch.column("stress_tensor"))
        stress = rows.values * KBAR_OF_VASP
        n_malformed["stress_tensor"] = int(rows.is_malformed.sum())
    atom_info = {name: flat_numbers(batch.column(name), n_atoms, name) for name in selection.atoms}
    return FrameLabels(
        n_atoms, energy=energy, forces=forces, stress=stress, info=info, atom_info=atom_info
    )
