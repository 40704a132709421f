"""The identity of a search, which a stored one must share to be continued."""

import copy
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.frozen import FrozenEstimator

from gnnpre._content_key import content_digest

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

__all__ = ["check_same_search", "search_identity"]

#: Attribute of an Optuna study.
IDENTITY = "gnnpre:search"
# Parameters that decide where and how loudly a model is trained, not what it becomes.
IRRELEVANT = (
    "n_jobs",
    "n_processes",
    "verbose",
    "device",
    "memory",
    "checkpoint_dir",
    "resume",
    "callbacks",
)
# Characters of a value, such as a splitter with the fold of each crystal, before its digest.
LONGEST_TEXT = 200
CURE = (
    "Choose another study_name for a new search, or repeat the search as it was. Within a "
    "cross-validation leave study_name=None: each fold needs a search of its own."
)
# Why each part of the identity may differ.
DATA_TEXT = {
    "data": "other data: X or y",
    "splits": "other splits: cv, groups, or a splitter that shuffles without a random_state",
    "parameters": "other parameters of fit or score, such as sample_weight",
}


def search_identity(
    estimator: Any, X: Any, y: Any, splits: list[Any], scoring: Any, parameters: Any
) -> dict[str, Any]:
    """Describe a search as JSON-serializable values: data, splits, scoring and estimator.

    ``parameters`` are those that ``fit`` and the scorer get, such as weights.
    """
    labels = np.asarray(y) if isinstance(y, (list, tuple)) else y
    return {
        "data": content_digest((X, labels)),
        "splits": content_digest(splits),
        "parameters": content_digest(parameters),
        "scoring": _text(scoring),
        "estimator": {"": type(estimator).__name__, **_parameters(estimator)},
    }


def _parameters(estimator: Any) -> dict[str, str]:
    values = estimator.get_params() if hasattr(estimator, "get_params") else {}
    named = frozenset(id(value) for value in values.values())
    return {
        name: _text(value, named) + (_file_digest(value) if name.endswith("pretrained") else "")
        for name, value in values.items()
        if name.rpartition("__")[2] not in IRRELEVANT and name != "steps"
    }


def _file_digest(value: Any) -> str:
    """Return a digest of the file of a model, which may be written anew under its name."""
    if not isinstance(value, (str, Path)) or not Path(value).is_file():
        return ""
    with open(value, "rb") as file:
        return f" {hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"


def _text(value: Any, named: frozenset[int] = frozenset()) -> str:
    """Describe a value by text that is the same in every process.

    Of objects with an id in ``named``, the parameters are listed by their own names.
    """
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_text(item, named) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key!r}: {_text(item, named)}' for key, item in value.items())}}}"
    if isinstance(value, np.ndarray):
        return f"array{value.shape} {content_digest(value)[:12]}"
    if isinstance(value, FrozenEstimator):
        return f"FrozenEstimator {content_digest(value)[:12]}"
    if hasattr(value, "get_params") and not isinstance(value, type):
        return type(value).__name__ if id(value) in named else _text_of_parameters(value)
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    # An address in memory is another one in each process.
    text = re.sub(r" at 0x[0-9a-f]+", "", repr(value))
    is_whole = len(text) <= LONGEST_TEXT and "..." not in text
    return text if is_whole else f"{text[:LONGEST_TEXT]} {content_digest(value)[:12]}"


def _text_of_parameters(value: Any) -> str:
    parameters = (f"{name}={text}" for name, text in _parameters(value).items())
    return f"{type(value).__name__}({', '.join(parameters)})"


def check_same_search(
    study: "Study", identity: Mapping[str, Any], space: Callable[[Any], dict[str, Any]]
) -> None:
    """Raise ValueError if the trials of an Optuna study are of another search.

    An Optuna study without trials becomes one of this search.
    """
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.params]
    stored = study.user_attrs.get(IDENTITY)
    if stored is None or not trials:
        study.set_user_attr(IDENTITY, json.loads(json.dumps(identity)))
        stored = identity
    # 1. what is scored, on which rows, and how
    for name, text in DATA_TEXT.items():
        # A search of an earlier version may not have recorded all of it.
        if stored.get(name, identity[name]) != identity[name]:
            _refuse(study, f"a search on {text} differ; scores would be mixed")
    if stored["scoring"] != identity["scoring"]:
        _refuse(study, f"scored by {stored['scoring']}; scoring is {identity['scoring']} now")
    # 2. what is searched, and what is not
    searched: set[str] = set()
    for trial in trials:
        searched |= _check_same_space(study, trial, space)
    _check_same_estimator(study, stored["estimator"], identity["estimator"], searched)


def _refuse(study: "Study", reason: str) -> None:
    raise ValueError(f"study_name={study.study_name!r} is {reason}. {CURE}")


def _check_same_space(
    study: "Study", trial: "FrozenTrial", space: Callable[[Any], dict[str, Any]]
) -> set[str]:
    """Draw a stored trial once more; return the names of the parameters that it set."""
    if trial.state.name not in ("COMPLETE", "PRUNED"):
        return set(trial.params)  # a killed trial may not have drawn all of its parameters
    again = copy.copy(trial)
    again.distributions = {}
    try:
        params = space(again)
    except ValueError as error:
        # Optuna refuses a value that the new distribution lacks, or a name that is not stored.
        undrawn = [name for name in trial.params if name not in again.distributions]
        reason = str(error).rstrip(".")
        if undrawn:
            old = trial.distributions[undrawn[0]]
            reason = f"{undrawn[0]!r} was {_choices(old)} in trial {trial.number}: {reason}"
        _refuse(study, f"a search of another space: {reason}")
    for name in {**trial.distributions, **again.distributions}:
        before, now = (each.distributions.get(name) for each in (trial, again))
        if before != now:
            what = f"{name!r} was {_choices(before)} in trial {trial.number} and is {_choices(now)}"
            _refuse(study, f"a search of another space: {what} now")
    return {*trial.params, *params}


def _choices(distribution: Any) -> str:
    return "not searched" if distribution is None else repr(distribution)


def _check_same_estimator(
    study: "Study", stored: Mapping[str, str], now: Mapping[str, str], searched: set[str]
) -> None:
    for name in {**stored, **now}:
        parents = {name, *(name[:at] for at in range(len(name)) if name.startswith("__", at))}
        # The value of a parameter that is searched is replaced in each trial.
        if parents & searched or stored.get(name) == now.get(name):
            continue
        label = f"its parameter {name}" if name else "it"
        before, after = (each.get(name, "absent") for each in (stored, now))
        _refuse(study, f"a search with another estimator: {label} was {before} and is {after} now")
