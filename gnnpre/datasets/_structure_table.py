"""Tables with a column of structures or of files of structures."""

import os
import re
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gnnpre._labels import is_missing

from ._repeated_ids import warn_of_repeated_ids
from ._structure_arrays import pack_arrays
from ._structure_cells import arrays_from_cell
from ._structure_files import STRUCTURE_SUFFIXES, FileContent, plain_name, read_structure_file
from ._table_files import SPREADSHEETS, check_decimal_points, load_table, warn_of_missing_words

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TableRows", "files_of_table", "is_table", "read_row", "read_table"]

# Usual names of the column of structures, in any case.
_COLUMN_NAMES = (
    *("structure", "structures", "cif", "cif_string", "cif_str", "crystal", "crystals", "atoms"),
    *("poscar", "file", "filename", "file_name", "files", "path", "cif_file", "structure_file"),
)
_LONGEST_PATH = 1024
_WHOLE_NUMBER = re.compile("0|[1-9][0-9]{0,17}")


class TableRows(NamedTuple):
    """Rows of a table: structures, ids and targets.

    Attributes
    ----------
    name : str
        The table, as messages name it.
    folder : str or None
        Folder that names of files are relative to.
    cells : list
        Cells of the column of structures.
    ids : list
        Ids of the rows.
    targets : DataFrame
        The targets.
    """

    name: str
    folder: str | None
    cells: list[Any]
    ids: list[Any]
    targets: "pd.DataFrame"

    def row_name(self, row: int) -> str:
        """Return the name of a row for messages."""
        return f"Row {row} (id {self.ids[row]}) of {self.name}"


def is_table(source: Any) -> bool:
    """Return whether a source is a DataFrame or the name of a CSV file."""
    if hasattr(source, "columns") and hasattr(source, "iloc"):
        return True
    if not isinstance(source, (str, os.PathLike)):
        return False
    return plain_name(Path(source)).lower().endswith((".csv", ".tsv", *SPREADSHEETS))


def read_table(
    source: Any,
    targets: list[str] | None,
    id_column: str | None,
    structure_column: str | None,
) -> TableRows:
    """Return the rows of a table.

    Parameters
    ----------
    source : DataFrame, str or path-like
        The table, or a CSV file.
    targets, id_column, structure_column : optional
        As for ``read_structures``.

    Returns
    -------
    TableRows
        The rows.

    Raises
    ------
    ValueError
        If the table has no rows, or lacks a column.
    """
    import pandas as pd

    structure_names = _COLUMN_NAMES if structure_column is None else (structure_column,)
    table, name, folder = load_table(source, [id_column, *structure_names])
    if not len(table):
        raise ValueError(f"{name} has no rows.")
    columns = [str(column) for column in table.columns]
    if folder is not None:  # a file, whose header may have blanks behind its commas
        columns = [column.strip() for column in columns]
    table = table.set_axis(columns, axis=1)
    repeated = [column for column in columns if columns.count(column) > 1]
    if repeated:
        raise ValueError(f"{name} has several columns named {repeated[0]!r}: rename or drop one.")
    for parameter, column in (("id_column", id_column), ("structure_column", structure_column)):
        if column is not None and column not in columns:
            raise ValueError(f"{parameter}={column!r}: {name} has the columns {columns}.")
    structures = structure_column or _find_column(table, name, folder, id_column)
    # 1. ids: a column, names of files, or the index
    cells = table[structures].tolist()
    if folder is not None:
        cells = [cell.strip() if isinstance(cell, str) else cell for cell in cells]
    if id_column is not None:
        ids = _read_ids(table[id_column].tolist(), id_column, name)
        # A file holds text: whole numbers are an index of numbers, as of a DataFrame.
        is_whole = folder is not None and all(_WHOLE_NUMBER.fullmatch(item) for item in ids)
        index = [int(item) for item in ids] if is_whole else table[id_column].tolist()
        table = table.set_axis(pd.Index(index, name=id_column), axis=0)
    else:
        ids = _names_or_index(cells, folder, table)
    source = f"{name}, ids by the files or the index" if id_column is None else f"{id_column=}"
    warn_of_repeated_ids(ids, source, lambda row: f"row {row}")
    names = _target_columns(
        table, targets, {structures, id_column}, name, is_file=folder is not None
    )
    return TableRows(name, folder, cells, ids, table[names])


def _target_columns(
    table: "pd.DataFrame",
    targets: list[str] | None,
    used: set[str | None],
    name: str,
    is_file: bool,
) -> list[str]:
    """Return the columns of targets: those named, or all that are not used for something else."""
    columns = list(table.columns)
    names = [column for column in columns if column not in used] if targets is None else targets
    missing = [column for column in names if column not in columns]
    if missing:
        absent = ", ".join(map(repr, missing))
        raise ValueError(f"targets={targets!r}: {name} has no column {absent} but {columns}.")
    for column in targets or ():
        check_decimal_points(table[column].tolist(), column, name)
    if is_file:
        warn_of_missing_words(name, table, names)
    return names


