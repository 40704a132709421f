"""The list of checks, and to which estimators each applies."""

from collections.abc import Callable
from typing import Any, NamedTuple

from sklearn.base import is_classifier, is_regressor
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from ._data import CheckData

__all__ = [
    "STRUCTURE_CHECKS",
    "StructureCheck",
    "always",
    "is_no_pipeline",
    "is_repeatable",
    "is_supervised",
    "needs_fit",
    "structure_check",
    "takes",
    "transforms",
]

Check = Callable[[Any, CheckData], None]
Applies = Callable[[Any], bool]


class StructureCheck(NamedTuple):
    """A check, its twins in scikit-learn, and the estimators that it applies to."""

    function: Check
    twin_of: tuple[str, ...]
    applies: Applies

    @property
    def name(self) -> str:
        """Name of the function."""
        return self.function.__name__


#: All of them, in the order in which they run.
STRUCTURE_CHECKS: list[StructureCheck] = []


def always(estimator: Any) -> bool:
    """Apply to every estimator."""
    return True


def structure_check(*twin_of: str, applies: Applies = always) -> Callable[[Check], Check]:
    """Register a check."""

    def register(function: Check) -> Check:
        STRUCTURE_CHECKS.append(StructureCheck(function, twin_of, applies))
        return function

    return register


def is_no_pipeline(estimator: Any) -> bool:
    """Return whether the tags are the estimator's: a Pipeline hides those of X and y."""
    return not isinstance(estimator, Pipeline)


def needs_fit(estimator: Any) -> bool:
    """Whether it learns something."""
    return bool(get_tags(estimator).requires_fit)


def transforms(estimator: Any) -> bool:
    """Whether it is a transformer."""
    return hasattr(estimator, "transform")


def is_supervised(estimator: Any) -> bool:
    """Whether its y is an array of properties or classes."""
    return bool(is_regressor(estimator) or is_classifier(estimator))


def is_repeatable(estimator: Any) -> bool:
    """Return whether equal seeds mean equal results."""
    return not get_tags(estimator).non_deterministic


def takes(parameter: str) -> Applies:
    """Return whether ``fit`` has a parameter of that name."""

    def applies(estimator: Any) -> bool:
        return bool(has_fit_parameter(estimator, parameter))

    return applies
