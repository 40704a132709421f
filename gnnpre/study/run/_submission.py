"""Predictions of all five folds, for others to check, and in MatBench's own format."""

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from gnnpre._atomic import write_file

from ..plan._job import Job
from ..plan._plan import Plan
from ._describe import is_official
from ._folder import StudyFolder

__all__ = ["check_file_names", "write_predictions"]

#: MatBench leaves smaller targets out of the mean absolute percentage error.
SMALL_TARGET = 1e-5
MATBENCH_VERSION = "0.6"


def check_file_names(plan: Plan) -> None:
    """Raise ValueError if the predictions of two rows would have one file."""
    rows: dict[str, str] = {}
    for jobs in _rows(plan):
        name = _file_name(jobs[0], n_seeds=len(plan.study.seeds or ()))
        row = f"{jobs[0].strategy!r} of {jobs[0].backbone or 'no backbone'} on {jobs[0].data}"
        if rows.setdefault(name, row) != row:
            raise ValueError(
                f"The predictions of {rows[name]} and of {row} would have one file, "
                f"{name}_predictions.json.gz, as names are joined by '_'. Rename one of them."
            )


def write_predictions(plan: Plan, folder: StudyFolder) -> None:
    """Write the predictions of each row that has all folds: for MatBench's protocol only.

    Files of a row that lacks a fold are of an older declaration, and removed.
    """
    for jobs in _rows(plan):
        name = _file_name(jobs[0], n_seeds=len(plan.study.seeds or ()))
        located = plan.data[str(jobs[0].data)]
        is_complete = all(folder.is_done(job) for job in jobs)
        records = [folder.read_record(job.key) for job in jobs] if is_complete else []
        predictions = _predictions(records) if is_complete else None
        _write(folder, f"{name}_predictions.json.gz", predictions)
        submission = None
        if is_complete and is_official(located):
            submission = _submission(plan, records, str(located.matbench_name))
        _write(folder, f"{name}_matbench.json.gz", submission)


def _rows(plan: Plan) -> list[list[Job]]:
    """Return the jobs of each declared row by fold; none but for MatBench's protocol."""
    if plan.study.protocol != "matbench":
        return []
    rows: dict[tuple[Any, ...], list[Job]] = {}
    for job in plan.jobs:
        if job.kind == "evaluation" and job.member is None:
            row = (job.data, job.backbone, job.strategy, job.seed)
            rows.setdefault(row, []).append(job)
    return [sorted(jobs, key=lambda job: job.fold or 0) for jobs in rows.values()]


def _file_name(job: Job, n_seeds: int) -> str:
    names = [job.data, job.backbone, job.strategy]
    if n_seeds > 1:
        names.append(f"seed{job.seed}")
    return "_".join(name for name in names if name is not None)


def _write(folder: StudyFolder, name: str, content: Mapping[str, Any] | None) -> None:
    """Write a file, or remove the one of an older declaration."""
    if content is None:
        (folder.root / name).unlink(missing_ok=True)
        return
    # Without a time in the header, equal predictions make equal files.
    packed = gzip.compress(json.dumps(content).encode(), mtime=0)
    write_file(folder.root / name, packed)


def _predictions(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = records[0]
    same = ("data", "target", "unit", "backbone", "strategy", "seed")
    return {
        **{name: first[name] for name in same},
        "mae": float(np.mean([record["metrics"]["mae"] for record in records])),
        "fold_mae": [record["metrics"]["mae"] for record in records],
        "folds": [record["predictions"] for record in records],
        "targets": [record["targets"] for record in records],
        "test_indices": [record["test_indices"] for record in records],
        "records": [record["key"] for record in records],
    }


def _submission(plan: Plan, records: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Return the content that the matbench package's ``MatbenchBenchmark.to_file`` writes."""
    dataset = f"matbench_{name}"
    n = sum(len(record["predictions"]) for record in records)
    benchmark = {"benchmark_name": "matbench_v0.1"}
    task = {
        "@class": "MatbenchTask",
        "@module": "matbench.task",
        **benchmark,
        "dataset_name": dataset,
        "results": {f"fold_{r['fold']}": _fold(r, name, n) for r in records},
    }
    submission = {
        "@module": "matbench.bench",
        "@class": "MatbenchBenchmark",
        "version": MATBENCH_VERSION,
        "tasks": {dataset: task},
        "user_metadata": _metadata(plan, records[0]),
        **benchmark,
        "datestamp": _datestamp(records),
    }
    # The hash is that of all else in the file.
    return {**submission, "hash": _hash(submission)}


def _fold(record: Mapping[str, Any], name: str, n: int) -> dict[str, Any]:
    width = len(str(n))
    # The ids of matbench count from 1, with as many digits as the number of rows.
    short = name.replace("_", "-")
    ids = [f"mb-{short}-{index + 1:0{width}d}" for index in record["test_indices"]]
    targets, predictions = (np.array(record[key]) for key in ("targets", "predictions"))
    return {
        "data": dict(zip(ids, record["predictions"], strict=True)),
        "parameters": {"record": record["key"]},
        "scores": _scores(targets, predictions),
    }


def _scores(targets: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    errors = np.abs(predictions - targets)
    large = np.abs(targets) > SMALL_TARGET
    return {
        "mae": float(errors.mean()),
        "mape": float((errors[large] / np.abs(targets[large])).mean()),
        "max_error": float(errors.max()),
        "rmse": float(np.sqrt((errors**2).mean())),
    }


def _metadata(plan: Plan, record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "algorithm": f"gnnpre {record['backbone'] or ''} {record['strategy']}".replace("  ", " "),
        "study": plan.study.name,
        "commit": record["commit"],
    }


def _datestamp(records: Sequence[Mapping[str, Any]]) -> str:
    """Return the time of the last record, so that a second run writes the same file."""
    last = max(datetime.fromisoformat(record["finished"]) for record in records)
    return last.astimezone(UTC).strftime("%Y.%m.%d %H:%M.%S")


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(_sorted(content)).encode()).hexdigest()


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return value
