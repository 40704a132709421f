"""Running jobs: each once, whatever is killed and however many processes share a folder."""

import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from gnnpre._claims import claimed

from ..plan._job import Job
from ._evaluate import evaluate
from ._folder import now, write_json
from ._machine import describe_commit, describe_machine, describe_versions
from ._pretrain import pretrain
from ._progress import duration
from ._workspace import Workspace

__all__ = ["Runner"]

#: Seconds between looks at jobs that other processes do.
POLL = 1.0


class Runner:
    """Runs jobs until each is done or has failed, here or in another process."""

    def __init__(
        self, workspace: Workspace, common: Mapping[str, Any], progress: Callable[[str], None]
    ) -> None:
        self.workspace = workspace
        self.common = common
        self.folder = workspace.folder
        self.progress = progress
        self.started = time.time()
        self.done: list[str] = []
        self.failed: dict[str, str] = {}
        self.n_jobs = 0
        # Seconds of the last job of each data set, network and strategy.
        self.seconds: dict[tuple[str | None, ...], float] = {}

    def run(self, jobs: Sequence[Job]) -> None:
        """Run all jobs that are neither done nor failed."""
        waiting, self.n_jobs = list(jobs), len(jobs)
        while waiting := [job for job in waiting if not self._is_settled(job)]:
            ready = [job for job in waiting if self._is_ready(job)]
            # A list, not a generator: all ready jobs are attempted before a pause.
            if not any([self._attempt(job, waiting) for job in ready]):
                time.sleep(POLL)

    def _position(self, jobs: Sequence[Job]) -> str:
        """Describe how many jobs are left, and for how long if jobs like all of them were done."""
        times = [self.seconds.get(_likeness(job)) for job in jobs]
        text = f"{len(jobs)} of {self.n_jobs} jobs left"
        if None in times:
            return text
        return f"{text}, about {duration(sum(time for time in times if time))}"

    def _is_settled(self, job: Job) -> bool:
        if self.folder.is_done(job):
            self.failed.pop(job.key, None)
            return True
        if job.key not in self.failed:
            self._note_failure(job)
        return job.key in self.failed

    def _note_failure(self, job: Job) -> None:
        """Record that a job failed in another process, or needs one that failed."""
        blocked = [needed for needed in job.needs if needed.key in self.failed]
        if blocked:
            self._fail(job, f"not done: it needs {blocked[0]}, which failed", "")
        elif self._failed_elsewhere(job):
            self.failed[job.key] = "failed in another process"

    def _is_ready(self, job: Job) -> bool:
        return all(self.folder.is_done(needed) for needed in job.needs)

    def _attempt(self, job: Job, waiting: Sequence[Job]) -> bool:
        """Run a job unless another process runs it; return whether this process had the lock."""
        with claimed(self.folder.claim(job.key)) as has_lock:
            # Another process may have done it since the list of waiting jobs was made.
            if not has_lock or self.folder.is_done(job):
                return has_lock
            if self._failed_elsewhere(job):
                return True
            remaining = [item for item in waiting if not self.folder.is_done(item)]
            self.progress(f"{now()} start {job.key} {job}: {self._position(remaining)}")
            self._run_job(job)
        return True

    def _failed_elsewhere(self, job: Job) -> bool:
        # Failures of earlier calls do not count: this one tries those jobs again.
        path = self.folder.failure(job.key)
        return path.is_file() and path.stat().st_mtime > self.started

    def _run_job(self, job: Job) -> None:
        started = time.perf_counter()
        try:
            record = self._record(job)
        except Exception as error:
            self._fail(job, f"{type(error).__name__}: {error}", traceback.format_exc())
            return
        self.folder.write_record(record)
        self.done.append(job.key)
        # With the epochs of earlier processes: how long such a job takes from its start.
        self.seconds[_likeness(job)] = record["seconds"]
        mae = (record["metrics"] or {}).get("mae")
        result = "" if mae is None else f", MAE {mae:.5g} {record['unit'] or ''}"
        seconds = time.perf_counter() - started
        self.progress(f"{now()} done  {job.key} {job}: {seconds:.1f} s{result}")

    def _record(self, job: Job) -> dict[str, Any]:
        started, processor = time.perf_counter(), time.process_time()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            result = (pretrain if job.kind == "pretraining" else evaluate)(job, self.workspace)
        elapsed, processor = time.perf_counter() - started, time.process_time() - processor
        epochs = sum(epoch.get("dur", 0.0) for epoch in result["history"])
        return {
            **self.common,
            **job.describe(),
            **result,
            # Epochs that a killed process had done count too.
            "seconds": max(elapsed, epochs),
            # Of the processor, which other programs on the machine do not lengthen.
            "core_seconds": processor + max(0.0, epochs - elapsed) * self.workspace.threads,
            "parameters": dict(job.parameters),
            "pretraining": _pretraining_of(job),
            "warnings": _texts(caught),
            "commit": describe_commit(),
            "versions": describe_versions(),
            "machine": describe_machine(self.workspace.device, self.workspace.threads),
            "finished": now(),
        }

    def _fail(self, job: Job, error: str, trace: str) -> None:
        # Records are published: paths in them start at the folder of the run.
        error, trace = (text.replace(str(self.folder.root), ".") for text in (error, trace))
        self.failed[job.key] = error
        failure = {"key": job.key, "job": job.describe(), "error": error, "traceback": trace}
        write_json(self.folder.failure(job.key), {**failure, "finished": now()})
        self.progress(f"{now()} FAIL  {job.key} {job}: {error}")


def _likeness(job: Job) -> tuple[str | None, ...]:
    """Return a label that is equal for jobs of about the same duration."""
    return (job.kind, job.data, job.backbone, job.strategy)


def _pretraining_of(job: Job) -> Any:
    keys = list(dict.fromkeys(_pretrainings(job)))
    return keys[0] if len(keys) == 1 else keys or None


def _pretrainings(job: Job) -> Iterator[str]:
    for needed in job.needs:
        if needed.kind == "pretraining":
            yield needed.key
        else:
            yield from _pretrainings(needed)


def _texts(caught: Iterable[Any]) -> list[str]:
    texts = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    return list(dict.fromkeys(texts))
