"""The part of a study that a call runs."""

from collections.abc import Iterable, Sequence

from ..declare._checks import as_names
from ._job import Job
from ._plan import Plan

__all__ = ["select_jobs"]


def select_jobs(plan: Plan, only: Sequence[str]) -> list[Job]:
    """Return the jobs of some data sets, backbones and strategies, and those that they need."""
    only = as_names("only", only)
    names: dict[str, set[str | None]] = {
        "data": {job.data for job in plan.jobs if job.data},
        "backbone": {job.backbone for job in plan.jobs if job.backbone},
        "strategy": {job.strategy for job in plan.jobs if job.kind == "evaluation"},
    }
    declared = [str(name) for group in names.values() for name in sorted(map(str, group))]
    unknown = [name for name in only if name not in declared]
    if unknown:
        raise ValueError(f"only has {unknown[0]!r}; expected names of {', '.join(declared)}.")
    # A field without a name in "only" is not restricted.
    chosen = {field: group & set(only) or group for field, group in names.items()}
    selected = [job for job in plan.jobs if job.kind == "evaluation" and _is_chosen(job, chosen)]
    keys = _with_needs(selected)
    return [job for job in plan.jobs if job.key in keys]


def _is_chosen(job: Job, chosen: dict[str, set[str | None]]) -> bool:
    # Rows without a backbone belong to all.
    backbone = job.backbone is None or job.backbone in chosen["backbone"]
    return backbone and job.data in chosen["data"] and job.strategy in chosen["strategy"]


def _with_needs(jobs: Iterable[Job]) -> set[str]:
    keys: set[str] = set()
    for job in jobs:
        keys |= {job.key} | _with_needs(job.needs)
    return keys
