"""The tables of a report that say what was run, when, where, and what was not."""

import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from gnnpre.inspection import MISSING, Entry, Table, counted, number

from ._record import Method, Record
from ._results import StudyResults
from ._specs import describe_spec

__all__ = [
    "data_table",
    "failure_table",
    "open_jobs_table",
    "pretraining_table",
    "provenance_table",
]

HOUR = 3600.0
#: Characters of an error that a table has room for.
WIDTH = 160
NO_RECORDS = "No job has finished yet."


def data_table(results: StudyResults) -> Table:
    """Tabulate the data sets."""
    rows = [
        [
            Entry(item.name),
            Entry(item.target),
            Entry(item.unit or MISSING),
            Entry(str(len(item.formulas))),
        ]
        for item in (results.data[name] for name in results.data_names if name in results.data)
    ]
    return Table("Data sets", ["", "target", "unit", "crystals"], rows)


def pretraining_table(results: StudyResults) -> Table:
    """Tabulate the pre-trainings: what each learned, on how much, for how long."""
    rows = [_pretraining_row(record) for record in _by_method(results.pretrainings)]
    header = ["", "objective", "crystals", "epochs", "validation loss", "hours", "record"]
    notes = [
        "Validation loss: of the last epoch. Losses of different objectives do not compare. Models "
        "of the package come with epochs and hours of the processor from their model card."
    ]
    return Table("Pre-training", header, rows, notes if rows else ["None has finished yet."])


def _by_method(records: Iterable[Record]) -> list[Record]:
    return sorted(records, key=lambda r: (r.method.backbone or "", r.method.strategy, r.key))


def _pretraining_row(record: Record) -> list[Entry]:
    n_crystals = sum(record.extra.get(name) or 0 for name in ("n_train", "n_valid"))
    losses = [epoch.get("valid_loss") for epoch in record.history]
    return [
        Entry(str(record.method)),
        Entry(_objective(record.extra)),
        Entry(str(n_crystals or MISSING)),
        Entry(str(record.extra.get("epochs") or len(record.history))),
        Entry(number(losses[-1] if losses else None)),
        Entry(number(record.extra.get("hours_of_model") or record.seconds / HOUR, 3)),
        Entry(record.key),
    ]


def _objective(parameters: Mapping[str, Any]) -> str:
    """Return the objective of a record, at whatever depth it keeps it."""
    if "objective" in parameters:
        return describe_spec(parameters["objective"])
    nested = (value for value in parameters.values() if isinstance(value, Mapping))
    return next(filter(None, map(_objective, nested)), "")


def _short(text: str) -> str:
    """Shorten a text at the end of a word."""
    joined = " ".join(text.split())
    return textwrap.shorten(joined, WIDTH, placeholder=" …") if " " in joined else joined[:WIDTH]


def failure_table(results: StudyResults) -> Table:
    """Tabulate the jobs that raised."""
    jobs = {job["key"]: job for job in results.jobs}
    rows = [
        [
            Entry(_short(_job_name(jobs.get(failure.key, failure.job))), missing=True),
            Entry(_short(failure.error)),
            Entry(failure.finished or MISSING),
            Entry(f"failures/{failure.key}.json"),
        ]
        for failure in results.declared_failures
    ]
    notes = [] if rows else ["No job failed."]
    return Table("Failures", ["", "error", "when", "traceback in"], rows, notes)


def _job_name(job: Any) -> str:
    if not isinstance(job, Mapping):
        return str(job)
    texts = [job.get("kind"), job.get("data"), job.get("backbone"), job.get("strategy")]
    numbers = [(name, job.get(name)) for name in ("seed", "fold", "member")]
    texts += [f"{name} {number}" for name, number in numbers if number is not None]
    return " ".join(str(text) for text in texts if text is not None)


