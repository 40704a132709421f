"""Errors, improvements over training from scratch, their intervals and tests."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from gnnpre.estimators import average_improvement

from ._bootstrap import N_RESAMPLES, interval, resampled_improvements
from ._pairing import aligned, errors_by_run, mean_by_crystal, mean_mae_by_run
from ._record import Method, Record
from ._results import SCRATCH, StudyResults

__all__ = [
    "Average",
    "Cell",
    "Choice",
    "Improvement",
    "average_improvements",
    "cells",
    "choose_by_validation",
    "improvements",
    "sign_flip_test",
    "wilcoxon_test",
]

Key = tuple[str, Method]


class Cell(NamedTuple):
    """The error of one method on one data set, over its runs (seeds or folds)."""

    mean: float
    std: float
    n_runs: int
    n_records: int
    n_expected: int
    n_failed: int
    #: Runs of which pre-trainings have seen all test crystals; only on unseen crystals.
    n_all_seen: int = 0

    @property
    def complete(self) -> bool:
        """True if every declared job has finished with finite errors."""
        return 0 < self.n_expected <= self.n_records and bool(np.isfinite(self.mean))


class Improvement(NamedTuple):
    """A method against training from scratch on one data set, run by run. Percent."""

    percent: float
    low: float
    high: float
    reference_mae: float
    mae: float
    n_runs: int
    n_crystals: int
    p_runs: float
    p_crystals: float
    draws: np.ndarray


class Average(NamedTuple):
    """The unweighted mean of a method's improvements. Percent."""

    percent: float
    low: float
    high: float
    data: tuple[str, ...]
    missing: tuple[str, ...]


class Choice(NamedTuple):
    """The method of a backbone with the least validation error, and those that lack some."""

    best: Method | None
    unranked: tuple[Method, ...]


def cells(results: StudyResults) -> dict[Key, Cell]:
    """Summarise the records of each data set and method, those without any included."""
    declared = _count_declared(results)
    failed = _count_failed(results)
    all_seen = Counter((str(record.data), record.method) for record in results.all_seen)
    by_cell = {(d, m): results.of(d, m) for d in results.data_names for m in results.methods}
    # Without a list of jobs, what the fullest row of a data set has is taken as expected.
    most = {
        d: max((len(by_cell[d, m]) for m in results.methods), default=0) for d in results.data_names
    }
    return {
        key: _cell(
            records,
            declared[key] if results.jobs else most.get(key[0], 0),
            failed[key],
        )._replace(n_all_seen=all_seen[key])
        for key, records in by_cell.items()
    }


def _cell(records: Sequence[Record], expected: int, failed: int) -> Cell:
    runs = list(mean_mae_by_run(records).values())
    mean = float(np.mean(runs)) if runs else float("nan")
    std = float(np.std(runs, ddof=1)) if len(runs) > 1 else float("nan")
    return Cell(mean, std, len(runs), len(records), expected, failed)


def _count_declared(results: StudyResults) -> Counter[Key]:
    return Counter(
        (job["data"], Method(job.get("backbone"), job["strategy"]))
        for job in results.jobs
        if job.get("kind") == "evaluation" and job.get("member") is None
    )


def _count_failed(results: StudyResults) -> Counter[Key]:
    jobs = {job["key"]: job for job in results.jobs}
    failed = [jobs.get(f.key, f.job) for f in results.declared_failures]
    return Counter(
        (job["data"], Method(job.get("backbone"), job["strategy"]))
        for job in failed
        if isinstance(job, Mapping) and job.get("data") and job.get("strategy")
    )


def improvements(
    results: StudyResults, *, n_resamples: int = N_RESAMPLES
) -> dict[Key, Improvement]:
    """Compare each method that has a backbone with its ``scratch``, where they share runs."""
    improved: dict[Key, Improvement] = {}
    streams = _streams(results)
    for data in results.data_names:
        for method in results.methods:
            if method.backbone is None or method.strategy == SCRATCH:
                continue
            reference = results.of(data, Method(method.backbone, SCRATCH))
            records = results.of(data, method)
            compared = _compare(data, streams.get(data, data), reference, records, n_resamples)
            if compared is not None:
                improved[data, method] = compared
    return improved


def _streams(results: StudyResults) -> dict[str, str]:
    """Return the name of the stream of resamples of each data set.

    Data sets of the same crystals, such as two properties of them or one with fewer labels, have
    the same splits, and errors that go together: the same resamples keep that in an average.
    """
    first: dict[tuple[str, ...], str] = {}
    return {
        name: first.setdefault(results.data[name].formulas, name)
        for name in results.data_names
        if name in results.data
    }


