"""What scikit-learn asks of an estimator, on structures in place of tables.

Its own checks where they need no array, twins of the others, and its tools on top: pipelines,
searches, cross-validation, metadata routing.
"""

import copy
import pickle
import re
from types import SimpleNamespace

import joblib
import numpy as np
import optuna
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone, is_regressor
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import BaggingRegressor, StackingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    train_test_split,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import estimator_checks, get_tags

from cases import BACKBONES, OBJECTIVES, make_labels
from gnnpre import CGCNN, ForceField, Pretrainer, PropertyRegressor, StructureToGraph
from gnnpre.datasets import make_emt_frames

# Folds this small leave elements out of the training.
pytestmark = pytest.mark.filterwarnings("ignore:X holds elements:UserWarning")

SMALL = {"max_epochs": 2, "batch_size": 8, "random_state": 0}
ESTIMATORS = {
    "Pretrainer": Pretrainer(CGCNN(8, 1), ForceField(), **SMALL),
    "PropertyRegressor": PropertyRegressor(CGCNN(8, 1), **SMALL),
    "StructureToGraph": StructureToGraph(cutoff=4.0),
}
TRAINED = [name for name in ESTIMATORS if name != "StructureToGraph"]
ARRAY_FREE_CHECKS = [
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
]


@pytest.fixture(scope="module")
def data():
    """Structures of equal size, which NumPy would make a table of, with labels and a property."""
    structures, labels = make_emt_frames(60, max_atoms=4, random_state=0)
    chosen = [index for index, structure in enumerate(structures) if len(structure) == 4][:20]
    structures, labels = [structures[index] for index in chosen], labels[chosen]
    assert len(structures) == 20
    y = np.array([structure.volume for structure in structures])
    graphs = StructureToGraph(cutoff=4.0).transform(structures)
    groups = np.repeat(np.arange(10), 2)
    return SimpleNamespace(structures=structures, graphs=graphs, labels=labels, y=y, groups=groups)


@pytest.fixture(params=ESTIMATORS)
def estimator(request):
    return clone(ESTIMATORS[request.param])


@pytest.fixture(params=TRAINED)
def trained(request):
    """An estimator, not fitted, that trains a network."""
    return clone(ESTIMATORS[request.param])


@pytest.fixture
def pipeline():
    return make_pipeline(StructureToGraph(cutoff=4.0), clone(ESTIMATORS["PropertyRegressor"]))


def target(estimator, data):
    return data.labels if isinstance(estimator, Pretrainer) else data.y


def fit(estimator, data, n=None):
    """Fit to structures, with the y that the estimator takes."""
    return estimator.fit(data.structures[:n], target(estimator, data)[:n])


def state(estimator):
    """Weights, as bytes that can be compared."""
    weights = estimator.net_.module_.state_dict()
    return {name: value.numpy().tobytes() for name, value in weights.items()}


def output(estimator, data):
    """Everything that an estimator gives, as arrays."""
    if isinstance(estimator, StructureToGraph):
        graphs = estimator.transform(data.structures)
        return [graphs.edge_index.numpy(), graphs.edge_shift.numpy(), graphs.positions.numpy()]
    predicted = estimator.predict(data.structures)
    if isinstance(estimator, PropertyRegressor):
        return [predicted]
    embedding = estimator.transform(data.structures)
    return [predicted.energy, predicted.forces, predicted.stress, embedding]


def assert_same_output(one, two, data):
    for left, right in zip(output(one, data), output(two, data), strict=True):
        np.testing.assert_array_equal(left, right)


# scikit-learn's own checks


@pytest.mark.parametrize("check", ARRAY_FREE_CHECKS)
def test_check_of_scikit_learn(estimator, check):
    if check == "check_parameters_default_constructible":
        estimator = type(estimator)()
    getattr(estimator_checks, check)(type(estimator).__name__, estimator)


def test_feature_names_before_fit():
    estimator_checks.check_get_feature_names_out_error("Pretrainer", Pretrainer())


def test_tags(estimator):
    tags = get_tags(estimator)
    assert not tags.input_tags.two_d_array
    assert is_regressor(estimator) == isinstance(estimator, PropertyRegressor)
    assert tags.target_tags.required == (not isinstance(estimator, StructureToGraph))
    assert tags.requires_fit == (not isinstance(estimator, StructureToGraph))
    assert not tags.non_deterministic


