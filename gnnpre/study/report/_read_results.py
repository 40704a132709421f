"""Reading the folder of a study, finished or not."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ._overlap import parse_audit
from ._record import DataSummary, Failure, Record, parse_record
from ._results import StudyResults

__all__ = ["read_results"]

T = TypeVar("T")


def read_results(folder: str | Path) -> StudyResults:
    """Read the folder of a study, finished or not.

    Parameters
    ----------
    folder : path
        Where the study was run.

    Returns
    -------
    StudyResults
        Declaration, records, failures and audits.

    Raises
    ------
    FileNotFoundError
        If the folder has no ``study.json``, or a data set with records has no file in ``data``.
    ValueError
        If a file is damaged or foreign; the message names it.

    Examples
    --------
    >>> import json, tempfile
    >>> from pathlib import Path
    >>> from gnnpre.study import read_results
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     text = json.dumps({"name": "small", "protocol": "papers"})
    ...     _ = Path(folder, "study.json").write_text(text)
    ...     read_results(folder)
    StudyResults('small', records=0, failures=0)
    """
    root = Path(folder)
    if not (root / "study.json").is_file():
        raise FileNotFoundError(
            f"folder={str(folder)!r} has no study.json: expected the folder that a study was run "
            "in. Run the study first, or give the folder itself, not one inside it."
        )
    # 1. the declaration and its data sets
    study = _parsed(root / "study.json", lambda _, raw: dict(raw))
    data = {item.name: item for item in _all_in(root / "data", _parse_data)}
    # 2. finished and failed jobs
    records = tuple(_all_in(root / "records", parse_record))
    for record in records:
        _check_indices(root, record, data)
    failures = tuple(_all_in(root / "failures", _failure))
    audits = tuple(_all_in(root / "leaks", parse_audit))
    results = StudyResults(root, study, data, records, failures, audits)
    # 3. one record for each cell of the tables
    _check_unique(root, results)
    return results


def _all_in(folder: Path, parse: Callable[[Path, Any], T]) -> Iterator[T]:
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            yield _parsed(path, parse)
        except FileNotFoundError:
            continue  # a failure that was removed meanwhile, as its job succeeded


def _parsed(path: Path, parse: Callable[[Path, Any], T]) -> T:
    try:
        return parse(path, json.loads(path.read_text(encoding="utf-8")))
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}: {error}): it is damaged or of another "
            "program. Move it away, and run the study again."
        ) from error


def _parse_data(path: Path, raw: Any) -> DataSummary:
    return DataSummary(
        str(raw["name"]),
        str(raw["target"]),
        str(raw["unit"] or ""),
        tuple(raw["formulas"]),
        raw.get("digest"),
    )


def _failure(path: Path, raw: Any) -> Failure:
    return Failure(raw["key"], raw["job"], str(raw["error"]), raw.get("finished"))


def _check_indices(root: Path, record: Record, data: Mapping[str, DataSummary]) -> None:
    if record.kind != "evaluation":
        return
    path = root / "records" / f"{record.key}.json"
    if record.data is None or record.data not in data:
        raise FileNotFoundError(
            f"{path} is of data set {record.data!r}, which has no file in {root / 'data'}. Run the "
            "study again to have it written."
        )
    n_rows = len(data[record.data].formulas)
    if record.test_indices.min() < 0 or record.test_indices.max() >= n_rows:
        raise ValueError(
            f"{path} has test_indices up to {record.test_indices.max()}, but data set "
            f"{record.data!r} has {n_rows} rows: they are not of one study. Move the record away."
        )


def _check_unique(root: Path, results: StudyResults) -> None:
    seen: dict[tuple[Any, ...], str] = {}
    for record in results.evaluations:
        cell = (record.data, record.method, record.seed, record.fold)
        earlier = seen.setdefault(cell, record.key)
        if earlier != record.key:
            raise ValueError(
                f"{root / 'records'} has two records of {record.method} on {record.data}, seed "
                f"{record.seed}, fold {record.fold}: {earlier}.json and {record.key}.json. They "
                "are of two versions of the study: move the older one away."
            )
