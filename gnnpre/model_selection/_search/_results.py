"""The trials of an Optuna study as the ``cv_results_`` of scikit-learn."""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata
from sklearn.exceptions import FitFailedWarning

from gnnpre._warnings import warn_user

from ._optuna_study import ERROR, FOLDS, StudyHandle

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["best_index", "check_failures", "search_results"]

Space = Callable[[Any], dict[str, Any]]


def finished_trials(handle: StudyHandle) -> list["FrozenTrial"]:
    """Return the trials that are over in order, except those lost with their process."""
    trials = handle.study.get_trials(deepcopy=False)
    over = [trial for trial in trials if trial.state.is_finished()]
    return [trial for trial in over if trial.state.name != "FAIL" or ERROR in trial.user_attrs]


def search_results(
    handle: StudyHandle, space: Space, n_splits: int, error_score: Any
) -> dict[str, Any]:
    """Return ``cv_results_`` with one entry for each trial that is over."""
    trials = finished_trials(handle)
    scores = np.array([_split_scores(trial, n_splits, error_score) for trial in trials])
    means = np.array([_mean(trial, row) for trial, row in zip(trials, scores, strict=True)])
    params = [_params(trial, space) for trial in trials]
    results: dict[str, Any] = {**_times(trials), "params": params, **_columns(params)}
    results |= {f"split{fold}_test_score": scores[:, fold] for fold in range(n_splits)}
    stds = np.where(np.isfinite(means), scores.std(axis=1), np.nan)
    results |= {"mean_test_score": means, "std_test_score": stds}
    results["rank_test_score"] = _ranks(means)
    results["state"] = np.array([trial.state.name for trial in trials])
    results["trial"] = np.array([trial.number for trial in trials])
    return results


def _split_scores(trial: "FrozenTrial", n_splits: int, error_score: Any) -> list[float]:
    scores = trial.user_attrs.get(FOLDS, {"score": []})["score"]
    is_failed = trial.state.name == "FAIL" and error_score != "raise"
    rest = float(error_score) if is_failed else np.nan
    return [*scores, *[rest] * (n_splits - len(scores))]


def _mean(trial: "FrozenTrial", scores: np.ndarray) -> float:
    """Return the mean score; NaN for a pruned trial, which has not finished its folds."""
    # A trial that somebody added to the study has no folds.
    return float(trial.values[0] if trial.state.name == "COMPLETE" else np.mean(scores))


def _params(trial: "FrozenTrial", space: Space) -> dict[str, Any]:
    """Return the parameters that a trial set, by calling the space once more."""
    from optuna.exceptions import ExperimentalWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", ExperimentalWarning)
            return space(trial)
    except Exception:  # a trial of another space, or one that failed while it was drawn
        return dict(trial.params)


def _times(trials: list["FrozenTrial"]) -> dict[str, np.ndarray]:
    columns = {}
    for name in ("fit_time", "score_time"):
        each = [trial.user_attrs.get(FOLDS, {}).get(name) or [np.nan] for trial in trials]
        columns[f"mean_{name}"] = np.array([np.mean(values) for values in each])
        columns[f"std_{name}"] = np.array([np.std(values) for values in each])
    return columns


def _columns(params: list[dict[str, Any]]) -> dict[str, Any]:
    """Return each parameter as a masked column, as scikit-learn does."""
    columns = {}
    for name in dict.fromkeys(name for row in params for name in row):
        column = np.ma.MaskedArray(np.empty(len(params), dtype=object), mask=True)
        for index, row in enumerate(params):
            if name in row:
                column[index] = row[name]
        columns[f"param_{name}"] = column
    return columns


def _ranks(means: np.ndarray) -> np.ndarray:
    if not len(means):
        return np.empty(0, dtype=np.int32)
    lowest = np.nan_to_num(means, nan=-np.inf, neginf=-np.inf)
    return rankdata(-lowest, method="min").astype(np.int32)


def best_index(results: dict[str, Any]) -> int:
    """Return the row of the best trial among those that were scored on all folds."""
    means = np.where(results["state"] == "COMPLETE", results["mean_test_score"], -np.inf)
    return int(np.argmax(means))


def check_failures(handle: StudyHandle) -> None:
    """Warn of trials whose fit raised; raise ValueError if no trial was scored."""
    trials = finished_trials(handle)
    # Tracebacks as text: exceptions of other processes cannot all be pickled.
    errors = [trial.user_attrs[ERROR] for trial in trials if ERROR in trial.user_attrs]
    if not any(trial.state.name == "COMPLETE" for trial in trials):
        pruned = len(trials) - len(errors)
        shown = f" The last error was:\n{errors[-1]}" if errors else ""
        raise ValueError(
            f"None of {len(trials)} trials was scored on all folds: {len(errors)} failed and "
            f"{pruned} were pruned. Raise n_trials or timeout, choose a milder pruner, or repair "
            f"what fails (error_score='raise' stops at the first).{shown}"
        )
    if errors:
        warn_user(
            f"{len(errors)} of {len(trials)} trials failed. The last error was:\n{errors[-1]}",
            FitFailedWarning,
        )
