"""Searches that prune by epochs and folds, on studies in memory, in files, killed and resumed."""

import copy
import pickle

import joblib
import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.pruners import NopPruner
from optuna.trial import TrialState
from sklearn import config_context
from sklearn.base import clone, is_regressor
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks, get_tags

from gnnpre import CGCNN, EAD, Denoising, Pretrainer, PropertyEnsemble, PropertyRegressor
from gnnpre.model_selection import PruningSearchCV
from gnnpre.model_selection._search._cross_validation import find_callbacks
from gnnpre.model_selection._search._epoch_reports import epoch_values
from gnnpre.training import ReportEpoch
from model_selection.search.search_cases import (
    EPOCHS,
    RATE,
    SPACE,
    PruneFrom,
    make_cases,
    make_pipe,
    make_search,
    make_storage,
)
from model_selection.search.trials import STORAGES, states

# Folds this small leave elements out of the training.
pytestmark = pytest.mark.filterwarnings("ignore:X holds elements:UserWarning")


@pytest.fixture(scope="module")
def data():
    return make_cases()


@pytest.fixture(scope="module")
def found(data):
    """A search that is over; tests only read it."""
    return make_search(n_trials=4, pruner=PruneFrom(2, trial=2)).fit(data.structures, data.y)


def steps(search):
    """Return the steps that the pruner saw of each trial."""
    return [list(epoch_values(trial)) for trial in search.study_.trials]


def folds(search):
    """Return the folds after which each trial reported its score."""
    return [sorted(trial.intermediate_values) for trial in search.study_.trials]


# Pruning


def test_pruned_within_the_first_fold(data):
    search = make_search(pruner=PruneFrom(1, trial=1)).fit(data.structures, data.y)
    assert states(search) == ["COMPLETE", "PRUNED", "PRUNED"]
    assert steps(search) == [list(range(2 * EPOCHS)), [0, 1], [0, 1]]
    # No value in another unit, which a dashboard would rank among the scores.
    assert folds(search) == [[0, 1], [], []]
    assert [trial.values for trial in search.study_.trials[1:]] == [None, None]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_values_of_pruned_trials_are_scores(data, tmp_path, kind):
    storage = None if kind == "memory" else make_storage(kind, tmp_path)
    search = make_search(
        pruner=PruneFrom(EPOCHS, trial=1), scoring="neg_mean_absolute_error", storage=storage
    ).fit(data.structures, 1000.0 + 100.0 * data.y)
    study = search.study_
    assert study.metric_names == ["neg_mean_absolute_error"]
    assert states(search) == ["COMPLETE", "PRUNED", "PRUNED"]
    assert folds(search) == [[0, 1], [0], [0]]
    for row, trial in enumerate(study.trials[1:], start=1):
        assert trial.value == search.cv_results_["split0_test_score"][row] < -1.0


@pytest.mark.parametrize(
    "pruner", [optuna.pruners.MedianPruner(0), optuna.pruners.SuccessiveHalvingPruner(1, 2),
               optuna.pruners.HyperbandPruner(1, 2 * EPOCHS)],
    ids=["median", "halving", "hyperband"],
)  # fmt: skip
def test_pruners_of_optuna_decide_as_on_a_study_that_reports_epochs(data, pruner, tmp_path):
    settings = {"n_trials": 6, "pruner": pruner, "random_state": 1}
    search = make_search(**settings, storage=make_storage("journal", tmp_path), study_name="one")
    search.fit(data.structures, data.y)
    plain = optuna.create_study(
        study_name="one", direction="maximize", pruner=pruner, sampler=optuna.samplers.TPESampler()
    )
    for trial in search.study_.trials:
        twin = plain.ask(fixed_distributions={})
        decisions = []
        for step, value in epoch_values(trial).items():
            twin.report(value, step)
            decisions.append(twin.should_prune())
        expected = [False] * len(decisions)
        expected[-1] = trial.state.name == "PRUNED"
        assert decisions == expected
        state = TrialState.PRUNED if decisions[-1] else TrialState.COMPLETE
        plain.tell(twin, None if decisions[-1] else trial.value, state=state)


def test_pruned_within_the_second_fold(data):
    search = make_search(pruner=PruneFrom(EPOCHS + 1, trial=1)).fit(data.structures, data.y)
    assert steps(search)[1] == list(range(EPOCHS + 2))
    results = search.cv_results_
    assert np.isfinite(results["split0_test_score"]).all()
    assert np.isnan(results["split1_test_score"][1:]).all()
    assert np.isnan(results["mean_test_score"][1:]).all()


