"""Groups and weights reach the fit of an estimator through pipelines, searches and folds."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline

from gnnpre import CGCNN, ForceField, Pretrainer, PropertyRegressor, StructureToGraph
from meta_estimators.settings import SMALL, N

# Folds this small leave elements out of the training.
pytestmark = [
    pytest.mark.filterwarnings("ignore:X holds elements:UserWarning"),
    pytest.mark.filterwarnings("ignore:. crystals are too few to hold out:UserWarning"),
]


# Metadata routing


class Spy(PropertyRegressor):
    """Notes the metadata that fit gets."""

    calls = ()

    def fit(self, X, y, groups=None, sample_weight=None):
        Spy.calls = (*Spy.calls, (groups, sample_weight))
        return super().fit(X, y, groups=groups, sample_weight=sample_weight)


class SpyPretrainer(Pretrainer):
    """Notes the metadata that fit gets."""

    def fit(self, X, y=None, groups=None, sample_weight=None):
        Spy.calls = (*Spy.calls, (groups, sample_weight))
        return super().fit(X, y, groups=groups, sample_weight=sample_weight)


@pytest.fixture(params=[Spy, SpyPretrainer])
def spying(request, monkeypatch, data, frames):
    """A pipeline whose last step notes its metadata, and what to fit it to."""
    monkeypatch.setattr(Spy, "calls", ())
    kind = request.param
    objective = {} if kind is Spy else {"objective": ForceField()}
    step = kind(CGCNN(8, 1), **objective, **SMALL, validation_fraction=0.3)
    model = make_pipeline(StructureToGraph(cutoff=4.0), step)
    used = data if kind is Spy else frames
    params = {"groups": used.groups, "sample_weight": np.linspace(1.0, 2.0, len(used.groups))}
    return SimpleNamespace(model=model, X=used.structures, y=used.y, params=params)


def assert_calls_got(params, parts):
    assert len(Spy.calls) == len(parts)
    for (groups, weight), part in zip(Spy.calls, parts, strict=True):
        np.testing.assert_array_equal(groups, params["groups"][part])
        np.testing.assert_array_equal(weight, params["sample_weight"][part])


def trains(folds, params):
    return [train for train, _ in folds.split(params["groups"], groups=params["groups"])]


def test_metadata_reaches_fit_through_a_pipeline(spying):
    with config_context(enable_metadata_routing=True):
        clone(spying.model).fit(spying.X, spying.y, **spying.params)
    assert_calls_got(spying.params, [slice(None)])


def test_metadata_reaches_fit_by_the_name_of_a_step_without_routing(spying):
    name = spying.model.steps[-1][0]
    params = {f"{name}__{key}": value for key, value in spying.params.items()}
    with config_context(enable_metadata_routing=False):
        clone(spying.model).fit(spying.X, spying.y, **params)
        with pytest.raises(ValueError, match=r"does not accept the (groups|sample_weight) param"):
            clone(spying.model).fit(spying.X, spying.y, **spying.params)
    assert_calls_got(spying.params, [slice(None)])


def test_metadata_reaches_fit_through_a_cross_validation(spying):
    folds = GroupKFold(2)
    with config_context(enable_metadata_routing=True):
        result = cross_validate(spying.model, spying.X, spying.y, cv=folds, params=spying.params)
    assert np.isfinite(result["test_score"]).all()
    assert_calls_got(spying.params, trains(folds, spying.params))


def test_metadata_reaches_fit_through_a_search(spying):
    name = spying.model.steps[-1][0]
    search = GridSearchCV(spying.model, {f"{name}__max_epochs": [1]}, cv=GroupKFold(2))
    with config_context(enable_metadata_routing=True):
        search.fit(spying.X, spying.y, **spying.params)
    assert_calls_got(spying.params, [*trains(GroupKFold(2), spying.params), slice(None)])


def test_groups_of_a_cross_validation_without_routing(pipeline, data):
    folds = GroupKFold(3)
    scores = cross_val_score(pipeline, data.structures, data.y, groups=data.groups, cv=folds)
    splits = folds.split(data.y, groups=data.groups)
    for score, (train, test) in zip(scores, splits, strict=True):
        model = clone(pipeline[-1]).fit(data.graphs[train], data.y[train])
        assert score == model.score(data.graphs[test], data.y[test])


def test_sample_weight_reaches_score_with_routing(data):
    model = PropertyRegressor(CGCNN(8, 1), **SMALL)
    weight = np.linspace(0.1, 5.0, N)
    params = {"sample_weight": weight}
    with config_context(enable_metadata_routing=True):
        result = cross_validate(model, data.graphs, data.y, cv=KFold(2), params=params)
    for score, (train, test) in zip(result["test_score"], KFold(2).split(data.y), strict=True):
        alone = clone(model).fit(data.graphs[train], data.y[train], sample_weight=weight[train])
        expected = alone.score(data.graphs[test], data.y[test], sample_weight=weight[test])
        assert score == expected


def test_metadata_requests_can_be_turned_off():
    with config_context(enable_metadata_routing=True):
        for estimator in (PropertyRegressor(), Pretrainer()):
            requests = estimator.get_metadata_routing().fit.requests
            assert requests == {"groups": True, "sample_weight": True}
            assert estimator.get_metadata_routing().score.requests == {"sample_weight": True}
            estimator.set_fit_request(sample_weight=False)
            assert estimator.get_metadata_routing().fit.requests["sample_weight"] is False
