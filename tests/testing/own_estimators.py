"""A regressor and a transformer of crystals that keep all rules."""

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin
from sklearn.linear_model import Ridge
from sklearn.utils.validation import check_is_fitted

from gnnpre import StructureToGraph


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


# Ways to break the contract


class ReturnsNothing(CompositionRidge):
    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)


class LeavesAnAttribute(CompositionRidge):
    def fit(self, X, y, sample_weight=None):
        self.ridge = None
        return super().fit(X, y, sample_weight)


class UsesTheStructures(CompositionRidge):
    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        _ = [structure.volume for structure in np.asarray(X, dtype=object).ravel()]
        self.density_ = [structure.cart_coords for structure in X[:1]]
        return self
