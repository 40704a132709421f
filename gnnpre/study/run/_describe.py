"""The declaration of a study as its folder keeps it."""

import json
from collections.abc import Mapping
from typing import Any

from gnnpre.training import to_spec

from ..plan._data import LocatedData
from ..plan._plan import Plan
from ._folder import StudyFolder, now
from ._machine import describe_commit, describe_versions

__all__ = ["describe_study", "is_official"]

BASELINES_NOTE = (
    "Baselines without a network are trained anew on training and validation crystals before they "
    "are tested, and so are kernel machines on frozen networks and ensembles; networks see the "
    "labels of the validation crystals only to choose an epoch."
)
FIRST = ("commit", "versions", "started")


def describe_study(plan: Plan, folder: StudyFolder) -> dict[str, Any]:
    """Return the resolved declaration and its jobs; commit and date are of the first run."""
    study = plan.study
    description = {
        "name": study.name,
        "protocol": study.protocol,
        "seeds": study.seeds,
        "notes": [*study.notes, *_study_notes(plan)],
        "data": {name: located.parameters for name, located in plan.data.items()},
        "backbones": {item.name: to_spec(item.backbone, item.name) for item in study.backbones},
        "pretrainings": {item.name: _as_text(item) for item in study.pretrainings},
        "strategies": {item.name: _as_text(item) for item in study.strategies},
        "finetuning": _as_text(study.finetuning),
        "pretraining": _as_text(study.pretraining),
        "commit": describe_commit(),
        "versions": describe_versions(),
        "started": now(),
        "jobs": [job.describe() for job in plan.jobs],
    }
    # A study may be continued by another version: where it began stays on record.
    path = folder.root / "study.json"
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        description |= {name: before[name] for name in FIRST if name in before}
    return description


def _as_text(declared: Any) -> dict[str, str]:
    """Return a declaration as text: records have the resolved parameters."""
    values = declared if isinstance(declared, Mapping) else vars(declared)
    return {name: " ".join(str(value).split()) for name, value in values.items()}


def _study_notes(plan: Plan) -> list[str]:
    """Return notes on the training of baselines, and on folds that are not MatBench's own."""
    notes = [] if not plan.study.baselines else [BASELINES_NOTE]
    if plan.study.protocol != "matbench":
        return notes
    unofficial = [name for name, located in plan.data.items() if not _has_rows_of_matbench(located)]
    if unofficial:
        notes.append(
            f"Folds of {', '.join(unofficial)} are made as MatBench's, of other rows: they do not "
            "compare with its leaderboard."
        )
    fewer = {
        name: located.declared.n_labels
        for name, located in plan.data.items()
        if _has_rows_of_matbench(located) and not is_official(located)
    }
    if fewer:
        texts = ", ".join(f"{name} ({n} labels)" for name, n in fewer.items())
        notes.append(
            f"Folds of {texts} are MatBench's with fewer crystals to train on: they do not compare "
            "with its leaderboard."
        )
    return notes


def is_official(located: LocatedData) -> bool:
    """Return whether a data set has MatBench's rows in MatBench's order, and all their labels."""
    return _has_rows_of_matbench(located) and located.declared.n_labels is None


def _has_rows_of_matbench(located: LocatedData) -> bool:
    return located.declared.sample is None and located.matbench_name is not None
