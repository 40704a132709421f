"""The search space of a user as a function of the trial."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["DistributionSpace", "draw", "make_space"]


@dataclass(frozen=True)
class DistributionSpace:
    """Draw each parameter from its distribution; a frozen trial repeats its values."""

    distributions: Mapping[str, Any]

    def __call__(self, trial: Any) -> dict[str, Any]:
        """Return the parameters of a trial."""
        return {name: draw(trial, name, space) for name, space in self.distributions.items()}


def draw(trial: Any, name: str, distribution: Any) -> Any:
    """Draw a parameter from its distribution."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    is_int = isinstance(distribution, IntDistribution)
    suggest = trial.suggest_int if is_int else trial.suggest_float
    options = {"step": distribution.step, "log": distribution.log}
    return suggest(name, distribution.low, distribution.high, **options)


def make_space(param_distributions: Any, estimator: Any) -> Callable[[Any], dict[str, Any]]:
    """Check the space, and return it as a function from a trial to parameters."""
    if callable(param_distributions):
        return _Checked(param_distributions)
    if not isinstance(param_distributions, Mapping) or not param_distributions:
        raise TypeError(
            f"param_distributions={param_distributions!r}; expected a dict from parameter names "
            "to distributions of Optuna, or a function from a trial to parameters, such "
            "as lambda trial: suggest_params(pipeline, trial)."
        )
    for name, distribution in param_distributions.items():
        _check_distribution(name, distribution)
        _check_name(name, estimator, param_distributions)
    return DistributionSpace(dict(param_distributions))


@dataclass(frozen=True)
class _Checked:
    """A user's function whose result is checked."""

    function: Callable[[Any], Any]

    def __call__(self, trial: Any) -> dict[str, Any]:
        params = self.function(trial)
        if not isinstance(params, Mapping):
            raise TypeError(
                f"param_distributions returned {params!r} for a trial; expected a dict of "
                "parameters."
            )
        return dict(params)


def _check_distribution(name: str, distribution: Any) -> None:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if not isinstance(distribution, (CategoricalDistribution, FloatDistribution, IntDistribution)):
        raise TypeError(
            f"param_distributions[{name!r}] is {distribution!r}; expected a distribution of "
            "Optuna: CategoricalDistribution([...]), FloatDistribution(low, high, log=True) or "
            "IntDistribution(low, high) of optuna.distributions."
        )


def _check_name(name: str, estimator: Any, searched: Mapping[str, Any]) -> None:
    """Check that a name is a parameter, or one of an object that is searched itself."""
    params = estimator.get_params()
    parents = [name[:at] for at in range(len(name)) if name.startswith("__", at)]
    if name in params or set(parents) & set(searched):
        return
    near = difflib.get_close_matches(name, params, n=3, cutoff=0.5)
    empty = [parent for parent in parents if parent in params and params[parent] is None]
    hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
    if empty:
        hint = f"{empty[-1]} is None: set it to an object in the estimator. "
    raise ValueError(
        f"param_distributions has {name!r}, which is not a parameter of the estimator. {hint}"
        "estimator.get_params() has them all."
    )
