"""MatBench's tables of structures and properties."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnnpre._validation import check_number, check_path

from ..graphs import Crystals
from ._file_formats import read_bounded
from ._json_text import parse_json
from ._matbench_download import matbench_file
from ._parameters import check_names
from ._parser_warnings import count_warnings, report_warnings
from ._structure_arrays import pack_arrays
from ._structure_cells import arrays_from_cell

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["fetch_matbench", "read_matbench"]

_COLUMN = "structure"


def read_matbench(
    path: str | os.PathLike[str],
    target: str | Sequence[str] | None = None,
    *,
    nrows: int | None = None,
    sample: int | None = None,
    random_state: Any = None,
) -> tuple[Crystals, "pd.Series | pd.DataFrame"]:
    """Read structures and their properties from a file in MatBench's format.

    The format [1]_ is the JSON of a pandas table (``orient="split"``), gzip or not, whose column
    ``structure`` has structures: pymatgen's dictionaries, their JSON, or the text of CIF files.
    The other columns are targets. Units are not stated in such files: see their documentation.

    Only lattices, elements and coordinates are read. Site properties, charges and whatever else
    a file holds are left out, and no object that it names is imported or built.

    Parameters
    ----------
    path : str or path-like
        The ``.json.gz``.
    target : str or list of str, optional
        The target or targets to return; all by default.
    nrows : int, optional
        Number of rows to read, the first ones; all by default.
    sample : int, optional
        Number of rows to draw in place of the first ones; they keep the order of the file. The
        other rows are parsed, but no structures are made of them.
    random_state : int, RandomState instance or None, default=None
        Seed of the draw.

    Returns
    -------
    structures : Crystals
        The n crystals, in the order of the file, in which MatBench's folds are defined.
    y : Series of shape (n,) or DataFrame of shape (n, n_targets)
        The targets, with the index of the file (such as Materials Project's ids): a Series if
        ``target`` is one name or the file has one target only.

    Raises
    ------
    ValueError
        If the file is truncated, of another format, has no structures, no such target or fewer
        rows than are asked for.
    FileNotFoundError
        If there is no such file.

    See Also
    --------
    fetch_matbench : Download one of MatBench's own files.

    References
    ----------
    .. [1] A. Dunn, Q. Wang, A. Ganose, D. Dopp, A. Jain, "Benchmarking materials property
       prediction methods: the Matbench test set and Automatminer reference algorithm",
       npj Comput. Mater. 6, 138 (2020).

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> from gnnpre.datasets import make_emt_property, read_matbench
    >>> structures, y = make_emt_property(1, random_state=0)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "alloys.json"
    >>> table = {"index": ["a"], "columns": ["structure", "K"]}
    >>> _ = path.write_text(json.dumps(table | {"data": [[structures[0].as_dict(), 120.0]]}))
    >>> structures, y = read_matbench(path)
    >>> len(structures), y.name, y.to_dict()
    (1, 'K', {'a': 120.0})
    """
    import pandas as pd

    path = check_path("path", path)
    target = target if isinstance(target, str) else check_names("target", target)
    _check_row_counts(nrows, sample)
    # 1. the table: columns, index and rows
    table = _load_table(path)
    columns = [str(column) for column in table["columns"]]
    if _COLUMN not in columns:
        raise ValueError(
            f"{path} has no column {_COLUMN!r} but {columns}; tables of compositions (steels, "
            "glass, expt_gap, expt_is_metal) have no crystals."
        )
    # 2. structures, and the targets beside them
    column = columns.index(_COLUMN)
    names = _choose_targets(target, columns, path)
    chosen = _choose_rows(len(table["data"]), nrows, sample, random_state, path)
    rows, index = [table["data"][row] for row in chosen], [table["index"][row] for row in chosen]
    structures = _to_crystals([row[column] for row in rows], index, chosen, path)
    data = {name: [row[columns.index(name)] for row in rows] for name in names}
    y = pd.DataFrame(data, index=pd.Index(index))
    # 3. a Series for one target, as scikit-learn wants y of shape (n,)
    single = isinstance(target, str) or (target is None and len(names) == 1)
    return structures, y[names[0]] if single else y


def fetch_matbench(
    name: str, data_home: str | os.PathLike[str] | None = None
) -> tuple[Crystals, "pd.Series"]:
    """Download one of MatBench's tables of structures, or take it from the cache.

    The tables are dielectric (refractive index), jdft2d, log_gvrh, log_kvrh, mp_e_form, mp_gap,
    mp_is_metal, perovskites and phonons. MatBench's five folds of a regression are those of
    ``KFold(5, shuffle=True, random_state=18012019)``, of a classification those of
    ``StratifiedKFold``.

    Parameters
    ----------
    name : str
        Name of the table, with or without the leading ``matbench_``.
    data_home : str or path-like, optional
        Folder of the cache. By default that of the environment variable ``GNNPRE_HOME``, or
        else the user's cache folder.

    Returns
    -------
    structures : Crystals
        The n crystals.
    y : Series of shape (n,)
        The target; its name is that of the column.

    Raises
    ------
    ValueError
        If the name is unknown, names a table of compositions, or the file that arrived is not
        the one that MatBench publishes (it is then removed).
    OSError
        If the download fails.

    See Also
    --------
    read_matbench : Read such a file.

    Examples
    --------
    >>> from gnnpre.datasets import fetch_matbench
    >>> structures, y = fetch_matbench("jdft2d")  # doctest: +SKIP
    """
    structures, y = read_matbench(matbench_file(name, data_home))
    return structures, y


def _load_table(path: Path) -> dict[str, Any]:
    raw = read_bounded(path)
    try:
        table = parse_json(raw)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); MatBench's files are .json.gz.") from error
    del raw
    if not isinstance(table, dict) or not {"index", "columns", "data"} <= set(table):
        raise ValueError(
            f"{path} is not a table in MatBench's format: it should have the keys 'index', "
            f"'columns' and 'data', as DataFrame.to_json(orient='split') writes; it is "
            f"{_summary(table)}."
        )
    _check_rows(table, path)
    return table


def _summary(table: Any) -> str:
    return f"a dict of {sorted(table)[:6]}" if isinstance(table, dict) else type(table).__name__


def _check_rows(table: dict[str, Any], path: Path) -> None:
    for key in ("index", "columns", "data"):
        if not isinstance(table[key], list):
            raise ValueError(f"{key!r} of {path} is {_summary(table[key])}; expected a list.")
    if not table["data"]:
        raise ValueError(f"{path} has no rows.")
    if len(table["index"]) != len(table["data"]):
        raise ValueError(
            f"{path} has {len(table['index'])} entries of 'index' and {len(table['data'])} rows."
        )
    width = len(table["columns"])
    for number, row in enumerate(table["data"]):
        if not isinstance(row, list) or len(row) != width:
            raise ValueError(f"Row {number} of {path} has not the {width} entries of 'columns'.")


def _choose_targets(
    target: str | Sequence[str] | None, columns: list[str], path: str | os.PathLike[str]
) -> list[str]:
    available = [column for column in columns if column != _COLUMN]
    if target is None:
        if not available:
            raise ValueError(f"{path} has no column besides {_COLUMN!r}: there is no target.")
        return available
    names = [target] if isinstance(target, str) else list(target)
    unknown = [name for name in names if name not in available]
    if unknown or not names:
        raise ValueError(f"target={target!r}: {path} has the targets {available}.")
    return names


def _check_row_counts(nrows: Any, sample: Any) -> None:
    for name, value in (("nrows", nrows), ("sample", sample)):
        if value is not None:
            check_number(name, value, integer=True)
    if nrows is not None and sample is not None:
        raise ValueError(
            f"nrows={nrows} and sample={sample}: pass nrows for the first rows, or sample for "
            "random ones."
        )


def _choose_rows(
    n: int, nrows: int | None, sample: int | None, random_state: Any, path: Path
) -> list[int]:
    """Return the numbers of the rows to read, ascending."""
    size = nrows or sample or n
    if size > n:
        name = "nrows" if nrows else "sample"
        raise ValueError(f"{name}={size}, but {path} has {n} rows.")
    if sample is None:
        return list(range(size))
    from sklearn.utils import check_random_state

    drawn = check_random_state(random_state).choice(n, size, replace=False)
    return sorted(drawn.tolist())


def _to_crystals(
    cells: list[Any], index: list[Any], rows: list[int], path: str | os.PathLike[str]
) -> Crystals:
    structures = []
    with count_warnings() as counts:
        for row, label, cell in zip(rows, index, cells, strict=True):
            try:
                structures.append(arrays_from_cell(cell))
            except ValueError as error:
                raise ValueError(
                    f"Row {row} (index {label!r}) of {path} has no structure in column "
                    f"{_COLUMN!r}: {error}."
                ) from error
    report_warnings(counts, str(path))
    return pack_arrays(structures, index=index)
