"""Tests of one's own estimators on structures: scikit-learn's contract, check by check."""

from ._parametrize import parametrize_with_structure_checks
from ._scikit_learn import scikit_learn_checks
from ._suite import CheckResult, check_structure_estimator, structure_checks

__all__ = [
    "CheckResult",
    "check_structure_estimator",
    "parametrize_with_structure_checks",
    "scikit_learn_checks",
    "structure_checks",
]