def test_what_is_reported_is_the_validation_loss_of_the_fold(data):
    search = make_search(n_trials=1, pruner=NopPruner()).fit(data.structures, data.y)
    reported = epoch_values(search.study_.trials[0])
    for fold, (train, _) in enumerate(KFold(2).split(data.y)):
        model = make_pipe()[-1].set_params(learning_rate=search.best_params_[RATE])
        history = model.fit(data.graphs[train], data.y[train]).history_
        for epoch, row in enumerate(history):
            assert reported[fold * EPOCHS + epoch] == -row["valid_loss"]


def test_by_folds_where_there_are_no_epochs(data):
    ridge = make_pipeline(EAD(L=1, rs=(2.0, 3.0), pooling="mean"), Ridge())
    space = {"ridge__alpha": FloatDistribution(1e-3, 1e3, log=True)}
    search = make_search(ridge, space, cv=4, pruner=PruneFrom(2, trial=1))
    search.fit(data.structures, data.y)
    assert states(search) == ["COMPLETE", "PRUNED", "PRUNED"]
    assert folds(search) == [[0, 1, 2, 3], [0, 1, 2], [0, 1, 2]]
    first = search.study_.trials[0]
    assert first.intermediate_values[3] == pytest.approx(first.value)


def test_by_folds_where_a_network_has_no_validation(data):
    pipe = make_pipe(validation_fraction=0)
    search = make_search(pipe, pruner=PruneFrom(0, trial=1)).fit(data.structures, data.y)
    assert folds(search) == [[0, 1], [0], [0]]
    assert states(search) == ["COMPLETE", "PRUNED", "PRUNED"]


def test_steps_do_not_shift_where_epochs_are_searched(data):
    space = {"propertyregressor__max_epochs": CategoricalDistribution([1, 2])}
    search = make_search(space=space, n_trials=6, pruner=NopPruner())
    search.fit(data.structures, data.y)
    assert {tuple(each) for each in steps(search)} == {(0, 2), (0, 1, 2, 3)}


def test_the_default_pruner_prunes_what_does_badly(data):
    rates = iter([1e-2, 1e-2, 1e-2, 1e-9])

    def space(trial):
        known = trial.params.get("rate")
        rate = trial.suggest_float("rate", *(2 * (known or next(rates),)))
        return {RATE: rate}

    pipe = make_pipe(max_epochs=5)
    search = make_search(pipe, space, n_trials=4).fit(data.structures, data.y)
    assert states(search)[:3] == ["COMPLETE"] * 3
    assert states(search)[3] == "PRUNED"
    assert search.study_.pruner._n_warmup_steps == 1


def test_the_default_pruner_prunes_by_folds_where_a_network_has_no_validation(data):
    rates = iter([1e-2, 1e-2, 1e-2, 1e-9])

    def space(trial):
        rate = trial.params.get("rate") or next(rates)
        return {RATE: trial.suggest_float("rate", rate, rate)}

    # A fifth of ten epochs are two steps, more than the folds have.
    pipe = make_pipe(max_epochs=10, validation_fraction=0)
    search = make_search(pipe, space, n_trials=4).fit(data.structures, data.y)
    assert states(search) == ["COMPLETE"] * 3 + ["PRUNED"]
    assert folds(search)[3] == [0]


def test_the_users_callbacks_stay_and_the_winner_has_no_other(data):
    calls = []
    own = ReportEpoch(lambda epoch, loss: calls.append(epoch))
    search = make_search(make_pipe(callbacks=[own]), n_trials=1).fit(data.structures, data.y)
    assert len(calls) == 3 * EPOCHS
    assert search.estimator[-1].callbacks == [own]
    (winners,) = search.best_estimator_[-1].callbacks
    assert winners.report is own.report