def _compare(
    data: str,
    stream: str,
    reference: Sequence[Record],
    records: Sequence[Record],
    n_resamples: int,
) -> Improvement | None:
    before, after = errors_by_run(reference), errors_by_run(records)
    pairs = [aligned(data, before[run], after[run]) for run in before if run in after]
    if not pairs or not all(np.isfinite(errors).all() for _, errors in pairs):
        return None
    # 1. errors run by run, and their means
    errors = [pair for _, pair in pairs]
    run_maes = np.array([pair.mean(axis=1) for pair in errors])  # (runs, 2)
    reference_mae, mae = run_maes.mean(axis=0)
    if reference_mae == 0.0:
        return None
    # 2. the interval, from resampled runs and crystals
    draws = resampled_improvements(errors, stream=stream, n_resamples=n_resamples)
    # 3. the tests: over runs, and over crystals
    crystals = mean_by_crystal(pairs)
    return Improvement(
        100.0 * (reference_mae - mae) / reference_mae,
        *interval(draws),
        float(reference_mae),
        float(mae),
        len(pairs),
        len(crystals),
        sign_flip_test(run_maes[:, 0] - run_maes[:, 1]),
        wilcoxon_test(crystals[:, 0] - crystals[:, 1]),
        draws,
    )


def sign_flip_test(differences: np.ndarray) -> float:
    """Two-sided p that paired differences scatter around zero, by flipping their signs.

    Exact up to 13 of them; from 14 on of 9,999 random flips.
    """
    if len(differences) < 2:
        return 1.0  # either sign is as extreme; SciPy refuses a single one
    differences = _unit_scale(differences)
    result = stats.permutation_test(
        (differences, np.zeros_like(differences)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        rng=0,
    )
    return float(result.pvalue)


def wilcoxon_test(differences: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; 1 where there is no difference at all."""
    if not np.any(differences):
        return 1.0
    return float(stats.wilcoxon(_unit_scale(differences)).pvalue)


def _unit_scale(differences: np.ndarray) -> np.ndarray:
    """Divide by the largest difference: SciPy takes those below 1e-14 for equal."""
    largest = float(np.abs(differences).max(initial=0.0))
    return differences / largest if largest else differences


def average_improvements(
    results: StudyResults, compared: Mapping[Key, Improvement]
) -> dict[Method, Average]:
    """Average the improvements of each method over the data sets that have one."""
    averages = {}
    for method in dict.fromkeys(method for _, method in compared):
        by_data = {
            data: compared[data, method]
            for data in results.data_names
            if (data, method) in compared
        }
        percent = average_improvement(
            {data: item.reference_mae for data, item in by_data.items()},
            {data: item.mae for data, item in by_data.items()},
        )
        low, high = interval({data: item.draws for data, item in by_data.items()})
        missing = tuple(data for data in results.data_names if data not in by_data)
        averages[method] = Average(percent, low, high, tuple(by_data), missing)
    return averages


def choose_by_validation(results: StudyResults, backbone: str) -> Choice:
    """Choose the method of a backbone with the least validation error, never looking at tests.

    Candidates have validation errors of all runs that scratch and any candidate have: others would
    be averaged over different sets or folds. Runs of scratch alone do not count, which are there
    where a study has not come further.
    """
    start = Method(backbone, SCRATCH)
    candidates = [m for m in results.methods if m.backbone == backbone and m != start]
    runs = {
        name: _runs(results, name, start)
        & set().union(*(_runs(results, name, method) for method in candidates))
        for name in results.data_names
    }
    scratch = _validation_maes(results, start, runs)
    scores, unranked = {}, []
    for method in candidates:
        errors = _validation_maes(results, method, runs)
        # A method with fewer runs may owe its mean to easy folds.
        whole = all(runs[name] <= _runs(results, name, method) for name in scratch)
        if scratch and whole and scratch.keys() <= errors.keys():
            scores[method] = average_improvement(scratch, {name: errors[name] for name in scratch})
        else:
            unranked.append(method)
    best = max(scores, key=lambda method: scores[method]) if scores else None
    return Choice(best, tuple(unranked))


def _runs(results: StudyResults, data: str, method: Method) -> set[int | None]:
    return {record.run for record in results.of(data, method)}


def _validation_maes(
    results: StudyResults, method: Method, runs: Mapping[str, set[int | None]]
) -> dict[str, float]:
    means = {}
    for data in results.data_names:
        records = [r for r in results.of(data, method) if r.run in runs[data]]
        means[data] = float(np.mean([r.validation_mae for r in records] or [np.nan]))
    return {data: value for data, value in means.items() if np.isfinite(value) and value > 0}
