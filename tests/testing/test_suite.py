"""The public suite: an estimator that keeps the contract passes, each way to break it is seen."""

import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn.exceptions import EstimatorCheckFailedWarning
from sklearn.utils import estimator_checks

from gnnpre import CGCNN, ForceField, Pretrainer
from gnnpre.datasets import make_emt_frames
from gnnpre.testing import (
    check_structure_estimator,
    parametrize_with_structure_checks,
    scikit_learn_checks,
    structure_checks,
)
from gnnpre.testing._registry import STRUCTURE_CHECKS
from gnnpre.testing._scikit_learn import ARRAY_FREE, LEFT_OUT
from testing.own_estimators import (
    Composition,
    CompositionRidge,
    LeavesAnAttribute,
    ReturnsNothing,
    UsesTheStructures,
)


@parametrize_with_structure_checks([CompositionRidge(), Composition()])
def test_own_estimators(estimator, check):
    check(estimator)


# Scikit-learn's checks


def test_every_check_of_scikit_learn_is_accounted_for():
    """A new version with a new check fails here: run it as it is, write a twin, or say why not."""
    unknown = [name for name, fate in scikit_learn_checks().items() if fate == "unknown"]
    assert unknown == []


def test_a_new_check_would_be_unknown(monkeypatch):
    def check_something_new(name, estimator):
        """As a future version may have."""

    monkeypatch.setattr(check_something_new, "__module__", estimator_checks.__name__)
    monkeypatch.setattr(estimator_checks, "check_something_new", check_something_new, raising=False)
    assert scikit_learn_checks()["check_something_new"] == "unknown"


def test_each_check_has_one_fate():
    twinned = {name for check in STRUCTURE_CHECKS for name in check.twin_of}
    assert not twinned & set(LEFT_OUT)
    assert not twinned & set(ARRAY_FREE)
    assert not set(ARRAY_FREE) & set(LEFT_OUT)
    assert all(len(reason) > 15 for reason in LEFT_OUT.values())


def test_names_of_our_checks_are_their_own():
    names = [check.name for check in STRUCTURE_CHECKS]
    assert len(set(names)) == len(names)
    assert not set(names) & set(scikit_learn_checks())
    assert all(check.function.__doc__ for check in STRUCTURE_CHECKS)


# The drivers


def test_results_of_all_checks():
    results = check_structure_estimator(Composition())
    assert {result.status for result in results} == {"passed"}
    assert [r.check_name for r in results] == [name for name, _ in structure_checks(Composition())]


def test_the_first_failure_is_raised_with_the_name_of_the_check():
    with pytest.raises(AssertionError) as caught:
        check_structure_estimator(LeavesAnAttribute())
    assert any("check_fitted_attributes_end_in" in note for note in caught.value.__notes__)


def test_failures_can_be_expected_warned_of_or_only_returned():
    name = "check_fitted_attributes_end_in_underscore"
    expected = check_structure_estimator(
        LeavesAnAttribute(), expected_failed_checks={name: "known"}
    )
    assert [r.check_name for r in expected if r.status == "xfail"] == [name]
    silent = check_structure_estimator(LeavesAnAttribute(), on_fail=None)
    (failed,) = (result for result in silent if result.status == "failed")
    assert failed.check_name == name
    assert "ridge" in str(failed.exception)
    with pytest.warns(EstimatorCheckFailedWarning, match=name):
        check_structure_estimator(LeavesAnAttribute(), on_fail="warn")


def test_expected_failures_are_marked():
    name = "check_fit_returns_self"
    mark = parametrize_with_structure_checks(
        {"own": ReturnsNothing()}, expected_failed_checks=lambda estimator: {name: "known"}
    )
    marked = {case.id for case in mark.args[1] if case.marks}
    assert marked == {f"own-{name}"}


def test_two_of_a_class_have_names_of_their_own():
    mark = parametrize_with_structure_checks([CompositionRidge(), CompositionRidge(0.1)])
    ids = [case.id for case in mark.args[1]]
    assert len(set(ids)) == len(ids)
    assert {name.split("-")[0] for name in ids} == {"CompositionRidge", "CompositionRidge1"}


def test_ones_own_structures_and_labels_are_copied():
    structures, labels = make_emt_frames(8, max_atoms=4, random_state=1)
    before = joblib.hash(structures)
    estimator = UsesTheStructures()
    seen = []

    def make_y(one):
        seen.append(one)
        return np.arange(8.0)

    checks = dict(structure_checks(estimator, structures=structures, y=make_y))
    checks["check_fit_returns_self"](estimator)
    assert joblib.hash(structures) == before
    assert seen == [estimator]
    forces = Pretrainer(CGCNN(4, 1), ForceField(), max_epochs=1)
    dict(structure_checks(forces, structures=structures, y=labels))["check_fit_returns_self"](
        forces
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"estimator": CompositionRidge}, TypeError, r"is the class .*CompositionRidge\(\)"),
        ({"on_fail": "stop"}, ValueError, "on_fail='stop'"),
        ({"expected_failed_checks": {"check_fitt": "typo"}}, ValueError, "check_fitt"),
        ({"y": [1.0]}, ValueError, "y was given without structures"),
        ({"structures": ["a", "b"], "y": [1.0]}, ValueError, "y has 1 rows; there are 2"),
    ],
)
def test_bad_arguments(arguments, error, message):
    estimator = arguments.pop("estimator", CompositionRidge())
    with pytest.raises(error, match=message):
        check_structure_estimator(estimator, **arguments)


def test_labels_that_cannot_be_guessed_are_asked_for():
    structures, _ = make_emt_frames(4, max_atoms=4, random_state=1)
    estimator = Pretrainer(CGCNN(4, 1), ForceField())
    checks = dict(structure_checks(estimator, structures=structures))
    with pytest.raises(ValueError, match="neither regressor nor classifier: pass y"):
        checks["check_fit_returns_self"](estimator)


def test_pytest_is_not_needed():
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "from gnnpre import StructureToGraph\n"
        "from gnnpre.testing import structure_checks\n"
        "estimator = StructureToGraph(cutoff=3.0)\n"
        "dict(structure_checks(estimator))['check_containers'](estimator)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