def _names_or_index(cells: list[Any], folder: str | None, table: "pd.DataFrame") -> list[str]:
    """Return the names of the files in the cells, or else the index."""
    if all(_names_file(cell, folder) for cell in cells):
        return [_stem(cell) for cell in cells]
    return [str(item) for item in table.index.tolist()]


def _read_ids(values: list[Any], column: str, name: str) -> list[str]:
    """Return ids as text; one that is missing is an error."""
    ids = ["" if is_missing(value) else str(value).strip() for value in values]
    if "" in ids:
        row = ids.index("")
        raise ValueError(f"id_column={column!r}: row {row} of {name} has none. Fill it.")
    return ids


def _find_column(
    table: "pd.DataFrame", name: str, folder: str | None, id_column: str | None
) -> str:
    # 1. by name
    folded = {column.lower(): column for column in table.columns}
    for candidate in _COLUMN_NAMES:
        if candidate in folded and folded[candidate] != id_column:
            return str(folded[candidate])
    # 2. by the first cell
    for column in table.columns:
        cell = table[column].iloc[0]
        if isinstance(cell, Mapping) or hasattr(cell, "sites") or hasattr(cell, "arrays"):
            return str(column)
        if isinstance(cell, str) and ("_cell_length_a" in cell or _is_file_name(cell)):
            return str(column)
    # 3. none: a single column often means another separator
    columns = list(table.columns)
    separator = next((mark for mark in ";\t|" if len(columns) == 1 and mark in columns[0]), None)
    if separator is not None:
        raise ValueError(
            f"{name} has one column, {columns[0]!r}: it is separated by {separator!r}, not by "
            "commas. Save it with commas (and decimal points), or pass the DataFrame of "
            f"pandas.read_csv(..., sep={separator!r}), with paths of files that hold from here."
        )
    raise ValueError(
        f"{name} has no column of structures among {columns}; name it with structure_column=. It "
        "holds CIF text, structures, or names of files (the suffix may be absent)."
    )


def _is_file_name(cell: Any) -> bool:
    if isinstance(cell, os.PathLike):
        return True
    if not isinstance(cell, str) or "\n" in cell or len(cell) > _LONGEST_PATH or "{" in cell:
        return False
    name = plain_name(Path(cell)).lower()
    return name.endswith(STRUCTURE_SUFFIXES) or name.startswith(("poscar", "contcar"))


def _names_file(cell: Any, folder: str | None) -> bool:
    """Return whether a cell is the name of a file, with a suffix or without it."""
    if _is_file_name(cell):
        return True
    try:
        return _file_of(cell, folder) is not None
    except ValueError:
        return False


def _stem(cell: Any) -> str:
    path = Path(cell)
    name = plain_name(path)
    for suffix in STRUCTURE_SUFFIXES:
        if name.lower().endswith(suffix):
            return (path.parent / name[: -len(suffix)]).as_posix()
    return path.as_posix()


def read_row(cell: Any, folder: str | None) -> FileContent:
    """Return the one structure of a cell: its own, or that of the file that it names.

    Parameters
    ----------
    cell : object
        Structure, text, dictionary or name of a file.
    folder : str or None
        Folder that names of files are relative to.

    Returns
    -------
    FileContent
        One structure.

    Raises
    ------
    ValueError
        If there is no such file, or it or the cell does not hold one structure.
    """
    path = _file_of(cell, folder)
    if path is None:
        return FileContent(pack_arrays([arrays_from_cell(cell)]), {})
    content = read_structure_file(path)
    if len(content.crystals) != 1:
        raise ValueError(f"{path} holds {len(content.crystals)} structures; a row has one.")
    return content


def files_of_table(path: Path, structure_column: str | None = None) -> list[Path]:
    """Return the files that the rows of a CSV file name; rows without one are passed over."""
    rows = read_table(path, None, None, structure_column)
    files = []
    for cell in rows.cells:
        with suppress(ValueError):  # the reader explains which row is wrong
            files.append(_file_of(cell, rows.folder))
    return [file for file in files if file is not None]


def _file_of(cell: Any, folder: str | None) -> Path | None:
    """Return the path that a cell names, None if it holds a structure itself."""
    is_short_text = isinstance(cell, str) and "\n" not in cell and len(cell) <= _LONGEST_PATH
    if not (isinstance(cell, os.PathLike) or (is_short_text and "{" not in cell)):
        return None
    if isinstance(cell, str) and not cell.strip():
        raise ValueError("the cell is empty; expected a structure or the name of a file")
    for name in _spellings(os.fspath(cell)):
        path = Path(folder or "", name)
        # Ids are names of files, too: mp-149 for mp-149.cif.
        for candidate in (path, *(path.with_name(path.name + end) for end in STRUCTURE_SUFFIXES)):
            if candidate.is_file():
                return candidate
    raise ValueError(f"there is no file {Path(folder or '', cell)}")


def _spellings(name: str) -> list[str]:
    """Return the name of a file as other systems write it.

    Windows separates folders by backslashes, and macOS writes letters and their accents apart.
    """
    plain = name.replace("\\", "/")
    composed = [unicodedata.normalize(form, plain) for form in ("NFC", "NFD")]
    return list(dict.fromkeys([name, plain, *composed]))
