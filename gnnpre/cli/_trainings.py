"""Trainings of ``gnnpre train``: one after another, or several at once in processes."""

import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from gnnpre._progress_label import label_unit, progress_label

from ._warnings import show_warning

__all__ = ["Training", "fit_each"]


@dataclass(frozen=True)
class Training:
    """The crystals of one fit, with the name that its progress has."""

    name: str
    X: Any
    y: Any
    groups: Any


def fit_each(
    estimator: Any, trainings: Iterable[Training], n: int, unit: str, n_jobs: int | None
) -> Iterator[Any]:
    """Yield a clone of an estimator for each training, fitted, in their order.

    Parameters
    ----------
    estimator : estimator
        With the parameter ``verbose``.
    trainings : iterable of Training
        The fits; not all of their crystals are in memory at once.
    n : int
        Their number.
    unit : str
        Unit of the property, for lines of progress.
    n_jobs : int or None
        Number of trainings at once, as in scikit-learn; None is one.
    """
    from joblib import Parallel, delayed, effective_n_jobs

    n_jobs = min(effective_n_jobs(n_jobs), n)
    if n_jobs == 1:
        for training in trainings:
            start = f"{training.name.capitalize()}: training on"
            click.echo(f"{start} {len(training.y)} crystals.", err=True)
            yield _fit(estimator, training, unit)
        return
    click.echo(f"{n} trainings, {n_jobs} at once.", err=True)
    # Bars of several processes would overwrite each other: a terminal gets one of all trainings.
    in_terminal = sys.stderr.isatty()
    verbose = 0 if in_terminal else estimator.verbose
    fits = (delayed(_fit_in_worker)(estimator, each, unit, verbose) for each in trainings)
    from tqdm import tqdm

    with tqdm(total=n, unit="training", disable=not in_terminal) as bar, _stopped_workers():
        for model in Parallel(n_jobs=n_jobs, return_as="generator")(fits):
            bar.update()
            bar.clear()  # lines that the caller prints would run into it
            yield model.set_params(verbose=estimator.verbose)
            bar.refresh()


@contextmanager
def _stopped_workers() -> Iterator[None]:
    """End the workers of joblib where the block raises: they would train on after Ctrl-C."""
    from joblib.externals.loky import get_reusable_executor

    try:
        yield
    except BaseException:
        get_reusable_executor().shutdown(wait=True, kill_workers=True)
        raise


def _fit(estimator: Any, training: Training, unit: str) -> Any:
    from sklearn.base import clone

    with progress_label(training.name), label_unit(unit):
        return clone(estimator).fit(training.X, training.y, groups=training.groups)


def _fit_in_worker(estimator: Any, training: Training, unit: str, verbose: int) -> Any:
    """Fit in a process of joblib, whose warnings have the form of this one's."""
    warnings.showwarning = show_warning
    return _fit(estimator.set_params(verbose=verbose), training, unit)