def open_jobs_table(results: StudyResults) -> Table:
    """Tabulate the declared jobs that have neither a record nor a failure."""
    seen = {record.key for record in results.records} | {f.key for f in results.failures}
    waiting = [job for job in results.jobs if job["key"] not in seen]
    # One row for each method and data set, with its runs.
    grouped = defaultdict(list)
    for job in waiting:
        method = Method(job.get("backbone"), job["strategy"])
        grouped[job["kind"], job.get("data") or MISSING, str(method)].append(job)
    rows = [
        [
            Entry(job_kind, missing=True),
            Entry(data),
            Entry(method),
            Entry(str(len(jobs))),
            _runs(jobs),
        ]
        for (job_kind, data, method), jobs in grouped.items()
    ]
    header = ["kind", "data set", "method", "jobs", "seeds or folds"]
    notes = [_progress(results, len(waiting)), *_strays(results)]
    return Table("Not run yet", header, rows, notes)


def _runs(jobs: Iterable[Mapping[str, Any]]) -> Entry:
    numbers = [job["seed"] if job.get("fold") is None else job["fold"] for job in jobs]
    return Entry(", ".join(dict.fromkeys(str(n) for n in numbers if n is not None)) or MISSING)


def _progress(results: StudyResults, n_waiting: int) -> str:
    if not results.jobs:
        return "study.json does not list its jobs: what is missing altogether cannot be told."
    recorded = {record.key for record in results.records}
    n_jobs, n_done = len(results.jobs), sum(job["key"] in recorded for job in results.jobs)
    return (
        f"Of {counted(n_jobs, 'declared job')} {n_done} finished, {n_jobs - n_done - n_waiting} "
        f"failed, {n_waiting} not started."
    )


def _strays(results: StudyResults) -> list[str]:
    """Describe the records that are in no table, so that none is left out silently."""
    names = [f"{record.key} ({_job_name(_as_job(record))})" for record in results.strays]
    if not names:
        return []
    return [
        f"In no table, since study.json declares no such job (its declaration changed after they "
        f"were run, say): {'; '.join(names)}."
    ]


def _as_job(record: Record) -> dict[str, Any]:
    names = ("kind", "data", "seed", "fold", "member")
    return {**{name: getattr(record, name) for name in names}, **record.method._asdict()}


def provenance_table(results: StudyResults) -> Table:
    """Tabulate commits, versions, machines, hours and dates of the records."""
    records = results.records
    dates = sorted(filter(None, (record.extra.get("finished") for record in records)))
    rows = [
        ("records", str(len(records))),
        ("commit", _distinct(record.extra.get("commit") for record in records)),
        ("versions", _distinct(_pairs(record.extra.get("versions")) for record in records)),
        ("machine", _distinct(_machine(record) for record in records)),
        ("time", _hours(records)),
        ("finished", f"{dates[0]} to {dates[-1]}" if dates else MISSING),
    ]
    entries = [[Entry(name), Entry(text)] for name, text in rows] if records else []
    return Table("Provenance", ["", ""], entries, [] if records else [NO_RECORDS])


def _distinct(values: Iterable[Any]) -> str:
    """List distinct values, with the number of records of each where there are several."""
    counts = Counter(str(value or "not recorded") for value in values)
    if len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{value} ({counted(n, 'record')})" for value, n in counts.most_common())


def _pairs(versions: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{name} {version}" for name, version in (versions or {}).items())


def _machine(record: Record) -> str:
    machine = record.extra.get("machine") or {}
    return ", ".join(f"{name}: {value}" for name, value in machine.items() if value is not None)


def _hours(records: Iterable[Record]) -> str:
    """Add up core-hours, and hours of other devices, of all records."""
    cores, devices = 0.0, defaultdict[str, float](float)
    for record in records:
        machine = record.extra.get("machine") or {}
        device = str(machine.get("device") or "cpu")
        if device == "cpu":
            cores += record.seconds * (machine.get("threads") or 1) / HOUR
        else:
            devices[device] += record.seconds / HOUR
    times = [f"{number(hours, 3)} hours on {device}" for device, hours in devices.items()]
    return ", ".join([f"{number(cores, 3)} core-hours (seconds × threads)", *times])