def test_the_callback_of_a_copy_reports_to_the_same_study(data):
    """A study in memory would be copied with the callbacks: here the estimator is cloned inside."""
    inner = TransformedTargetRegressor(make_pipe(), func=np.log, inverse_func=np.exp)
    space = {f"regressor__{RATE}": SPACE[RATE]}
    search = make_search(inner, space, n_trials=2, pruner=PruneFrom(1, trial=1))
    search.fit(data.structures, data.y)
    assert steps(search) == [list(range(2 * EPOCHS)), [0, 1]]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage:UserWarning")  # nor is it optimized
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("kind", ["memory", *STORAGES])
def test_a_copied_or_pickled_callback_reports_to_the_same_study(tmp_path, kind, duplicate):
    from gnnpre.model_selection._search._cross_validation import Reporter
    from gnnpre.model_selection._search._optuna_study import open_storage, open_study

    storage = open_storage(None if kind == "memory" else make_storage(kind, tmp_path))
    handle = open_study(storage, None, PruneFrom(2))
    trial = handle.study.ask()
    callback = duplicate(ReportEpoch(Reporter(handle, trial.number, 1)))
    callback.report(0, 0.5)
    with pytest.raises(optuna.TrialPruned, match="step 2"):
        callback.report(1, 0.4)
    assert epoch_values(handle.study.trials[0]) == {1: -0.5, 2: -0.4}


def test_the_parameter_that_takes_callbacks():
    pretraining = Pretrainer(CGCNN(8, 1), Denoising())
    regressor = PropertyRegressor(pretraining=pretraining)
    assert find_callbacks(regressor) == "callbacks"
    assert find_callbacks(make_pipe()) == "propertyregressor__callbacks"
    assert find_callbacks(TransformedTargetRegressor(regressor)) == "regressor__callbacks"
    both = make_pipeline(pretraining, regressor)
    assert find_callbacks(both) == "propertyregressor__callbacks"
    assert find_callbacks(make_pipeline(pretraining, Ridge())) == "pretrainer__callbacks"
    assert find_callbacks(Ridge()) is None
    # Networks of an ensemble train once for each of its own folds.
    ensemble = PropertyEnsemble(members=[("network", regressor)])
    assert find_callbacks(ensemble) is None
    assert find_callbacks(TransformedTargetRegressor(ensemble)) is None

    class Boosting(Ridge):
        """Has callbacks of its own kind, as xgboost's estimators."""

        def __init__(self, callbacks=None):
            self.callbacks = callbacks

    assert find_callbacks(make_pipeline(EAD(), Boosting())) is None


# scikit-learn's side


def test_results(found, data):
    results = found.cv_results_
    assert results["state"].tolist() == ["COMPLETE", "COMPLETE", "PRUNED", "PRUNED"]
    splits = np.stack([results["split0_test_score"], results["split1_test_score"]])
    np.testing.assert_allclose(results["mean_test_score"][:2], splits.mean(0)[:2])
    np.testing.assert_allclose(results["std_test_score"][:2], splits.std(0)[:2])
    assert np.isnan(results["mean_test_score"][2:]).all()
    assert found.best_index_ == np.nanargmax(results["mean_test_score"])
    assert results["rank_test_score"][found.best_index_] == 1
    assert found.best_score_ == found.study_.best_value
    assert found.best_params_ == found.study_.best_params == results["params"][found.best_index_]
    assert results[f"param_{RATE}"].tolist() == [row[RATE] for row in results["params"]]
    assert results["trial"].tolist() == [0, 1, 2, 3]
    assert len(set(results[f"param_{RATE}"])) == 4
    assert (results["mean_fit_time"][:2] > 0).all()
    assert (found.n_splits_, found.refit_time_ > 0) == (2, True)


def test_scores_are_those_of_a_cross_validation(found, data):
    for row in range(2):
        model = make_pipe().set_params(**found.cv_results_["params"][row])
        expected = cross_val_score(model, data.structures, data.y, cv=2)
        scores = [found.cv_results_[f"split{fold}_test_score"][row] for fold in range(2)]
        assert scores == expected.tolist()


def test_the_winner_is_fitted_to_all_data(found, data):
    model = make_pipe().set_params(**found.best_params_).fit(data.structures, data.y)
    predicted = found.predict(data.structures)
    np.testing.assert_array_equal(predicted, model.predict(data.structures))
    assert found.score(data.structures, data.y) == model.score(data.structures, data.y)
    assert not hasattr(found, "predict_proba")


def test_transform_is_delegated_and_labels_are_not_needed(data):
    pretrainer = Pretrainer(CGCNN(8, 1), Denoising(), max_epochs=2, random_state=0)
    space = {"learning_rate": SPACE[RATE]}
    search = make_search(pretrainer, space, n_trials=1).fit(data.graphs)
    assert search.transform(data.graphs).shape == (20, 8)
    assert steps(search) == [[0, 1, 2, 3]]


def test_without_refit(data):
    search = make_search(n_trials=1, refit=False).fit(data.structures, data.y)
    assert RATE in search.best_params_
    assert not hasattr(search, "best_estimator_")
    with pytest.raises(AttributeError, match="predict"):
        search.predict(data.structures)


