"""Rows of Parquet files as crystals and labels."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graphs import Crystals, FrameLabels, optimade_numbers
from ._arrow import (
    flat_numbers,
    flat_symbols,
    list_counts,
    matrices,
    plain_column,
    stresses,
    vectors,
)
from ._column_units import check_unit_columns
from ._parquet_columns import Selection, expected_units

__all__ = ["KBAR_OF_VASP", "ParquetPiece", "convert_rows"]

# VASP prints a stress in kbar that is positive in compression.
KBAR_OF_VASP = -1 / 1602.1766208  # eV/Å^3, positive in tension


@dataclass(frozen=True)
class ParquetPiece:
    """Consecutive rows of a file."""

    file: str
    first_row: int
    crystals: Crystals
    labels: FrameLabels | None
    targets: dict[str, np.ndarray]
    n_malformed: dict[str, int]


def convert_rows(batch: Any, selection: Selection, file: str, first_row: int) -> ParquetPiece:
    """Convert a batch of Arrow rows."""
    n_malformed: dict[str, int] = {}
    n_atoms = list_counts(batch.column("species_at_sites"))
    info = {name: plain_column(batch.column(name)) for name in selection.info}
    _check_units(batch, selection, file, first_row)
    crystals = _convert_crystals(batch, selection, n_atoms, info, file, first_row)
    labels = None
    if selection.labels or not selection.targets:
        with _rows_named(file, first_row, len(n_atoms)):
            labels = _convert_labels(batch, selection, n_atoms, info, n_malformed)
    targets = {name: plain_column(batch.column(name)) for name in selection.targets}
    # A file without such a column has no id in any row.
    has_ids = selection.ids is not None
    n_malformed["ids"] = batch.column(selection.ids).null_count if has_ids else len(batch)
    return ParquetPiece(file, first_row, crystals, labels, targets, n_malformed)


def _check_units(batch: Any, selection: Selection, file: str, first_row: int) -> None:
    """Check the columns that state units of the quantities that are read."""
    if selection.units:
        stated = {name: plain_column(batch.column(name)) for name in selection.units}
        expected = expected_units(bool(selection.labels), selection.targets)
        where = f"Rows {first_row} to {first_row + len(batch) - 1} of {file}: "
        check_unit_columns(stated, expected, where)


@contextmanager
def _rows_named(file: str, first_row: int, n_rows: int) -> Iterator[None]:
    """Name the file and its rows in a ValueError of the block."""
    try:
        yield
    except ValueError as error:
        last = first_row + n_rows - 1
        rows = f"Row {last}" if n_rows == 1 else f"Rows {first_row} to {last}"
        raise ValueError(f"{rows} of {file}: {str(error).removesuffix('.')}.") from error


def _convert_crystals(
    batch: Any,
    selection: Selection,
    n_atoms: np.ndarray,
    info: dict[str, np.ndarray],
    file: str,
    first_row: int,
) -> Crystals:
    ids = None
    if selection.ids is not None:
        column = batch.column(selection.ids)
        ids = None if column.null_count else plain_column(column)
    # 1. Find rows without a structure, and name the first.
    positions = vectors(batch.column("cartesian_site_positions"), n_atoms)
    cells = matrices(batch.column("lattice_vectors"))
    misfit = positions.is_malformed | positions.is_missing | cells.is_malformed | cells.is_missing
    bad = np.flatnonzero((n_atoms == 0) | misfit)
    if bad.size:
        row = int(bad[0])
        name = f" ({selection.ids} {ids[row]})" if ids is not None else ""
        raise ValueError(
            f"Row {first_row + row}{name} of {file}: it has {n_atoms[row]} species_at_sites, and "
            "cartesian_site_positions or lattice_vectors that do not fit; expected one position "
            "per atom and three vectors."
        )
    # 2. Convert all rows at once, but for species that may have any names.
    numbers = _numbers_of_species(batch, file, first_row) if selection.species else None
    with _rows_named(file, first_row, len(n_atoms)):
        return Crystals(
            atomic_numbers=(
                flat_symbols(batch.column("species_at_sites")) if numbers is None else numbers
            ),
            positions=positions.values,
            cell=cells.values,
            n_atoms=n_atoms,
            pbc=_pbc(batch, selection, len(n_atoms)),
            ids=ids,
            info={name: values for name, values in info.items() if name != selection.ids},
        )


def _numbers_of_species(batch: Any, file: str, first_row: int) -> np.ndarray:
    """Return the atomic numbers of all sites by OPTIMADE's descriptions of their species."""
    numbers: list[int] = []
    columns = [batch.column(name).to_pylist() for name in ("species_at_sites", "species")]
    for row, (names, species) in enumerate(zip(*columns, strict=True), first_row):
        with _rows_named(file, row, 1):
            numbers += optimade_numbers({"species_at_sites": names, "species": species})
    return np.array(numbers)


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
        rows = stresses(batch.column("stress_tensor"))
        stress = rows.values * KBAR_OF_VASP
        n_malformed["stress_tensor"] = int(rows.is_malformed.sum())
    atom_info = {name: flat_numbers(batch.column(name), n_atoms, name) for name in selection.atoms}
    return FrameLabels(
        n_atoms, energy=energy, forces=forces, stress=stress, info=info, atom_info=atom_info
    )
