"""The part of a study that a call runs."""

from collections.abc import Iterable, Sequence

from ._job import Job
from ._plan import Plan

__all__ = ["select_jobs"]


def select_jobs(plan: Plan, only: Sequence[str]) -> list[Job]:
    """Give the jobs of some data sets, backbones and strategies, and what those need."""
    names: dict[str, set[str | None]] = {
        "data": {job.data for job in plan.jobs if job.data},
        "backbone": {job.backbone for job in plan.jobs if job.backbone},
        "strategy": {job.strategy for job in plan.jobs if job.kind == "evaluation"},
    }
    known = [str(name) for group in names.values() for name in sorted(map(str, group))]
    unknown = [name for name in only if name not in known]
    if unknown:
        raise ValueError(f"only has {unknown[0]!r}; expected names of {', '.join(known)}.")
    chosen = {kind: group & set(only) or group for kind, group in names.items()}
    wanted = [job for job in plan.jobs if job.kind == "evaluation" and _is_wanted(job, chosen)]
    keys = _with_needs(wanted)
    return [job for job in plan.jobs if job.key in keys]


def _is_wanted(job: Job, chosen: dict[str, set[str | None]]) -> bool:
    # Rows without a backbone belong to all.
    backbone = job.backbone is None or job.backbone in chosen["backbone"]
    return backbone and job.data in chosen["data"] and job.strategy in chosen["strategy"]


def _with_needs(jobs: Iterable[Job]) -> set[str]:
    keys: set[str] = set()
    for job in jobs:
        keys |= {job.key} | _with_needs(job.needs)
    return keys
