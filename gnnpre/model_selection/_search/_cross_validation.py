"""The score of one trial: its folds, one by one, pruned on the way."""

import math
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_method_params

from gnnpre._processes import this_process
from gnnpre._progress_label import progress_label
from gnnpre.estimators import PropertyEnsemble
from gnnpre.training import ReportEpoch, allow_ctrl_c, delay_ctrl_c

from ._epoch_reports import epoch_values
from ._optuna_study import ERROR, FOLDS, OWNER, StudyHandle

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

__all__ = ["CrossValidation", "TrialFailed", "find_callbacks", "largest_epochs"]

CALLBACKS, EPOCHS = "callbacks", "max_epochs"


class TrialFailed(Exception):
    """A fit or a score raised; the trial stores the error, and the search goes on."""


@dataclass(frozen=True)
class Reporter:
    """Function for the callback of one fold: reports an epoch, and raises to end the trial."""

    handle: StudyHandle
    number: int
    first_step: int

    def __call__(self, epoch: int, loss: float) -> None:
        """Report minus the loss: the pruner maximizes, as the search does."""
        from optuna import TrialPruned

        # Within a training, where Ctrl-C is allowed.
        with delay_ctrl_c():
            is_pruned = self.handle.report_epoch(self.number, self.first_step + epoch, -loss)
        if is_pruned:
            raise TrialPruned(f"at step {self.first_step + epoch}")


@dataclass(frozen=True)
class CrossValidation:
    """The function that a search maximizes: the mean score of a trial's parameters over folds."""

    estimator: Any
    space: Callable[[Any], dict[str, Any]]
    X: Any
    y: Any
    splits: list[tuple[np.ndarray, np.ndarray]]
    scorer: Any
    fit_params: dict[str, Any]
    score_params: dict[str, Any]
    error_score: Any
    monitor: str
    handle: StudyHandle

    def __call__(self, trial: "Trial") -> float:
        """Fit and score the folds; raises TrialPruned or TrialFailed."""
        from optuna import TrialPruned

        trial.set_user_attr(OWNER, this_process())
        # As in scikit-learn, parameters that cannot be set end the search.
        model = set_cloned(self.estimator, self._draw(trial))
        try:
            return self._run_folds(trial, model)
        except TrialPruned:
            raise
        except Exception as error:
            trial.set_user_attr(ERROR, "".join(traceback.format_exception(error))[-3000:])
            if self.error_score == "raise":
                raise
            raise TrialFailed(str(error)) from error

    def _draw(self, trial: "Trial") -> dict[str, Any]:
        try:
            return self.space(trial)
        except ValueError as error:
            if "dynamic value space" not in str(error):
                raise
            # Two searches with different choices that began at the same time.
            raise ValueError(
                f"study_name={self.handle.name!r} is a search of another space, which another "
                f"process runs: {error} Choose another study_name."
            ) from error

    def _run_folds(self, trial: "Trial", model: Any) -> float:
        from optuna import TrialPruned

        name = find_callbacks(model)
        per_epoch = False
        folds: dict[str, list[float]] = {"score": [], "fit_time": [], "score_time": []}
        for fold in range(len(self.splits)):
            fold_model = clone(model)
            if name is not None:
                first_step = fold * largest_epochs(model, name, trial.distributions)
                self._add_callback(
                    fold_model, name, Reporter(self.handle, trial.number, first_step)
                )
            text = f"trial {trial.number}, fold {fold + 1} of {len(self.splits)}"
            with progress_label(text), allow_ctrl_c():
                results = self._fit_and_score(fold_model, fold)
            for key, value in zip(folds, results, strict=True):
                folds[key].append(value)
            trial.set_user_attr(FOLDS, folds)
            # In the unit of the score, once per fold: what dashboards show of a pruned trial.
            trial.report(float(np.mean(folds["score"])), fold)
            if fold == 0 and name is not None:
                # Without a validation part, a network has reported no epoch.
                per_epoch = bool(epoch_values(self._stored(trial)))
            is_last = fold + 1 == len(self.splits)
            if per_epoch or is_last:
                continue
            if self.handle.should_prune_after_fold(trial.number):
                raise TrialPruned(f"after fold {fold}")
        return float(np.mean(folds["score"]))

    def _stored(self, trial: "Trial") -> "FrozenTrial":
        return self.handle.study.get_trials(deepcopy=False)[trial.number]

    def _add_callback(self, model: Any, name: str, report: Reporter) -> None:
        callbacks = model.get_params()[name]
        callbacks = list(callbacks) if isinstance(callbacks, (list, tuple)) else []
        model.set_params(**{name: [*callbacks, ReportEpoch(report, self.monitor)]})

    def _fit_and_score(self, model: Any, fold: int) -> tuple[float, float, float]:
        # 1. fit on the training rows
        train, test = self.splits[fold]
        X, y = _safe_split(model, self.X, self.y, train)
        params = _check_method_params(self.X, self.fit_params, train)
        start = time.perf_counter()
        model.fit(X, **params) if y is None else model.fit(X, y, **params)
        fitted = time.perf_counter()
        # 2. score on the test rows
        X, y = _safe_split(model, self.X, self.y, test, train)
        params = _check_method_params(self.X, self.score_params, test)
        score = self.scorer(model, X, **params) if y is None else self.scorer(model, X, y, **params)
        if not isinstance(score, Real) or not math.isfinite(score):
            raise ValueError(
                f"scoring returned {score!r} in fold {fold}; expected a finite number."
            )
        return float(score), fitted - start, time.perf_counter() - fitted


