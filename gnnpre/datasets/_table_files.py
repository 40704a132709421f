"""CSV files as tables, with ids and names of files as they are written."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnnpre._warnings import DataQualityWarning, warn_user

from ._file_formats import READ_ERRORS
from ._structure_files import plain_name

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SPREADSHEETS", "check_decimal_points", "load_table", "warn_of_missing_words"]

SPREADSHEETS = (".xlsx", ".xls", ".ods")
_HEADERLESS = {"id_prop.csv"}  # CGCNN's: an id and a target per line, files named by the id
_WITH_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")
_CODE = r"\s*[-+]?0\d+\s*"  # a whole number with leading zeros, such as 001


def load_table(
    source: Any, text_columns: Iterable[str | None]
) -> "tuple[pd.DataFrame, str, str | None]":
    """Return a table, its name, and the folder that names of files in it are relative to.

    Parameters
    ----------
    source : DataFrame, str or path-like
        The table, or a CSV file.
    text_columns : iterable of str
        Columns of ids and of files, in any case: read as they are written, so that neither
        ``001`` nor ``NA`` becomes a number.

    Returns
    -------
    table : DataFrame
        The table.
    name : str
        Its name for messages.
    folder : str or None
        The folder of a file.

    Raises
    ------
    ValueError
        If the file is not a table, or its rows do not fit its header.
    """
    if hasattr(source, "columns"):
        return source, "the table", None
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    if path.suffix.lower() in SPREADSHEETS:
        raise ValueError(
            f"{path} is a spreadsheet: save it as CSV in the same folder, or pass the DataFrame "
            "that pandas.read_excel returns, with paths of files that hold from here."
        )
    try:
        table = _read_csv(path, {name.lower() for name in text_columns if name})
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8 ({error}): save it as UTF-8.") from error
    except (ValueError, *READ_ERRORS) as error:
        raise ValueError(f"{path} cannot be read as a table: {str(error).strip()}") from error
    return table, str(path), str(path.parent)


def _read_csv(path: Path, text_columns: set[str]) -> "pd.DataFrame":
    import pandas as pd

    layout = _layout(path)
    if path.name in _HEADERLESS:
        table = _with_codes(path, pd.read_csv(path, header=None, **layout))
        written = _read_written(path, [0]).iloc[:, 0]
        table.columns = ["file", *(f"target_{i}" for i in range(1, table.shape[1]))]
        return table.assign(file=[f"{name.strip()}.cif" for name in written])
    # Names as they are written: pandas would number those that are repeated.
    first = pd.read_csv(path, header=None, nrows=1, dtype=str, index_col=False, **layout)
    names = [name if isinstance(name, str) else "" for name in first.iloc[0].tolist()]
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise ValueError(f"several columns are named {repeated[0]!r}; rename or drop one")
    table = pd.read_csv(path, **layout)
    # pandas takes what rows have beyond the header as an index, which shifts the other columns.
    if len(names) > 1 and not isinstance(table.index, pd.RangeIndex):
        raise ValueError(
            f"its rows have more fields than its header, which names the columns {names}. Name all "
            "columns, and remove separators at the ends of lines"
        )
    table = _with_codes(path, table)
    # Ids and names of files once more, as they are written: pandas keeps "NA" as text in no column
    # or in all of them, and its converters do not change that.
    texts = [name for name in names if name.lower() in text_columns]
    if texts and len(names) > 1:
        written = pd.read_csv(path, usecols=texts, dtype=str, keep_default_na=False, **layout)
        table = table.assign(**{name: written[name].to_numpy() for name in texts})
    return table


def _with_codes(path: Path, table: "pd.DataFrame") -> "pd.DataFrame":
    """Return a table whose columns of codes such as 001 are text, as they are written.

    As numbers, 1 and 001 would be one class or group.
    """
    positions = [i for i, dtype in enumerate(table.dtypes) if dtype.kind in "iuf"]
    if not positions:
        return table
    written = _read_written(path, positions)
    for position, (_, texts) in zip(positions, written.items(), strict=True):
        if texts.str.fullmatch(_CODE).any():
            missing = table.iloc[:, position].isna().to_numpy()
            table.isetitem(position, texts.str.strip().astype(object).mask(missing))
    return table


def warn_of_missing_words(path: str, table: "pd.DataFrame", columns: Iterable[str]) -> None:
    """Warn of words such as "None" in columns of text, which pandas reads as missing values.

    Parameters
    ----------
    path : str
        The CSV file.
    table : DataFrame
        Its table, as :func:`load_table` returned it, with the header's blanks removed.
    columns : iterable of str
        Columns of targets.
    """
    for column in columns:
        is_missing = table[column].isna().to_numpy()
        if not is_missing.any() or not any(isinstance(value, str) for value in table[column]):
            continue
        positions = [list(table.columns).index(column)]
        written = _read_written(Path(path), positions).iloc[:, 0][is_missing]
        words = written[written.str.strip() != ""]
        if len(words):
            spellings = " or ".join(map(repr, words.str.strip().unique()))
            warn_user(
                f"Column {column!r} of {path} has text, and {spellings} in {len(words)} rows, "
                "which is read as a missing value. If it is a label, write another word, or pass "
                "the DataFrame of pandas.read_csv(..., keep_default_na=False); if it is not, "
                "leave it empty.",
                DataQualityWarning,
            )


def _read_written(path: Path, positions: list[int]) -> "pd.DataFrame":
    """Return columns as they are written."""
    import pandas as pd

    header = None if path.name in _HEADERLESS else 0
    return pd.read_csv(
        path,
        usecols=positions,
        header=header,
        dtype=str,
        keep_default_na=False,
        index_col=False,
        **_layout(path),
    )


def _layout(path: Path) -> dict[str, Any]:
    """Return how pandas finds the fields of a file: blanks behind a separator are not theirs."""
    separator = "\t" if plain_name(path).lower().endswith(".tsv") else ","
    return {"sep": separator, "skipinitialspace": True}


def check_decimal_points(values: list[Any], column: str, name: str) -> None:
    """Check that a column of targets is not one of numbers with decimal commas, left as text."""
    texts = [value for value in values if isinstance(value, str)]
    bad = [text for text in texts if _WITH_COMMA.fullmatch(text)]
    if bad and 2 * len(bad) >= len(texts):
        raise ValueError(
            f"Column {column!r} of {name} has numbers with commas, {bad[0]!r} first: write them "
            "with decimal points, or pass the DataFrame of pandas.read_csv(..., decimal=',')."
        )
