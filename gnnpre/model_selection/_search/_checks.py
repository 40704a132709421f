"""Checks of the parameters of a search."""

from numbers import Real
from typing import Any

from sklearn.model_selection import check_cv

from gnnpre._validation import check_bool, check_n_jobs, check_number

__all__ = ["check_search", "check_splitter"]


def check_search(search: Any) -> None:
    """Check the parameters of a search; errors name the parameter."""
    if not hasattr(search.estimator, "fit") or isinstance(search.estimator, type):
        raise TypeError(f"estimator is {search.estimator!r}; expected an estimator with fit.")
    _check_numbers(search)
    _check_types(search)
    if isinstance(search.scoring, (list, tuple, set, dict)):
        raise TypeError(f"scoring={search.scoring!r}; expected one score, a name or a callable.")
    is_number = isinstance(search.error_score, Real) and not isinstance(search.error_score, bool)
    if not is_number and search.error_score != "raise":
        raise ValueError(f"error_score={search.error_score!r}; expected 'raise' or a number.")


def check_splitter(cv: Any, y: Any, classifier: bool) -> Any:
    """Return a splitter for the parameter ``cv``; errors name it."""
    try:
        return check_cv(cv, y, classifier=classifier)
    except TypeError as error:  # of an iteration over something that is not an iterable of folds
        raise TypeError(
            f"cv={cv!r} is not a number of folds, a splitter or an iterable of (train, test): "
            f"{error}."
        ) from error


def _check_numbers(search: Any) -> None:
    if search.n_trials is not None:
        check_number("n_trials", search.n_trials, integer=True)
    if search.timeout is not None:
        check_number("timeout", search.timeout)
    if search.n_trials is None and search.timeout is None:
        raise ValueError("n_trials and timeout are both None: the search would never end.")
    check_bool("refit", search.refit)
    check_number("verbose", search.verbose, integer=True, low_included=True)


def _check_types(search: Any) -> None:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

    types = {"pruner": BasePruner, "sampler": BaseSampler, "study_name": str, "monitor": str}
    for name, expected in types.items():
        value = getattr(search, name)
        if not isinstance(value, expected) and (value is not None or name == "monitor"):
            noun = "a string" if expected is str else f"an object of optuna.{name}s"
            none = "" if name == "monitor" else "None or "
            raise TypeError(f"{name}={value!r}; expected {none}{noun}.")
    check_n_jobs(search.n_jobs)
