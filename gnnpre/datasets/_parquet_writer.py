"""Write crystals and labels as Parquet with LeMat's column names."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gnnpre._atomic import replace_file
from gnnpre._validation import check_path

from ..graphs import Crystals, FrameLabels
from ._composition import composition_keys, formula_column
from ._extras import import_extra
from ._parquet_columns import ATOM_COLUMNS
from ._parquet_rows import KBAR_OF_VASP
from ._written_columns import check_labels_of, written_columns

__all__ = ["plain_values", "rows_table", "to_parquet", "write_rows"]

_GROUP_ROWS = 10_000  # of a row group, which readers load as a whole
# Written anew from the structures, also where a reader has returned them as info.
_DERIVED = {"elements", "nsites", "nelements", "chemical_formula_reduced", "nperiodic_dimensions"}
_RESERVED = {
    *_DERIVED,
    *("lattice_vectors", "species_at_sites", "cartesian_site_positions", "dimension_types"),
    *("energy", "forces", "stress_tensor"),
}
_UNITS = {
    "lattice_vectors": "angstrom, as rows",
    "cartesian_site_positions": "angstrom",
    "energy": "eV per cell",
    "forces": "eV/angstrom",
    "stress_tensor": "kbar, positive in compression (VASP)",
}


def to_parquet(
    path: str | os.PathLike[str],
    crystals: Any,
    labels: FrameLabels | None = None,
    *,
    targets: Any = None,
) -> None:
    """Write crystals and labels to a Parquet file with the column names of LeMat-Bulk.

    Parameters
    ----------
    path : str or path-like
        The file, which is replaced as a whole.
    crystals : Crystals or list of structures
        The crystals. ``ids`` become ``immutable_id``; columns of ``info`` keep their names.
    labels : FrameLabels, optional
        Energies, forces, stresses, and columns of ``info`` and ``atom_info``.
    targets : Series, DataFrame or dict of arrays, optional
        Columns of targets.

    Raises
    ------
    ValueError
        If the arguments differ in length, or a column has the name of one that is written.
    ImportError
        If pyarrow, of the extra ``store``, is not installed.

    See Also
    --------
    read_parquet : Read such a file.

    Notes
    -----
    As in LeMat-Bulk, ``stress_tensor`` is in kbar and positive in compression; missing labels are
    null.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gnnpre.datasets import make_emt_property, read_parquet, to_parquet
    >>> structures, y = make_emt_property(2, random_state=0)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "alloys.parquet"
    >>> to_parquet(path, structures, targets={"bulk_modulus": y})
    >>> crystals, read_y = read_parquet(path, "bulk_modulus")
    >>> bool((read_y == y).all())
    True
    """
    import_extra("pyarrow", "store", "to_parquet")
    if not isinstance(crystals, Crystals):
        crystals = Crystals.from_structures(crystals)
    write_rows(check_path("path", path), crystals, labels, targets, _GROUP_ROWS)


def write_rows(
    path: Path, crystals: Crystals, labels: FrameLabels | None, targets: Any, group_rows: int
) -> list[str]:
    """Write a file in row groups of ``group_rows``; return its columns of ids, info and targets."""
    import pyarrow.parquet as pq

    if not len(crystals):
        raise ValueError("crystals is empty: there is nothing to write.")
    check_labels_of(crystals, labels)
    extra = written_columns(
        crystals, labels, targets, "immutable_id", lambda name: name in _RESERVED, _DERIVED
    )
    if "immutable_id" in extra:
        extra["immutable_id"] = extra["immutable_id"].astype(str)
    for name in () if labels is None else labels.atom_info:
        if name in {*_RESERVED, *_DERIVED, *extra}:
            raise ValueError(
                f"A column of atom_info is named {name!r}, as another column of the file is: "
                "rename it."
            )
    # Of whole columns: the first rows of one may be empty, or integers before other numbers.
    columns = {name: _column(name, values) for name, values in extra.items()}
    with replace_file(path) as new:
        schema: Any = None
        writer: Any = None
        for start in range(0, len(crystals), group_rows):
            rows = slice(start, start + group_rows)
            table = rows_table(
                crystals[rows],
                None if labels is None else labels[rows],
                {name: column.slice(start, group_rows) for name, column in columns.items()},
            )
            if writer is None:
                schema = table.schema
                writer = pq.ParquetWriter(new, schema, compression="zstd", write_page_checksum=True)
            # One row group, however many rows the writer would put in one.
            writer.write_table(table.cast(schema), row_group_size=group_rows)
        writer.close()
    return list(extra)


def _elements(crystals: Crystals) -> list[list[str]]:
    """Return the sorted elements of each crystal."""
    from ase.data import chemical_symbols

    keys = composition_keys(crystals)
    _, firsts = np.unique(keys, return_index=True)
    lists = []
    for row in firsts.tolist():
        numbers = crystals.atomic_numbers[crystals.offsets[row] : crystals.offsets[row + 1]]
        lists.append(sorted({chemical_symbols[number] for number in numbers.tolist()}))
    return [lists[key] for key in keys.tolist()]


def rows_table(crystals: Crystals, labels: FrameLabels | None, extra: Mapping[str, Any]) -> Any:
    """Return crystals, labels and further Arrow arrays as an Arrow table with LeMat's columns."""
    import pyarrow as pa
    from ase.data import chemical_symbols

    n = len(crystals)
    formulas, elements = formula_column(crystals).tolist(), _elements(crystals)
    offsets = crystals.offsets
    symbols = pa.array(np.array(chemical_symbols)[crystals.atomic_numbers])
    # 1. structures, under the names of OPTIMADE, which LeMat-Bulk has too
    columns = {
        "elements": pa.array(elements, type=pa.list_(pa.string())),
        "nsites": pa.array(crystals.n_atoms, type=pa.int32()),
        "nelements": pa.array([len(item) for item in elements], type=pa.int8()),
        "chemical_formula_reduced": pa.array(formulas, type=pa.string()),
        "dimension_types": _lists(
            pa.array(crystals.pbc.ravel(), type=pa.int8()), 3 * np.arange(n + 1)
        ),
        "nperiodic_dimensions": pa.array(crystals.pbc.sum(axis=1), type=pa.int8()),
        "lattice_vectors": _vectors(crystals.cell.reshape(-1, 3), 3 * np.arange(n + 1)),
        "species_at_sites": _lists(symbols, offsets),
        "cartesian_site_positions": _vectors(crystals.positions, offsets),
    }
    if labels is not None:
        # 2. labels; LeMat-Bulk has the stress in kbar, with the sign of VASP
        stress = labels.stress / KBAR_OF_VASP
        no_forces = np.logical_and.reduceat(np.isnan(labels.forces).all(axis=1), offsets[:-1])
        no_stress = np.asarray(np.isnan(stress).all(axis=(1, 2)))
        columns |= {
            "energy": pa.array(labels.energy, mask=np.isnan(labels.energy)),
            "forces": _vectors(labels.forces, offsets, no_forces),
            "stress_tensor": _vectors(stress.reshape(-1, 3), 3 * np.arange(n + 1), no_stress),
        }
        for name, values in labels.atom_info.items():
            without = np.logical_and.reduceat(np.isnan(values), offsets[:-1])
            columns[name] = _lists(pa.array(values), offsets, without)
    columns |= extra
    atom_columns = [] if labels is None else list(labels.atom_info)
    metadata = {
        b"gnnpre.units": json.dumps(_UNITS).encode(),
        ATOM_COLUMNS: json.dumps(atom_columns).encode(),
    }
    return pa.table(columns, metadata=metadata)