# Twins of those that take arrays


def test_fit_returns_self(estimator, data):
    assert fit(estimator, data) is estimator


def test_fit_changes_no_parameter(estimator, data):
    before, identities = joblib.hash(estimator.get_params()), params_by_identity(estimator)
    output(fit(estimator, data), data)
    assert joblib.hash(estimator.get_params()) == before
    assert params_by_identity(estimator) == identities


def params_by_identity(estimator):
    return {name: id(value) for name, value in estimator.get_params(deep=False).items()}


def test_fitted_attributes_end_in_an_underscore(trained, data):
    before = set(vars(trained))
    added = set(vars(fit(trained, data))) - before
    assert added
    assert all(name.endswith("_") and not name.startswith("_") for name in added)


def test_predicting_changes_no_attribute(trained, data):
    keys = set(vars(fit(trained, data)))
    weights = state(trained)
    output(trained, data)
    trained.score(data.structures, target(trained, data))
    assert set(vars(trained)) == keys
    assert state(trained) == weights


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_pickle_and_deepcopy(estimator, data, duplicate):
    unfitted = duplicate(estimator)
    assert repr(unfitted.get_params()) == repr(estimator.get_params())
    fit(estimator, data)
    assert_same_output(duplicate(estimator), estimator, data)
    assert_same_output(fit(unfitted, data), estimator, data)


def test_same_seed_same_result(trained, data):
    first, same = (fit(clone(trained), data) for _ in range(2))
    other = fit(clone(trained).set_params(random_state=1), data)
    assert state(first) == state(same)
    assert losses(first) == losses(same)
    assert state(first) != state(other)


def losses(estimator):
    return [{key: row[key] for key in row if key != "dur"} for row in estimator.history_]


def test_the_state_of_a_random_state_instance_decides(trained, data):
    def fit_with(generator):
        return state(fit(clone(trained).set_params(random_state=generator), data))

    assert fit_with(np.random.RandomState(5)) == fit_with(np.random.RandomState(5))
    assert fit_with(np.random.RandomState(5)) != fit_with(np.random.RandomState(6))


def test_random_state_none_differs_from_fit_to_fit(trained, data):
    trained.set_params(random_state=None)
    assert state(fit(trained, data)) != state(fit(clone(trained), data))


def test_global_seeds_do_not_matter(trained, data):
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        results.append(state(fit(clone(trained), data)))
    assert results[0] == results[1]


def test_a_refit_equals_a_fit(trained, data):
    fresh = fit(clone(trained), data)
    fit(trained, data, n=12)
    assert state(fit(trained, data)) == state(fresh)
    assert state(fit(trained, data)) == state(fresh)
    assert losses(trained) == losses(fresh)


@pytest.mark.parametrize("random_state", [0, None])
def test_global_random_states_stay_as_they_were(trained, data, random_state):
    before = global_states()
    fit(trained.set_params(random_state=random_state), data)
    output(trained, data)
    trained.score(data.structures, target(trained, data))
    assert global_states() == before


def global_states():
    legacy = np.random.get_state()  # noqa: NPY002  (the global state is what is meant)
    return torch.get_rng_state().numpy().tobytes(), legacy[1].tobytes(), legacy[2:]


def test_input_stays_as_it_was(estimator, data):
    labels = target(estimator, data)
    inputs = (data.structures, data.graphs, labels, data.groups)
    before = [joblib.hash(value) for value in inputs]
    fit(estimator, data)
    output(estimator, data)
    if not isinstance(estimator, StructureToGraph):
        weight = np.linspace(1, 2, 20)
        estimator.fit(data.graphs, labels, groups=data.groups, sample_weight=weight)
        estimator.score(data.graphs, labels, sample_weight=weight)
        np.testing.assert_array_equal(weight, np.linspace(1, 2, 20))
    assert [joblib.hash(value) for value in inputs] == before


def test_read_only_input(trained, data, tmp_path):
    """joblib hands workers memory maps that they may not write to."""
    path = tmp_path / "data.joblib"
    joblib.dump((data.graphs, target(trained, data)), path)
    X, y = joblib.load(path, mmap_mode="r")
    if isinstance(y, np.ndarray):
        assert not y.flags.writeable
    mapped = clone(trained).fit(X, y)
    assert state(mapped) == state(trained.fit(data.graphs, target(trained, data)))