def set_cloned(estimator: Any, params: dict[str, Any]) -> Any:
    """Return a clone with parameters set, which are cloned too where they are estimators."""
    return clone(estimator).set_params(**clone(params, safe=False))


def find_callbacks(estimator: Any) -> str | None:
    """Return the name of the parameter that takes callbacks of skorch, None where there is none.

    Of several it is the outermost, and among those the one in the last step of a pipeline.
    """
    params = estimator.get_params()
    names = [
        name
        for name in params
        if name.rpartition("__")[2] == CALLBACKS
        and _trains_by_skorch(params.get(name.rpartition("__")[0], estimator))
        and not _is_member(name, estimator, params)
    ]
    depth = min((name.count("__") for name in names), default=0)
    # In a pipeline with a pre-training inside, the outer network is the one that is scored.
    names = [name for name in names if name.count("__") == depth]
    if len(names) > 1 and hasattr(estimator, "steps"):
        names = [name for name in names if name.startswith(f"{estimator.steps[-1][0]}__")]
    return names[0] if len(names) == 1 else None


def _is_member(name: str, estimator: Any, params: dict[str, Any]) -> bool:
    """Return whether a parameter is of a member of an ensemble, which has folds of its own."""
    outer = [name[:at] for at in range(len(name)) if name.startswith("__", at)]
    return any(
        isinstance(item, PropertyEnsemble)
        for item in (estimator, *(params.get(prefix) for prefix in outer))
    )


def _trains_by_skorch(estimator: Any) -> bool:
    """Return whether an estimator is gnnpre's or skorch's: others have other callbacks."""
    packages = {cls.__module__.partition(".")[0] for cls in type(estimator).__mro__}
    return bool(packages & {"gnnpre", "skorch"})


def largest_epochs(estimator: Any, callbacks: str, distributions: dict[str, Any]) -> int:
    """Return the most epochs that a fold of any trial may have, so that steps compare."""
    name = callbacks.removesuffix(CALLBACKS) + EPOCHS
    distribution = distributions.get(name)
    if distribution is None:
        return int(estimator.get_params()[name])
    return int(max(getattr(distribution, "choices", [getattr(distribution, "high", 0)])))