def _lists(values: Any, offsets: np.ndarray, missing: np.ndarray | None = None) -> Any:
    import pyarrow as pa

    mask = None if missing is None else pa.array(missing)
    return pa.ListArray.from_arrays(pa.array(offsets, type=pa.int32()), values, mask=mask)


def _vectors(values: np.ndarray, offsets: np.ndarray, missing: np.ndarray | None = None) -> Any:
    """Return vectors (N, 3) as lists of lists of three numbers, one outer list per row."""
    import pyarrow as pa

    inner = _lists(pa.array(np.ascontiguousarray(values).ravel()), 3 * np.arange(len(values) + 1))
    return _lists(inner, offsets, missing)


def _column(name: str, values: np.ndarray) -> Any:
    import pyarrow as pa

    try:
        return plain_values(values)
    except pa.ArrowException as error:
        raise ValueError(
            f"Column {name!r} holds values of several types ({error}); a column of Parquet has "
            "one: write numbers and text to columns of their own, or all of them as text."
        ) from error


def plain_values(values: np.ndarray) -> Any:
    """Return a column of numbers or text for Arrow, null where a value is missing."""
    import pyarrow as pa

    if values.dtype.kind in "OU":
        return pa.array(
            [None if value is None or value != value else value for value in values.tolist()]
        )
    return pa.array(values, mask=np.isnan(values) if values.dtype.kind == "f" else None)