def test_a_clone_is_unfitted(trained, data, tmp_path):
    again = clone(fit(trained, data))
    assert not hasattr(again, "net_")
    assert not hasattr(again, "history_")
    for call in (
        lambda: again.predict(data.structures),
        lambda: again.score(data.structures, target(again, data)),
        lambda: again.save(tmp_path / "model.gnnpre"),
        lambda: again.transform(data.structures) if hasattr(again, "transform") else again._model(),
    ):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            call()
    assert not (tmp_path / "model.gnnpre").exists()
    # The clone's weights are its own.
    before = state(trained)
    fit(again.set_params(learning_rate=0.1), data)
    assert state(trained) == before


def test_order_and_subset_do_not_matter(trained, data):
    fit(trained, data)
    whole = output(trained, data)[0]
    order = np.random.default_rng(0).permutation(20)
    shuffled = SimpleNamespace(structures=[data.structures[index] for index in order])
    np.testing.assert_allclose(output(trained, shuffled)[0], whole[order], rtol=1e-5)
    part = SimpleNamespace(structures=data.structures[3:7])
    np.testing.assert_allclose(output(trained, part)[0], whole[3:7], rtol=1e-5)


def test_y_is_the_second_argument(trained, data):
    assert np.isfinite(fit(trained, data).score(data.structures, target(trained, data)))


def test_html_representation(estimator, data):
    for model in (estimator, fit(estimator, data), make_pipeline(StructureToGraph(), estimator)):
        html = model._repr_html_()
        assert type(estimator).__name__ in html
        assert "backbone" in html or isinstance(estimator, StructureToGraph)


def test_repr_shows_what_is_not_default():
    model = PropertyRegressor(CGCNN(32), learning_rate=0.1)
    assert re.sub(r"\s+", " ", repr(model)) == (
        "PropertyRegressor(backbone=CGCNN(hidden_channels=32), learning_rate=0.1)"
    )


# Every backbone and objective


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_backbones_and_objectives_keep_the_contract(data, tmp_path, backbone, objective):
    y = make_labels(OBJECTIVES[objective], data.graphs)
    model = Pretrainer(BACKBONES[backbone], OBJECTIVES[objective], **SMALL)
    model.set_params(max_epochs=1).fit(data.graphs, y)
    scores = [model.score(data.graphs, y)]
    scores.append(clone(model).fit(data.graphs, y).score(data.graphs, y))
    scores.append(pickle.loads(pickle.dumps(model)).score(data.graphs, y))
    model.save(tmp_path / "model.gnnpre")
    scores.append(Pretrainer.load(tmp_path / "model.gnnpre").score(data.graphs, y))
    assert np.isfinite(scores[0])
    assert len(set(scores)) == 1
    assert not hasattr(BACKBONES[backbone], "net_")


# scikit-learn's tools


@pytest.mark.parametrize("make", [list, tuple, pd.Series])
def test_pipeline_on_containers(pipeline, data, make):
    X = make(data.structures)
    model = clone(pipeline).fit(X, data.y)
    expected = clone(pipeline).fit(data.structures, data.y).predict(data.structures)
    np.testing.assert_array_equal(model.predict(X), expected)
    assert model.score(X, data.y) == pytest.approx(model[-1].score(data.graphs, data.y), rel=1e-12)


def test_train_test_split(pipeline, data):
    for X in (data.structures, data.graphs):
        train, test, y_train, y_test = train_test_split(X, data.y, random_state=0)
        assert (len(train), len(test)) == (len(y_train), len(y_test)) == (15, 5)
    train, test, y_train, y_test = train_test_split(data.graphs, data.labels, random_state=0)
    model = clone(ESTIMATORS["Pretrainer"]).fit(train, y_train)
    assert np.isfinite(model.score(test, y_test))


def test_cross_val_score_and_predict(pipeline, data):
    folds = KFold(4, shuffle=True, random_state=0)
    scores = cross_val_score(pipeline, data.structures, data.y, cv=folds)
    predicted = cross_val_predict(pipeline, data.structures, data.y, cv=folds)
    for score, (train, test) in zip(scores, folds.split(data.y), strict=True):
        model = clone(pipeline[-1]).fit(data.graphs[train], data.y[train])
        assert model.score(data.graphs[test], data.y[test]) == score
        np.testing.assert_array_equal(model.predict(data.graphs[test]), predicted[test])


