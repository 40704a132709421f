"""Each check of the suite finds an estimator that breaks its rule."""

import numpy as np
import pytest
import torch
from sklearn.utils.validation import check_is_fitted

from gnnpre import StructureToGraph
from gnnpre.testing import structure_checks
from testing.own_estimators import (
    Composition,
    CompositionRidge,
    LeavesAnAttribute,
    ReturnsNothing,
    UsesTheStructures,
)


class ChangesItsParameter(CompositionRidge):
    def fit(self, X, y, sample_weight=None):
        self.alpha = self.alpha * 1.0 + 1.0
        return super().fit(X, y, sample_weight)


class ComputesInInit(CompositionRidge):
    def __init__(self, alpha=1.0):
        self.alpha = alpha
        self.double = 2 * alpha


class CountsPredictions(CompositionRidge):
    def predict(self, X):
        self.count_ = getattr(self, "count_", 0) + 1
        return super().predict(X)


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
