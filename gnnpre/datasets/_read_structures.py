"""Structures of folders, archives, files and tables, with targets where a table has them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gnnpre._validation import check_n_jobs

from ..graphs import Crystals
from ._parameters import check_choice, check_name, check_names
from ._parser_warnings import WarningCounts, count_warnings, report_warnings
from ._repeated_ids import warn_of_repeated_ids
from ._structure_files import FileContent, read_structure_file
from ._structure_sources import SourceFile, source_files
from ._structure_table import TableRows, is_table, read_row, read_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_structures"]

_CHUNK = 64  # files or rows that a worker reads at a time


class _Read(NamedTuple):
    """Content of one file or row, or the reason why there is none."""

    content: FileContent | None
    problem: str


def read_structures(
    source: Any,
    targets: str | Sequence[str] | None = None,
    id_column: str | None = None,
    n_jobs: int | None = None,
    errors: str = "raise",
    *,
    structure_column: str | None = None,
) -> Any:
    r"""Read structures from a folder, a list of files, an archive or a table.

    Parameters
    ----------
    source : str, path-like, list of them, or DataFrame
        One of

        - a folder (with its subfolders, also those behind links), a pattern such as
          ``"cifs/*.cif"``, a file, a list of files, or a zip or tar archive, of CIF, POSCAR and
          CONTCAR, pymatgen's JSON, extended XYZ or ASE databases, compressed or not;
        - a CSV file or DataFrame with a column of file names (relative to the CSV file), CIF or
          POSCAR text, JSON, dictionaries, or pymatgen or ASE objects.
    targets : str or list of str, optional
        Columns of the table to return; all others than structures and ids by default. Files of
        extended XYZ and ASE databases have columns, too.
    id_column : str, optional
        Column of the table with the ids of the crystals. By default names of files, or else the
        index of the DataFrame.
    n_jobs : int, optional
        Number of processes, as joblib understands it.
    errors : {"raise", "skip"}, default="raise"
        ``"skip"`` leaves out files and rows that cannot be read, and also returns a table of them.
    structure_column : str, optional
        Column of the table with the structures. By default one of the usual names, such as
        ``"structure"``, ``"cif"`` or ``"file"``, or the first one that holds structures.

    Returns
    -------
    crystals : Crystals
        The n crystals, with ids. ``index`` is that of the table.
    y : Series of shape (n,) or DataFrame of shape (n, n_targets)
        The targets, with the same index: a Series if ``targets`` is one name. The DataFrame has
        no columns if there are no targets.
    skipped : DataFrame
        Only with ``errors="skip"``: columns ``source`` (file, or row of the table) and
        ``reason``.

    Raises
    ------
    ValueError
        If a file or row cannot be read (the message names it), or there is nothing to read.
    FileNotFoundError
        If there is no such file or folder.

    Warns
    -----
    UserWarning
        If a parser had remarks on the files (they are counted and reported once), ids are
        repeated, or a folder or archive holds archives, which are not opened.

    See Also
    --------
    read_frames : Energies, forces and stresses from extended XYZ and other files.
    read_parquet : LeMat-Bulk and other Parquet files.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gnnpre.datasets import make_emt_property, read_structures
    >>> structures, y = make_emt_property(2, random_state=0)
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name, structure in zip("ab", structures):
    ...     _ = structure.to(str(folder / f"{name}.cif"))
    >>> _ = (folder / "table.csv").write_text("file,K\na.cif,120.5\nb.cif,180.0\n")
    >>> crystals, K = read_structures(folder / "table.csv", "K")
    >>> crystals.ids.tolist(), K.tolist()
    (['a', 'b'], [120.5, 180.0])
    """
    # 1. parameters
    check_choice("errors", errors, ("raise", "skip"))
    check_n_jobs(n_jobs)
    check_name("id_column", id_column)
    check_name("structure_column", structure_column)
    names = check_names("targets", targets)
    # 2. rows of a table, or files
    if is_table(source):
        rows = read_table(source, names, id_column, structure_column)
        crystals, y, skipped = _read_rows(rows, n_jobs, errors)
    else:
        for name, value in (("id_column", id_column), ("structure_column", structure_column)):
            if value is not None:
                raise ValueError(f"{name}={value!r}: {source} is not a table, which has columns.")
        with source_files(source) as files:
            crystals, y, skipped = _read_files(files, names, n_jobs, errors)
    if isinstance(targets, str):
        y = y[targets]
    # 3. the third value only for those who asked for it
    return (crystals, y) if errors == "raise" else (crystals, y, skipped)


def _read_rows(
    rows: TableRows, n_jobs: int | None, errors: str
) -> "tuple[Crystals, pd.DataFrame, pd.DataFrame]":
    results = _run(read_row, [(cell, rows.folder) for cell in rows.cells], n_jobs, rows.name)
    names = [rows.row_name(row) for row in range(len(results))]
    good, skipped = _sort_out(results, names, errors)
    contents = [results[row].content for row in good]
    crystals = Crystals.concatenate([content.crystals for content in contents if content])
    ids = np.array([rows.ids[row] for row in good], dtype=object)
    index = rows.targets.index[good]
    return _relabel(crystals, ids, index), rows.targets.iloc[good], skipped


def _read_files(
    files: Sequence[SourceFile],
    names: list[str] | None,
    n_jobs: int | None,
    errors: str,
) -> "tuple[Crystals, pd.DataFrame, pd.DataFrame]":
    import pandas as pd

    results = _run(_read_file, [(file.path,) for file in files], n_jobs, "the files")
    shown = [
        item._replace(problem=item.problem.replace(str(file.path), file.name))
        for item, file in zip(results, files, strict=True)
    ]
    good, skipped = _sort_out(shown, [file.name for file in files], errors)
    # 1. a file may hold several structures, and columns
    blocks, ids, tables = [], [], []
    names_of_files: list[str] = []
    for row in good:
        content = results[row].content
        if content is None:
            continue
        n = len(content.crystals)
        blocks.append(content.crystals)
        ids += [files[row].id] if n == 1 else [f"{files[row].id}-{item}" for item in range(n)]
        names_of_files += [files[row].name] * n
        tables.append(pd.DataFrame(content.columns, index=range(n)) if content.columns else n)
    warn_of_repeated_ids(ids, "Names of files as ids", lambda row: names_of_files[row])
    index = pd.Index(ids)
    # 2. one table of all columns
    y = _join_tables(tables, index)
    if names is not None:
        missing = [name for name in names if name not in y.columns]
        if missing:
            absent = ", ".join(map(repr, missing))
            raise ValueError(
                f"targets={names!r}: the files have no column {absent}, but "
                f"{list(map(str, y.columns))}. Targets in a CSV file are read with that file as "
                "source, which names the files."
            )
        y = y[names]
    crystals = Crystals.concatenate(blocks)
    return _relabel(crystals, np.array(ids, dtype=object), index), y, skipped


def _join_tables(tables: "list[pd.DataFrame | int]", index: "pd.Index") -> "pd.DataFrame":
    import pandas as pd

    if all(isinstance(table, int) for table in tables):
        return pd.DataFrame(index=index)
    frames = [
        pd.DataFrame(index=range(table)) if isinstance(table, int) else table for table in tables
    ]
    return pd.concat(frames, ignore_index=True).set_axis(index)


def _read_file(path: Path) -> FileContent:
    return read_structure_file(path)


def _run(
    read: Callable[..., FileContent],
    arguments: Sequence[tuple[Any, ...]],
    n_jobs: int | None,
    name: str,
) -> list[_Read]:
    """Read all files or rows, in processes if there are several jobs."""
    from joblib import Parallel, delayed

    chunks = [arguments[start : start + _CHUNK] for start in range(0, len(arguments), _CHUNK)]
    results: list[_Read] = []
    counts = WarningCounts()
    for chunk_results, chunk_counts in Parallel(n_jobs=n_jobs)(
        delayed(_read_chunk)(read, chunk) for chunk in chunks
    ):
        results += chunk_results
        counts.update(chunk_counts)
    report_warnings(counts, name)
    return results


def _read_chunk(
    read: Callable[..., FileContent], arguments: Sequence[tuple[Any, ...]]
) -> tuple[list[_Read], WarningCounts]:
    results = []
    with count_warnings() as counts:
        for items in arguments:
            try:
                results.append(_Read(read(*items), ""))
            except (ValueError, OSError, MemoryError) as error:
                results.append(_Read(None, str(error)))
    return results, counts


def _sort_out(
    results: Sequence[_Read], names: Sequence[str], errors: str
) -> "tuple[list[int], pd.DataFrame]":
    """Return the rows that were read, and a table of the others."""
    import pandas as pd

    bad = [row for row, result in enumerate(results) if result.content is None]
    good = [row for row, result in enumerate(results) if result.content is not None]
    # Nothing at all could be read: an empty result would only fail later.
    if bad and (errors == "raise" or not good):
        row = bad[0]
        more = f" ({len(bad)} of {len(results)} cannot be read.)" if len(bad) > 1 else ""
        hint = "" if errors == "skip" else " Pass errors='skip' to leave such out."
        raise ValueError(f"{names[row]}: {results[row].problem.rstrip('.')}.{more}{hint}")
    skipped = pd.DataFrame(
        {
            "source": [names[row] for row in bad],
            "reason": [results[row].problem for row in bad],
        }
    )
    return good, skipped


def _relabel(crystals: Crystals, ids: np.ndarray, index: Any) -> Crystals:
    """Return the crystals with these ids and index."""
    return Crystals(
        atomic_numbers=crystals.atomic_numbers,
        positions=crystals.positions,
        cell=crystals.cell,
        n_atoms=crystals.n_atoms,
        pbc=crystals.pbc,
        ids=ids,
        index=index,
    )
