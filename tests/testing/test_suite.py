"""The public suite: an estimator that keeps the contract passes, each way to break it is seen."""

import subprocess
import sys

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin
from sklearn.exceptions import EstimatorCheckFailedWarning
from sklearn.linear_model import Ridge
from sklearn.utils import estimator_checks
from sklearn.utils.validation import check_is_fitted

from gnnpre import CGCNN, ForceField, Pretrainer, StructureToGraph
from gnnpre.datasets import make_emt_frames
from gnnpre.testing import (
    check_structure_estimator,
    parametrize_with_structure_checks,
    scikit_learn_checks,
    structure_checks,
)
from gnnpre.testing._registry import STRUCTURE_CHECKS
from gnnpre.testing._scikit_learn import ARRAY_FREE, LEFT_OUT


def fractions(X):
    """Fractions of elements, as a table."""
    graphs = StructureToGraph(cutoff=0.1).transform(X)
    table = np.zeros((len(graphs), 119))
    crystal = np.repeat(np.arange(len(graphs)), graphs.atom_counts)
    np.add.at(table, (crystal, graphs.atomic_numbers.numpy()), 1.0)
    return table / graphs.atom_counts[:, None]


class CompositionRidge(RegressorMixin, BaseEstimator):
    """An estimator of one's own, of thirty lines, that keeps the contract."""

    def __init__(self, alpha=1.0):
        self.alpha = alpha

    def fit(self, X, y, sample_weight=None):
        if sample_weight is not None and not np.any(sample_weight):
            raise ValueError("sample_weight is all zero.")
        self.ridge_ = Ridge(self.alpha).fit(fractions(X), y, sample_weight)
        return self

    def predict(self, X):
        check_is_fitted(self)
        return self.ridge_.predict(fractions(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.target_tags.multi_output = True
        return tags


class Composition(TransformerMixin, BaseEstimator):
    """A transformer of one's own."""

    def fit(self, X, y=None):
        self.elements_ = np.flatnonzero(fractions(X).any(axis=0))
        return self

    def transform(self, X):
        check_is_fitted(self)
        return fractions(X)[:, self.elements_]

    def get_feature_names_out(self, input_features=None):
        check_is_fitted(self)
        return np.array([f"Z{number}" for number in self.elements_], dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


@parametrize_with_structure_checks([CompositionRidge(), Composition()])
def test_own_estimators(estimator, check):
    check(estimator)


# Ways to break the contract


class ReturnsNothing(CompositionRidge):
    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)


class ChangesItsParameter(CompositionRidge):
    def fit(self, X, y, sample_weight=None):
        self.alpha = self.alpha * 1.0 + 1.0
        return super().fit(X, y, sample_weight)


class LeavesAnAttribute(CompositionRidge):
    def fit(self, X, y, sample_weight=None):
        self.ridge = None
        return super().fit(X, y, sample_weight)


class ComputesInInit(CompositionRidge):
    def __init__(self, alpha=1.0):
        self.alpha = alpha
        self.double = 2 * alpha


class CountsPredictions(CompositionRidge):
    def predict(self, X):
        self.count_ = getattr(self, "count_", 0) + 1
        return super().predict(X)


class UsesTheStructures(CompositionRidge):
    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        _ = [structure.volume for structure in np.asarray(X, dtype=object).ravel()]
        self.density_ = [structure.cart_coords for structure in X[:1]]
        return self


class DrawsGlobally(CompositionRidge):
    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        self.ridge_.intercept_ += np.random.rand()  # noqa: NPY002
        return self


class SeedsTorch(CompositionRidge):
    def predict(self, X):
        torch.manual_seed(0)
        return super().predict(X)


class ContinuesItsFit(CompositionRidge):
    def fit(self, X, y, sample_weight=None):
        before = self.ridge_.intercept_ if hasattr(self, "ridge_") else 0.0
        super().fit(X, y, sample_weight)
        self.ridge_.intercept_ += 0.1 * before
        return self


class PredictsUnfitted(CompositionRidge):
    def predict(self, X):
        return super().predict(X) if hasattr(self, "ridge_") else np.zeros(len(X))


class NeedsALambda(CompositionRidge):
    def fit(self, X, y, sample_weight=None):
        self.function_ = lambda x: x
        return super().fit(X, y, sample_weight)


class TakesListsOnly(CompositionRidge):
    def fit(self, X, y, sample_weight=None):
        if not isinstance(X, list):
            raise TypeError("X is not a list")
        return super().fit(X, y, sample_weight)


class MakesArrays(CompositionRidge):
    def predict(self, X):
        check_is_fitted(self)
        array = np.array([list(structure) for structure in X], dtype=object)
        return super().predict(X) + 0.0 * len(array)


class AveragesOverTheBatch(CompositionRidge):
    def predict(self, X):
        predicted = super().predict(X)
        return predicted - 0.1 * predicted.mean()


class PredictsSorted(CompositionRidge):
    def predict(self, X):
        return np.sort(super().predict(X))


class AcceptsNothing(CompositionRidge):
    def predict(self, X):
        return super().predict(X) if X is not None and len(X) else np.zeros(0)


class IgnoresBadCoordinates(CompositionRidge):
    def predict(self, X):
        try:
            return super().predict(X)
        except ValueError:
            return np.zeros(len(X))


class IgnoresWeights(CompositionRidge):
    def fit(self, X, y, sample_weight=None):
        return super().fit(X, y)


class WeighsTheMeanWrongly(CompositionRidge):
    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        self.ridge_.intercept_ += np.mean(y)
        return self


class NormalisesItsWeights(CompositionRidge):
    def fit(self, X, y, sample_weight=None):
        if sample_weight is not None:
            sample_weight /= np.sum(sample_weight)
        return super().fit(X, y, sample_weight)


class ForgetsTheTag(CompositionRidge):
    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


class FillsMissingY(CompositionRidge):
    def fit(self, X, y, sample_weight=None):
        return super().fit(X, np.nan_to_num(np.asarray(y, dtype=float)), sample_weight)


class AsksForTheShapeOfY(CompositionRidge):
    def fit(self, X, y, sample_weight=None):
        if np.ndim(y) == 0:
            raise ValueError("y is one number.")
        return super().fit(X, y, sample_weight)


class TakesAColumnSilently(CompositionRidge):
    def fit(self, X, y, sample_weight=None):
        return super().fit(X, np.ravel(y), sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = False
        return tags


class NamesTooFew(Composition):
    def get_feature_names_out(self, input_features=None):
        return super().get_feature_names_out()[1:]


class NamesWithoutColumns(Composition):
    def transform(self, X):
        return [row[:, None] for row in super().transform(X)]  # an array for each crystal

    def get_feature_names_out(self, input_features=None):
        return np.array(["fraction"], dtype=object)


class RenamesItsColumn(StructureToGraph):
    def get_feature_names_out(self, input_features=None):
        return np.array(["graph"], dtype=object)


class IgnoresPandas(Composition):
    def set_output(self, *, transform=None):
        return self


class TransformsOtherwise(Composition):
    def fit_transform(self, X, y=None):
        return 2.0 * self.fit(X, y).transform(X)


BROKEN = [
    (ReturnsNothing, "check_fit_returns_self"),
    (ChangesItsParameter, "check_fit_keeps_parameters"),
    (ChangesItsParameter, "check_refit"),
    (LeavesAnAttribute, "check_fitted_attributes_end_in_underscore"),
    (ComputesInInit, "check_no_attributes_set_in_init"),
    (CountsPredictions, "check_methods_keep_attributes"),
    (UsesTheStructures, "check_inputs_untouched"),
    (DrawsGlobally, "check_global_random_state_untouched"),
    (DrawsGlobally, "check_seed_decides"),
    (SeedsTorch, "check_global_random_state_untouched"),
    (ContinuesItsFit, "check_refit"),
    (PredictsUnfitted, "check_not_fitted_error"),
    (PredictsUnfitted, "check_clone_is_unfitted"),
    (NeedsALambda, "check_copies"),
    (TakesListsOnly, "check_containers"),
    (MakesArrays, "check_bare_structure_refused"),
    (AveragesOverTheBatch, "check_subsets_do_not_matter"),
    (PredictsSorted, "check_order_does_not_matter"),
    (AcceptsNothing, "check_empty_X_refused"),
    (AcceptsNothing, "check_non_structures_refused"),
    (IgnoresBadCoordinates, "check_bad_coordinates_refused"),
    (IgnoresBadCoordinates, "check_tables_refused"),
    (IgnoresWeights, "check_weights_matter"),
    (IgnoresWeights, "check_bad_sample_weight_refused"),
    (WeighsTheMeanWrongly, "check_zero_weight_hides_label"),
    (WeighsTheMeanWrongly, "check_zero_weight_is_removal"),
    (NormalisesItsWeights, "check_sample_weight_untouched"),
    (ForgetsTheTag, "check_tags_of_structures"),
    (FillsMissingY, "check_missing_y_refused"),
    (AsksForTheShapeOfY, "check_containers_of_y"),
    (TakesAColumnSilently, "check_column_of_y"),
    (NamesTooFew, "check_feature_names_out"),
    (NamesWithoutColumns, "check_feature_names_out"),
    (RenamesItsColumn, "check_feature_names_out"),
    (IgnoresPandas, "check_set_output"),
    (TransformsOtherwise, "check_fit_transform"),
]


@pytest.mark.parametrize(("kind", "name"), BROKEN)
def test_a_broken_estimator_fails_its_check(kind, name):
    estimator = kind()
    check = dict(structure_checks(estimator))[name]
    with pytest.raises(Exception) as caught:  # noqa: PT011  (each breaks in a way of its own)
        check(estimator)
    assert not isinstance(caught.value, (NameError, ImportError))


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
