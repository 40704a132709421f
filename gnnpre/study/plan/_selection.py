"""The part of a study that a call runs."""

from collections.abc import Iterable, Sequence

from ..declare._checks import as_names
from ._job import Job
from ._plan import Plan

__all__ = ["select_jobs"]


#: Fields of a job by which "only" restricts: names as they are, numbers as "seed=111".
FIELDS = ("data", "backbone", "strategy", "seed", "fold")


def select_jobs(plan: Plan, only: Sequence[str]) -> list[Job]:
    """Return the jobs that `only` names, and those that they need.

    A name is that of a data set, backbone or strategy, or a seed or fold as in "seed=111".
    """
    only = as_names("only", only)
    evaluations = [job for job in plan.jobs if job.kind == "evaluation"]
    declared = {
        field: dict.fromkeys(filter(None, (_label(job, field) for job in evaluations)))
        for field in FIELDS
    }
    labels = [label for group in declared.values() for label in group]
    unknown = [name for name in only if name not in labels]
    if unknown:
        raise ValueError(f"only has {unknown[0]!r}; expected names of {', '.join(labels)}.")
    # A field without a name in "only" is not restricted.
    chosen = {field: set(group) & set(only) for field, group in declared.items()}
    selected = [job for job in evaluations if _is_chosen(job, chosen)]
    keys = _with_needs(selected)
    return [job for job in plan.jobs if job.key in keys]


def _label(job: Job, field: str) -> str | None:
    """Return what "only" calls a field of a job; None where the job has no such field."""
    value = getattr(job, field)
    return f"{field}={value}" if isinstance(value, int) else value


def _is_chosen(job: Job, chosen: dict[str, set[str]]) -> bool:
    # Rows without a backbone belong to all.
    return all(
        not names or (field == "backbone" and job.backbone is None) or _label(job, field) in names
        for field, names in chosen.items()
    )


def _with_needs(jobs: Iterable[Job]) -> set[str]:
    keys: set[str] = set()
    for job in jobs:
        keys |= {job.key} | _with_needs(job.needs)
    return keys
