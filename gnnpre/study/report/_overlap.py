"""Crystals that pre-trainings have seen, and results on the others."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gnnpre.inspection import MISSING, Entry, Table

from ._record import Record
from ._results import StudyResults

__all__ = ["Audit", "overlap_table", "parse_audit", "without_seen"]


class Audit(NamedTuple):
    """The crystals of a data set that a pre-training has seen, and with which labels."""

    data: str
    key: str
    pretraining: str
    n_pretraining: int
    seen: np.ndarray  # rows of the data set
    labels: Mapping[str, np.ndarray]
    digest: str | None = None  # of the data set


def parse_audit(path: Path, raw: Any) -> Audit:
    """Return the audit in a file of the folder ``leaks``."""
    labels = {str(name): np.asarray(rows, np.int64) for name, rows in raw["labels"].items()}
    seen = np.asarray(raw["seen"], np.int64)
    return Audit(
        str(raw["data"]),
        str(raw["key"]),
        str(raw["pretraining"]),
        int(raw["n_pretraining"]),
        seen,
        labels,
        raw.get("digest"),
    )


def _audits(results: StudyResults) -> list[Audit]:
    """Return the audits of declared pre-trainings and of the present files of data sets."""
    declared = {record.key for record in results.pretrainings}
    digests = {name: item.digest for name, item in results.data.items()}
    return [
        audit
        for audit in results.audits
        if audit.key in declared and audit.digest == digests.get(audit.data)
    ]


def overlap_table(results: StudyResults) -> Table:
    """Tabulate how many crystals of each data set each pre-training has seen."""
    rows = {
        (audit.data, audit.pretraining): [
            Entry(audit.data),
            Entry(audit.pretraining),
            Entry(str(audit.n_pretraining)),
            Entry(f"{len(audit.seen)} of {len(results.data[audit.data].formulas)}"),
            Entry(_labels_text(audit)),
        ]
        for audit in _audits(results)
        if audit.data in results.data
    }
    notes = [
        "A crystal is seen if a structure of pre-training is the same: equal composition, and "
        "radial distributions within a tolerance, whatever the volume and the vacuum are "
        "(layers match layers alone). Labels: with which a structure that is the same was learnt.",
        *_not_audited(results),
    ]
    header = ["", "pre-training", "structures", "crystals seen", "with labels"]
    return Table("Crystals that pre-training has seen", header, list(rows.values()), notes)


def _labels_text(audit: Audit) -> str:
    if not len(audit.seen):
        return MISSING
    counts = [f"{name} {len(rows)}" for name, rows in audit.labels.items() if len(rows)]
    return ", ".join(counts) or "none: structures alone"


def _not_audited(results: StudyResults) -> list[str]:
    audited = {(audit.data, audit.key) for audit in _audits(results)}
    missing = {
        f"{record.method} on {record.data}"
        for record in results.evaluations
        if any((record.data, key) not in audited for key in _pretrainings_of(record))
    }
    if not missing:
        return []
    return [f"Not audited, as the records are of an earlier version: {'; '.join(sorted(missing))}."]


def _pretrainings_of(record: Record) -> list[str]:
    keys = record.extra.get("pretraining")
    return [keys] if isinstance(keys, str) else list(keys or [])


def without_seen(results: StudyResults) -> StudyResults | None:
    """Return the results on the crystals that no pre-training has seen; None if none was seen.

    All rows are on the same crystals, those without pre-training too. Data sets that no
    pre-training has seen a crystal of are left out, as nothing changes for them; and runs that
    have no other test crystal.
    """
    seen: dict[str, set[int]] = {}
    for audit in _audits(results):
        if len(audit.seen):
            seen.setdefault(audit.data, set()).update(audit.seen.tolist())
    if not seen:
        return None
    restricted = [_restrict(r, seen[r.data]) for r in results.evaluations if r.data in seen]
    jobs = [job for job in results.jobs if job.get("data") in seen]
    return replace(
        results,
        study={**results.study, "jobs": jobs},
        data={name: item for name, item in results.data.items() if name in seen},
        records=tuple(record for record in restricted if len(record.targets)),
        audits=(),
        all_seen=tuple(record for record in restricted if not len(record.targets)),
    )


def _restrict(record: Record, seen: set[int]) -> Record:
    """Return a record with the test crystals that are not seen."""
    rows = np.flatnonzero([index not in seen for index in record.test_indices.tolist()])
    remaining = replace(
        record,
        test_indices=record.test_indices[rows],
        targets=record.targets[rows],
        predictions=record.predictions[rows],
    )
    return replace(remaining, mae=float(remaining.errors.mean()) if len(rows) else float("nan"))