def test_one_and_two_jobs_give_the_same_bits(pipeline, data):
    assert torch.get_num_threads() == 1
    arguments = {"cv": 3, "scoring": "neg_mean_absolute_error"}
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        one, two = (
            cross_val_score(pipeline, data.structures, data.y, n_jobs=n_jobs, **arguments)
            for n_jobs in (1, 2)
        )
        forces = [
            cross_val_score(ESTIMATORS["Pretrainer"], data.graphs, data.labels, cv=2, n_jobs=n_jobs)
            for n_jobs in (1, 2)
        ]
    assert one.tolist() == two.tolist()
    assert forces[0].tolist() == forces[1].tolist()


def test_grid_search_over_backbone_and_cutoff(pipeline, data):
    grid = {
        "propertyregressor__backbone__hidden_channels": [4, 8],
        "structuretograph__cutoff": [3.5, 4.0],
    }
    search = GridSearchCV(pipeline, grid, cv=2, scoring="neg_mean_absolute_error")
    search.fit(data.structures, data.y)
    best = search.best_params_
    graphs, regressor = search.best_estimator_
    assert regressor.spec_.cutoff == graphs.cutoff == best["structuretograph__cutoff"]
    channels = best["propertyregressor__backbone__hidden_channels"]
    assert regressor.net_.module_.backbone.out_channels == channels
    assert len(set(search.cv_results_["mean_test_score"])) == 4  # each setting made a difference
    assert search.predict(data.structures).shape == (20,)


def test_grid_search_over_whole_backbones(pipeline, data):
    backbones = [CGCNN(4, 1), CGCNN(4, 1, batch_norm=True)]
    search = GridSearchCV(pipeline, {"propertyregressor__backbone": backbones}, cv=2)
    search.fit(data.structures, data.y)
    assert search.best_params_["propertyregressor__backbone"] in backbones


def test_groups_of_a_cross_validation(pipeline, data):
    folds = GroupKFold(5)
    scores = cross_val_score(pipeline, data.structures, data.y, groups=data.groups, cv=folds)
    splits = folds.split(data.y, groups=data.groups)
    for score, (train, test) in zip(scores, splits, strict=True):
        model = clone(pipeline[-1]).fit(data.graphs[train], data.y[train])
        assert score == model.score(data.graphs[test], data.y[test])


def test_pretrainer_in_a_cross_validation_with_frame_labels(data):
    model = make_pipeline(StructureToGraph(cutoff=4.0), ESTIMATORS["Pretrainer"])
    scores = cross_val_score(model, data.structures, data.labels, cv=KFold(4))
    for score, (train, test) in zip(scores, KFold(4).split(data.y), strict=True):
        alone = clone(model[-1]).fit(data.graphs[train], data.labels[train])
        assert score == alone.score(data.graphs[test], data.labels[test])
    search = GridSearchCV(model, {"pretrainer__objective__forces": [0.0, 1.0]}, cv=2)
    search.fit(data.structures, data.labels)
    assert search.best_params_["pretrainer__objective__forces"] == 0.0  # a shorter sum


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
def spying(request, monkeypatch, data):
    """A pipeline whose last step notes its metadata, its y, and metadata to route."""
    monkeypatch.setattr(Spy, "calls", ())
    kind = request.param
    objective = {} if kind is Spy else {"objective": ForceField()}
    step = kind(CGCNN(8, 1), **objective, **SMALL, validation_fraction=0.3)
    model = make_pipeline(StructureToGraph(cutoff=4.0), step)
    params = {"groups": data.groups, "sample_weight": np.linspace(1.0, 2.0, 20)}
    return SimpleNamespace(model=model, y=target(step, data), params=params)


def assert_calls_got(params, parts):
    assert len(Spy.calls) == len(parts)
    for (groups, weight), part in zip(Spy.calls, parts, strict=True):
        np.testing.assert_array_equal(groups, params["groups"][part])
        np.testing.assert_array_equal(weight, params["sample_weight"][part])


def test_metadata_reaches_fit_through_a_pipeline(spying, data):
    with config_context(enable_metadata_routing=True):
        clone(spying.model).fit(data.structures, spying.y, **spying.params)
    assert_calls_got(spying.params, [slice(None)])


