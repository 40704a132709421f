"""The suite as tests of pytest, which is imported only when it is used."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ._suite import check_names, structure_checks

__all__ = ["parametrize_with_structure_checks"]


def parametrize_with_structure_checks(
    estimators: Sequence[Any] | Mapping[str, Any],
    *,
    structures: Sequence[Any] | None = None,
    y: Any = None,
    expected_failed_checks: Callable[[Any], Mapping[str, str]] | None = None,
) -> Any:
    """Make a pytest test of each check of each estimator on crystal structures.

    The twin of ``sklearn.utils.estimator_checks.parametrize_with_checks``.

    Parameters
    ----------
    estimators : list of estimators, or dict of str to estimator
        Unfitted estimators; the keys of a dict name the tests, else their classes do.
    structures : sequence of structures, optional
        As in :func:`check_structure_estimator`.
    y : object or callable, optional
        As in :func:`check_structure_estimator`.
    expected_failed_checks : callable, optional
        From an estimator to a dict of the names of checks that may fail, with the reason; these
        tests are marked as xfail.

    Returns
    -------
    decorator
        ``pytest.mark.parametrize`` of ``estimator`` and ``check``.

    See Also
    --------
    check_structure_estimator : The same without pytest.

    Examples
    --------
    >>> from gnnpre import EAD, StructureToGraph
    >>> from gnnpre.testing import parametrize_with_structure_checks
    >>> @parametrize_with_structure_checks([StructureToGraph(), EAD(pooling="mean")])
    ... def test_contract(estimator, check):
    ...     check(estimator)
    """
    import pytest

    named = estimators if isinstance(estimators, Mapping) else _named(estimators)
    cases = []
    for label, estimator in named.items():
        expected = dict(expected_failed_checks(estimator) if expected_failed_checks else {})
        checks = dict(structure_checks(estimator, structures=structures, y=y))
        check_names(expected, checks)
        for name, check in checks.items():
            marks = [pytest.mark.xfail(reason=expected[name])] if name in expected else []
            cases.append(pytest.param(estimator, check, id=f"{label}-{name}", marks=marks))
    return pytest.mark.parametrize(("estimator", "check"), cases)


def _named(estimators: Iterable[Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for estimator in estimators:
        name = base = type(estimator).__name__
        while name in named:
            name = f"{base}{sum(key.startswith(base) for key in named)}"
        named[name] = estimator
    return named
