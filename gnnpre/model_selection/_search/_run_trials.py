"""The trials of a search, one after the other or in several processes."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import Parallel, delayed

from gnnpre.training import allow_ctrl_c

from ._cross_validation import CrossValidation, TrialFailed
from ._optuna_study import StudyHandle, count_trials, quiet_optuna

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

__all__ = ["TrialRunner"]


@dataclass(frozen=True)
class TrialRunner:
    """All that a process needs to run trials of a search."""

    objective: CrossValidation
    handle: StudyHandle
    n_trials: int | None
    deadline: float | None
    sampler: "BaseSampler | None"
    seed: int
    verbose: int

    def run(self, n_jobs: int) -> None:
        """Run trials until there are enough in all, or time is over."""
        done = count_trials(self.handle)
        if n_jobs == 1:
            self._run_here(done)
            return
        # A task is one trial, so that no two processes take the last one.
        tasks = (delayed(_run_one)(self, index) for index in self._indices(done))
        with allow_ctrl_c():
            Parallel(n_jobs=n_jobs, pre_dispatch=n_jobs)(tasks)

    def _indices(self, done: int) -> Iterator[int]:
        """Yield the numbers of the remaining trials; those of an earlier run count."""
        numbers = itertools.count(done) if self.n_trials is None else range(done, self.n_trials)
        return itertools.takewhile(lambda _: self._has_time(), numbers)

    def _has_time(self) -> bool:
        return self.deadline is None or time.time() < self.deadline

    def _has_room(self) -> bool:
        # Another search, on another machine perhaps, may be at work on the same study.
        return self.n_trials is None or count_trials(self.handle) < self.n_trials

    def _run_here(self, done: int) -> None:
        """Run trials in this process; a sampler that has tried everything may stop the search."""
        study = self.handle.study
        samplers = (self._sampler(index, done > 0) for index in itertools.count(done))
        study.sampler = next(samplers)

        def prepare_next(study: Any, trial: Any) -> None:
            study.sampler = next(samplers)
            if not self._has_time() or not self._has_room():
                study.stop()

        if self._has_time() and self._has_room():
            study.optimize(self.objective, catch=(TrialFailed,), callbacks=[prepare_next])

    def _sampler(self, index: int, reseed: bool) -> "BaseSampler":
        """Return the sampler of a trial.

        The default sampler is seeded by the number of the trial, so that an interrupted search
        continues as it would have. A seeded sampler of the user would repeat itself.
        """
        from optuna.samplers import TPESampler

        if self.sampler is None:
            seed = np.random.SeedSequence([self.seed, index]).generate_state(1)[0]
            return TPESampler(seed=int(seed))
        if reseed:
            self.sampler.reseed_rng()
        return self.sampler


def _run_one(runner: TrialRunner, index: int) -> None:
    """Run a trial in a worker process."""
    if not runner._has_time() or not runner._has_room():
        return
    study = runner.handle.study
    study.sampler = runner._sampler(index, reseed=True)
    with quiet_optuna(runner.verbose):
        study.optimize(runner.objective, n_trials=1, catch=(TrialFailed,))