def test_metadata_reaches_fit_through_a_cross_validation(spying, data):
    folds = GroupKFold(2)
    with config_context(enable_metadata_routing=True):
        result = cross_validate(
            spying.model, data.structures, spying.y, cv=folds, params=spying.params
        )
    assert np.isfinite(result["test_score"]).all()
    splits = folds.split(data.y, groups=data.groups)
    assert_calls_got(spying.params, [train for train, _ in splits])


def test_metadata_reaches_fit_through_a_search(spying, data):
    name = spying.model.steps[-1][0]
    search = GridSearchCV(spying.model, {f"{name}__max_epochs": [1]}, cv=GroupKFold(2))
    with config_context(enable_metadata_routing=True):
        search.fit(data.structures, spying.y, **spying.params)
    trains = [train for train, _ in GroupKFold(2).split(data.y, groups=data.groups)]
    assert_calls_got(spying.params, [*trains, slice(None)])


def test_sample_weight_reaches_score_with_routing(data):
    model = PropertyRegressor(CGCNN(8, 1), **SMALL)
    weight = np.linspace(0.1, 5.0, 20)
    params = {"sample_weight": weight}
    with config_context(enable_metadata_routing=True):
        result = cross_validate(model, data.graphs, data.y, cv=KFold(2), params=params)
    for score, (train, test) in zip(result["test_score"], KFold(2).split(data.y), strict=True):
        alone = clone(model).fit(data.graphs[train], data.y[train], sample_weight=weight[train])
        expected = alone.score(data.graphs[test], data.y[test], sample_weight=weight[test])
        assert score == expected


def test_metadata_requests_can_be_turned_off(data):
    with config_context(enable_metadata_routing=True):
        for estimator in (PropertyRegressor(), Pretrainer()):
            requests = estimator.get_metadata_routing().fit.requests
            assert requests == {"groups": True, "sample_weight": True}
            assert estimator.get_metadata_routing().score.requests == {"sample_weight": True}
            estimator.set_fit_request(sample_weight=False)
            assert estimator.get_metadata_routing().fit.requests["sample_weight"] is False


def test_transformed_target(pipeline, data):
    model = TransformedTargetRegressor(pipeline, func=np.log, inverse_func=np.exp)
    predicted = clone(model).fit(data.structures, data.y).predict(data.structures)
    by_hand = clone(pipeline).fit(data.structures, np.log(data.y)).predict(data.structures)
    np.testing.assert_allclose(predicted, np.exp(by_hand), rtol=1e-12)
    assert np.isfinite(cross_val_score(model, data.structures, data.y, cv=2)).all()


def test_learning_curve(pipeline, data):
    pipeline.set_params(propertyregressor__validation_fraction=0)
    sizes, train, test = learning_curve(
        pipeline, data.structures, data.y, train_sizes=[6, 10], cv=2, scoring="r2"
    )
    assert sizes.tolist() == [6, 10]
    assert np.isfinite(train).all()
    assert test.shape == (2, 2)


def test_stacking(pipeline, data):
    other = clone(pipeline).set_params(propertyregressor__random_state=1)
    model = StackingRegressor([("a", pipeline), ("b", other)], RidgeCV(), cv=2)
    assert model.fit(data.structures, data.y).predict(data.structures).shape == (20,)


def test_bagging_on_a_column_of_structures(pipeline, data):
    X = np.empty((20, 1), dtype=object)
    X[:, 0] = data.structures
    model = BaggingRegressor(pipeline, n_estimators=2, random_state=0)
    assert model.fit(X, data.y).predict(X).shape == (20,)


def test_optuna_around_a_cross_validation(pipeline, data):
    def objective(trial):
        channels = trial.suggest_categorical("channels", [4, 8])
        rate = trial.suggest_float("rate", 1e-4, 1e-2, log=True)
        model = clone(pipeline).set_params(
            propertyregressor__backbone__hidden_channels=channels,
            propertyregressor__learning_rate=rate,
        )
        return cross_val_score(model, data.structures, data.y, cv=2).mean()

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(0))
    study.optimize(objective, n_trials=2)
    values = [trial.value for trial in study.trials]
    assert np.isfinite(values).all()
    assert values[0] != values[1]


def test_a_fitted_pipeline_is_pickled(pipeline, data):
    model = pipeline.fit(data.structures, data.y)
    again = pickle.loads(pickle.dumps(model))
    assert isinstance(again, Pipeline)
    np.testing.assert_array_equal(again.predict(data.structures), model.predict(data.structures))