def test_equal_seeds_give_equal_trials(found, data):
    again = make_search(n_trials=4, pruner=PruneFrom(2, trial=2)).fit(data.structures, data.y)
    for key in ("mean_test_score", "state", "params"):
        assert str(again.cv_results_[key]) == str(found.cv_results_[key])
    other = make_search(n_trials=1, random_state=1).fit(data.structures, data.y)
    assert other.best_params_ != found.cv_results_["params"][0]


def test_clone_and_parameters(found):
    again = clone(found)
    assert not hasattr(again, "study_")
    with pytest.raises(NotFittedError):
        again.predict([])
    assert again.get_params()["estimator__structuretograph__cutoff"] == 4.0
    again.set_params(estimator__propertyregressor__max_epochs=7, n_trials=9)
    assert (again.estimator[-1].max_epochs, again.n_trials) == (7, 9)
    estimator_checks.check_no_attributes_set_in_init("PruningSearchCV", make_search())
    assert is_regressor(found)
    assert not get_tags(PruningSearchCV(PropertyRegressor(), {})).input_tags.two_d_array
    assert "PruningSearchCV" in found._repr_html_()


def test_fit_changes_no_parameter(data):
    sampler, pruner = optuna.samplers.RandomSampler(3), PruneFrom(9)
    search = make_search(n_trials=2, sampler=sampler, pruner=pruner)
    before = joblib.hash(search.get_params())
    first = search.fit(data.structures, data.y).cv_results_["params"]
    assert joblib.hash(search.get_params()) == before
    assert search.fit(data.structures, data.y).cv_results_["params"] == first


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_pickle_of_a_fitted_search_needs_no_storage(data, tmp_path, kind):
    storage = None if kind == "memory" else make_storage(kind, tmp_path)
    search = make_search(n_trials=2, storage=storage).fit(data.structures, data.y)
    pickled = pickle.dumps(search)
    for file in tmp_path.iterdir():
        file.unlink()
    again = pickle.loads(pickled)
    assert list(tmp_path.iterdir()) == []
    predicted = again.predict(data.structures)
    np.testing.assert_array_equal(predicted, search.predict(data.structures))
    assert again.study_.best_params == search.best_params_


def test_search_within_a_cross_validation(data, tmp_path):
    search = make_search(n_trials=2, storage=make_storage("sqlite", tmp_path))
    scores = cross_val_score(search, data.structures, data.y, cv=2)
    assert np.isfinite(scores).all()
    assert len(optuna.get_all_study_names(search.storage)) == 2
    search.set_params(study_name="shared")
    with pytest.raises(ValueError, match="a search on other data"):
        cross_val_score(search, data.structures, data.y, cv=2, error_score="raise")


def test_groups_reach_the_splitter_and_under_routing_the_estimator(data):
    groups = np.repeat(np.arange(5), 4)
    search = make_search(n_trials=1, cv=GroupKFold(2)).fit(data.structures, data.y, groups=groups)
    assert search.n_splits_ == 2
    weight = np.linspace(1, 2, 20)
    alone = search.cv_results_["split0_test_score"]
    with config_context(enable_metadata_routing=True):
        search.fit(data.structures, data.y, groups=groups, sample_weight=weight)
    assert search.cv_results_["split0_test_score"] != alone
    train, test = next(GroupKFold(2).split(data.y, groups=groups))
    model = make_pipe()[-1].set_params(learning_rate=search.best_params_[RATE])
    model.fit(data.graphs[train], data.y[train], groups[train], weight[train])
    expected = model.score(data.graphs[test], data.y[test], sample_weight=weight[test])
    assert search.cv_results_["split0_test_score"] == expected


@pytest.mark.parametrize("missing", [pd.NA, None, float("nan")])
def test_missing_groups_and_weights_are_named(data, missing):
    groups = pd.Series([*range(19), missing], dtype=object)
    search = make_search(n_trials=1, cv=GroupKFold(2))
    with pytest.raises(ValueError, match=r"groups is missing .* for 1 of 20 crystals"):
        search.fit(data.graphs, data.y, groups=groups)
    weights = pd.Series([*np.ones(19), missing], dtype=object)
    with pytest.raises(ValueError, match=r"sample_weight is missing .* for 1 of 20 crystals"):
        make_search(n_trials=1).fit(data.graphs, data.y, sample_weight=weights)
