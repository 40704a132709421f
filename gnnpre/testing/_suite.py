"""The suite: every check on an estimator, without pytest."""

import unittest
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from sklearn.exceptions import EstimatorCheckFailedWarning

from gnnpre._warnings import warn_user

# Each of these modules puts its checks on the list.
from . import _check_classifiers as _check_classifiers
from . import _check_fit as _check_fit
from . import _check_inputs as _check_inputs
from . import _check_labels as _check_labels
from . import _check_parameters as _check_parameters
from . import _check_results as _check_results
from . import _check_weights as _check_weights
from ._data import make_data
from ._registry import STRUCTURE_CHECKS, StructureCheck
from ._scikit_learn import array_free_checks

__all__ = [
    "CheckResult",
    "check_names",
    "check_structure_estimator",
    "structure_checks",
]


class CheckResult(NamedTuple):
    """Result of one check.

    Parameters
    ----------
    check_name : str
        Name of the check.
    status : {"passed", "failed", "skipped", "xfail"}
        ``"xfail"`` is a failure that was expected.
    exception : Exception or None
        The exception that the check raised.

    Examples
    --------
    >>> from gnnpre.testing import CheckResult
    >>> CheckResult("check_refit", "passed", None).status
    'passed'
    """

    check_name: str
    status: str
    exception: Exception | None


def structure_checks(
    estimator: Any, *, structures: Sequence[Any] | None = None, y: Any = None
) -> Iterator[tuple[str, Callable[[Any], None]]]:
    """Yield the checks that apply to an estimator on structures.

    Parameters
    ----------
    estimator : estimator
        An unfitted estimator; its tags and methods decide which checks apply.
    structures : sequence of structures, optional
        A dozen or two to fit to; generated crystals by default.
    y : object or callable, optional
        Their labels, or a function from an estimator to them. By default a property for a
        regressor, classes for a classifier, nothing where y is not required, and energies, forces
        and stresses (``FrameLabels``) for other estimators.

    Yields
    ------
    name : str
        Name of the check.
    check : callable
        Call it with the estimator; it raises where the check fails.

    See Also
    --------
    check_structure_estimator : Runs them.
    parametrize_with_structure_checks : Makes a test of each.

    Examples
    --------
    >>> from gnnpre import EAD
    >>> from gnnpre.testing import structure_checks
    >>> checks = dict(structure_checks(EAD(pooling="mean")))
    >>> checks["check_set_output"](EAD(pooling="mean"))
    """
    if isinstance(estimator, type):
        raise TypeError(
            f"estimator is the class {estimator.__name__}; expected an instance: "
            f"{estimator.__name__}()."
        )
    for name, function in array_free_checks(estimator).items():
        yield name, partial(_quietly, function)
    for check in STRUCTURE_CHECKS:
        if check.applies(estimator):
            yield check.name, partial(_run, check, structures, y)


def _run(check: StructureCheck, structures: Any, y: Any, estimator: Any) -> None:
    data = make_data(estimator, structures, y)
    _quietly(lambda one: check.function(one, data), estimator)


def _quietly(function: Callable[[Any], None], estimator: Any) -> None:
    """Call without the advice (UserWarning) that a dozen crystals cause."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        function(estimator)


def check_structure_estimator(
    estimator: Any,
    *,
    structures: Sequence[Any] | None = None,
    y: Any = None,
    expected_failed_checks: Mapping[str, str] | None = None,
    on_fail: str | None = "raise",
) -> list[CheckResult]:
    """Check that an estimator on crystal structures keeps scikit-learn's contract.

    The twin of ``sklearn.utils.estimator_checks.check_estimator``, whose checks pass tables of
    numbers and are skipped for an estimator on anything else. The checks of scikit-learn that need
    no array run as they are; most others have a twin on structures (copies, refits, seeds,
    containers, weights, order, processes, tables, routing); :func:`scikit_learn_checks` lists the
    few that make no sense on structures, with the reason.

    Parameters
    ----------
    estimator : estimator
        An unfitted regressor, classifier, transformer or pre-trainer, or a pipeline of them. It
        is fitted some hundred times: let it be small, a network with one epoch.
    structures : sequence of structures, optional
        A dozen or two to fit to; generated crystals by default. They are copied.
    y : object or callable, optional
        Their labels, or a function from an estimator to them. By default a property for a
        regressor, classes for a classifier, nothing where y is not required, and energies, forces
        and stresses (``FrameLabels``) for other estimators.
    expected_failed_checks : dict of str to str, optional
        Names of checks that may fail, with the reason.
    on_fail : {"raise", "warn"} or None
        Raise the first failure, warn of each, or only return them.

    Returns
    -------
    list of CheckResult
        Name, status and exception of each check.

    Raises
    ------
    Exception
        Raised by the first check that fails, with ``on_fail="raise"``.
    TypeError
        If ``estimator`` is a class.
    ValueError
        If a parameter is not as expected, or a name in ``expected_failed_checks`` is not a check.

    See Also
    --------
    parametrize_with_structure_checks : Makes a pytest test of each check.

    Notes
    -----
    A ``random_state`` among the parameters, of steps too, is set where results are compared. Two
    checks start worker processes, as ``n_jobs=2`` does.

    Examples
    --------
    >>> from gnnpre import StructureToGraph
    >>> from gnnpre.testing import structure_checks
    >>> names = [name for name, check in structure_checks(StructureToGraph(cutoff=4.0))]
    >>> "check_inputs_untouched" in names
    True

    All of them, which takes a few seconds:

    >>> from gnnpre.testing import check_structure_estimator
    >>> results = check_structure_estimator(StructureToGraph(cutoff=4.0))  # doctest: +SKIP
    """
    if on_fail not in ("raise", "warn", None):
        raise ValueError(f"on_fail={on_fail!r}; expected 'raise', 'warn' or None.")
    expected = dict(expected_failed_checks or {})
    checks = dict(structure_checks(estimator, structures=structures, y=y))
    check_names(expected, checks)
    results = []
    for name, check in checks.items():
        result = _try(name, check, estimator, name in expected)
        results.append(result)
        if result.status == "failed" and result.exception is not None:
            _report(estimator, name, result.exception, on_fail)
    return results


def check_names(expected: Mapping[str, str], array_free: Iterable[str]) -> None:
    """Raise ValueError for names of checks that do not exist."""
    known_names = {*array_free, *(check.name for check in STRUCTURE_CHECKS)}
    unknown = sorted(set(expected) - known_names)
    if unknown:
        raise ValueError(f"expected_failed_checks names {unknown}, which are not checks.")


def _try(name: str, check: Callable[[Any], None], estimator: Any, expected: bool) -> CheckResult:
    try:
        check(estimator)
    except unittest.SkipTest as error:
        return CheckResult(name, "skipped", error)
    except Exception as error:
        return CheckResult(name, "xfail" if expected else "failed", error)
    return CheckResult(name, "passed", None)


def _report(estimator: Any, name: str, error: Exception, on_fail: str | None) -> None:
    if on_fail == "raise":
        error.add_note(f"This is {name} of gnnpre.testing, on {estimator!r}.")
        raise error
    # The warning of scikit-learn's own suite, so that one filter takes both.
    if on_fail == "warn":
        warn_user(
            EstimatorCheckFailedWarning(
                estimator=estimator,
                check_name=name,
                exception=error,
                status="failed",
                expected_to_fail=False,
                expected_to_fail_reason="",
            )
        )
