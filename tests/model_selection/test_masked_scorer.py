"""Scorers that leave missing values out."""

import pickle

import numpy as np
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.dummy import DummyRegressor
from sklearn.metrics import (
    get_scorer,
    make_scorer,
    mean_absolute_error,
    mean_pinball_loss,
    r2_score,
)
from sklearn.model_selection import cross_val_score

from gnnpre import CGCNN, PropertyRegressor
from gnnpre.datasets import make_emt_property
from gnnpre.model_selection import PruningSearchCV, masked_scorer


class Oracle(RegressorMixin, BaseEstimator):
    """Predicts what it is told."""

    def __init__(self, predictions):
        self.predictions = predictions

    def fit(self, X, y=None):
        return self

    def predict(self, X):
        return self.predictions


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    true, predicted = rng.normal(size=(30, 2)), rng.normal(size=(30, 2))
    true[::3, 0] = np.nan
    true[5, 1] = np.nan
    return true, predicted


@pytest.mark.parametrize(("metric", "sign"), [(mean_absolute_error, -1), (r2_score, 1)])
def test_mean_over_properties_of_what_is_known(pair, metric, sign):
    true, predicted = pair
    scorer = masked_scorer(metric, greater_is_better=sign > 0)
    columns = []
    for t, p in zip(true.T, predicted.T, strict=True):
        known = ~np.isnan(t)
        columns.append(metric(t[known], p[known]))
    expected = sign * np.mean(columns)
    assert scorer(Oracle(predicted), np.zeros(30), true) == pytest.approx(expected)


def test_weights(pair):
    true, predicted = pair
    weights = np.linspace(0.1, 2.0, 30)
    scorer = masked_scorer(mean_absolute_error, greater_is_better=False)
    found = scorer(Oracle(predicted), np.zeros(30), true, sample_weight=weights)
    columns = []
    for t, p in zip(true.T, predicted.T, strict=True):
        known = ~np.isnan(t)
        columns.append(np.average(np.abs(t - p)[known], weights=weights[known]))
    assert found == pytest.approx(-np.mean(columns))


def test_one_property_and_shapes(pair):
    true, predicted = pair
    scorer = masked_scorer(mean_absolute_error)
    known = ~np.isnan(true[:, 0])
    expected = np.abs(true - predicted)[known, 0].mean()
    found = scorer(Oracle(predicted[:, 0]), np.zeros(30), true[:, 0])
    assert found == pytest.approx(expected)
    with pytest.raises(ValueError, match="y has shape"):
        scorer(Oracle(predicted[:, 0]), np.zeros(30), true)


def test_a_property_that_nobody_knows():
    scorer = masked_scorer(mean_absolute_error)
    true = np.array([[1.0, np.nan], [2.0, np.nan]])
    with pytest.raises(ValueError, match=r"Property 1 is missing .* all 2 crystals"):
        scorer(Oracle(np.zeros((2, 2))), np.zeros(2), true)


def test_pickle(pair):
    true, predicted = pair
    scorer = masked_scorer(mean_absolute_error)
    copy = pickle.loads(pickle.dumps(scorer))
    arguments = Oracle(predicted), np.zeros(30), true
    assert copy(*arguments) == scorer(*arguments)


def test_in_cross_validation():
    structures, y = make_emt_property(24, random_state=0)
    both = np.stack([y, -y], axis=1)
    both[::4, 1] = np.nan
    model = PropertyRegressor(CGCNN(8, 1), max_epochs=1, random_state=0)
    scorer = masked_scorer(mean_absolute_error, greater_is_better=False)
    scores = cross_val_score(model, structures, both, cv=2, scoring=scorer, error_score="raise")
    assert (scores < 0).all()


@pytest.mark.parametrize(
    ("name", "metric", "sign"),
    [("neg_mean_absolute_error", mean_absolute_error, -1.0), ("r2", r2_score, 1.0)],
)
def test_names_and_scorers_are_those_of_scikit_learn(name, metric, sign):
    y = np.array([[1.0, np.nan], [3.0, 4.0], [np.nan, 6.0], [2.0, 5.0]])
    model = DummyRegressor(strategy="constant", constant=[1.0, 2.0])
    model.fit(np.zeros((4, 1)), np.zeros((4, 2)))
    present = np.isfinite(y)
    expected = sign * np.mean(
        [metric(y[rows, k], np.full(rows.sum(), k + 1.0)) for k, rows in enumerate(present.T)]
    )
    for argument in (name, get_scorer(name)):
        score = masked_scorer(argument)(model, np.zeros((4, 1)), y)
        assert score == pytest.approx(expected)


def test_parameters_of_a_scorer_stay():
    y, X = np.array([1.0, np.nan, 3.0]), np.zeros((3, 1))
    model = DummyRegressor(strategy="constant", constant=2.0).fit(X, np.zeros(3))
    scorer = masked_scorer(make_scorer(mean_pinball_loss, alpha=0.9, greater_is_better=False))
    expected = -mean_pinball_loss([1.0, 3.0], [2.0, 2.0], alpha=0.9)
    assert scorer(model, X, y) == pytest.approx(expected)


def test_missing_values_of_pandas_are_left_out():
    y, X = pd.Series([1.0, pd.NA, 3.0], dtype="Float64"), np.zeros((3, 1))
    model = DummyRegressor(strategy="constant", constant=2.0).fit(X, np.zeros(3))
    assert masked_scorer("neg_mean_absolute_error")(model, X, y) == -1.0


@pytest.mark.parametrize(
    ("metric", "options", "error", "message"),
    [
        ("mean_absolute_error", {}, ValueError, "not a scorer.*'neg_mean_absolute_error'"),
        ("roc_auc", {}, ValueError, "needs .*predict_proba"),
        ("r2", {"greater_is_better": True}, ValueError, "has a sign already"),
        (3, {}, TypeError, "metric=3; expected the name"),
    ],
)
def test_bad_metrics(metric, options, error, message):
    with pytest.raises(error, match=message):
        masked_scorer(metric, **options)


def test_a_search_with_a_scorer_that_refuses_gaps_names_the_cure():
    X, y = np.zeros((6, 1)), np.array([1.0, 2.0, np.nan, 3.0, 4.0, 5.0])
    search = PruningSearchCV(
        DummyRegressor(), {"strategy": CategoricalDistribution(["mean"])}, scoring="r2", cv=2
    )
    with pytest.raises(ValueError, match=r"y has 1 missing.*masked_scorer"):
        search.fit(X, y)


class PredictsTable(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        return self

    def predict(self, X):
        return pd.DataFrame({"a": np.zeros(len(X)), "b": np.full(len(X), 100.0)})


def test_columns_are_paired_by_their_names():
    y = pd.DataFrame({"b": [101.0, np.nan], "a": [np.nan, 3.0]})
    scorer = masked_scorer("neg_mean_absolute_error")
    assert scorer(PredictsTable(), [0, 1], y) == -2.0
    assert scorer(PredictsTable(), [0, 1], y[["a", "b"]].to_numpy()) == -2.0
    with pytest.raises(ValueError, match=r"y has the columns \['b', 'c'\]; the predictions have"):
        scorer(PredictsTable(), [0, 1], y.rename(columns={"a": "c"}))
