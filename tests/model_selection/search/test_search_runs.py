"""Searches in which trials fail, are killed, or run in several processes."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.pruners import NopPruner
from optuna.trial import TrialState
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import cross_val_score

from gnnpre import CGCNN, PropertyRegressor
from gnnpre._processes import this_process, was_killed
from model_selection.search.search_cases import (
    RATE,
    SPACE,
    PruneFrom,
    make_cases,
    make_data,
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


# Failures


class Fragile(PropertyRegressor):
    """Fails with some parameters."""

    def fit(self, X, y, groups=None, sample_weight=None):
        if self.batch_size == 13:
            raise RuntimeError("thirteen")
        return super().fit(X, y, groups, sample_weight)


FRAGILE = Fragile(CGCNN(8, 1), max_epochs=1, random_state=0)


THIRTEEN = {"batch_size": CategoricalDistribution([13, 8])}


def test_a_trial_that_fails_is_recorded_and_the_search_goes_on(data):
    search = make_search(FRAGILE, THIRTEEN, n_trials=6, error_score=-99.0)
    with pytest.warns(FitFailedWarning, match="RuntimeError: thirteen"):
        search.fit(data.graphs, data.y)
    failed = search.cv_results_["state"] == "FAIL"
    assert 0 < failed.sum() < 6
    assert (search.cv_results_["mean_test_score"][failed] == -99.0).all()
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_ == {"batch_size": 8}


def test_error_score_raise(data):
    search = make_search(FRAGILE, {"batch_size": CategoricalDistribution([13])})
    with pytest.raises(RuntimeError, match="thirteen"):
        search.set_params(error_score="raise").fit(data.graphs, data.y)
    with pytest.raises(ValueError, match=r"3 failed and 0 were pruned(.|\n)*thirteen"):
        search.set_params(error_score=np.nan).fit(data.graphs, data.y)


def test_all_trials_pruned(data):
    search = make_search(n_trials=2, pruner=PruneFrom(0))
    with pytest.raises(ValueError, match="0 failed and 2 were pruned"):
        search.fit(data.structures, data.y)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"space": {"propertyregressor__learning_rte": SPACE[RATE]}}, ValueError, "Did you mean"),
        ({"space": {RATE: [0.1, 0.2]}}, TypeError, "expected a distribution"),
        ({"space": [1]}, TypeError, "expected a dict"),
        ({"space": lambda trial: 3}, TypeError, "expected a dict of parameters"),
        ({"space": lambda trial: {"no": 1}}, ValueError, "Invalid parameter 'no'"),
        ({"n_trials": 0}, ValueError, "n_trials=0; expected an int > 0"),
        ({"n_trials": None}, ValueError, "never end"),
        ({"timeout": -1}, ValueError, "timeout=-1"),
        ({"n_jobs": 2}, ValueError, "cannot share a study in memory"),
        ({"n_jobs": 2, "storage": "sqlite:///:memory:"}, ValueError, "in memory"),
        ({"storage": "study.db"}, TypeError, "sqlite:///study.db"),
        ({"pruner": "median"}, TypeError, "optuna.pruners"),
        ({"sampler": 3}, TypeError, "optuna.samplers"),
        ({"scoring": ["r2", "max_error"]}, TypeError, "expected one score"),
        ({"error_score": "no"}, ValueError, "error_score='no'"),
        ({"cv": np.array(3.0)}, TypeError, r"cv=array\(3.\) is not a number of folds"),
        ({"monitor": "valid_los"}, ValueError, "expected one of.*valid_loss"),
        ({"monitor": None}, TypeError, "monitor=None"),
        ({"estimator": PropertyRegressor}, TypeError, "expected an estimator"),
    ],
)
def test_bad_input(data, settings, error, message):
    with pytest.raises(error, match=message):
        make_search(**settings).fit(data.structures, data.y)


def test_a_parameter_of_nothing_is_refused_with_the_reason():
    pipe = make_pipe().set_params(propertyregressor__backbone=None)
    space = {"propertyregressor__backbone__n_layers": IntDistribution(1, 2)}
    with pytest.raises(ValueError, match="propertyregressor__backbone is None"):
        make_search(pipe, space).fit(*make_data(4))


# Storages, processes, kills


@pytest.mark.parametrize("kind", STORAGES)
def test_two_processes_on_one_storage(data, tmp_path, kind):
    storage = make_storage(kind, tmp_path)
    search = make_search(n_trials=5, n_jobs=2, storage=storage, pruner=PruneFrom(4, trial=3))
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        search.fit(data.structures, data.y)
    assert sorted(states(search)) == ["COMPLETE"] * 3 + ["PRUNED"] * 2
    pids = {trial.user_attrs["gnnpre:process"]["pid"] for trial in search.study_.trials}
    assert os.getpid() not in pids
    assert len(pids) == 2
    rates = [row[RATE] for row in search.cv_results_["params"]]
    assert len(set(rates)) == 5


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Folder with the studies of two processes that were killed."""
    folder = tmp_path_factory.mktemp("killed")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    script = Path(__file__).with_name("killed_search.py")
    command = [sys.executable, str(script), str(folder), *STORAGES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["9", "9"], done.stderr
    return folder


@pytest.mark.parametrize("kind", STORAGES)
def test_a_killed_process_loses_one_trial(data, killed, kind):
    settings = {"n_trials": 5, "pruner": NopPruner()}
    search = make_search(**settings, storage=make_storage(kind, killed), study_name="killed")
    search.fit(data.structures, data.y)
    assert states(search) == ["COMPLETE", "COMPLETE", "FAIL"] + ["COMPLETE"] * 3
    assert search.cv_results_["trial"].tolist() == [0, 1, 3, 4, 5]
    # The seed of a trial is that of its place: the study went on as it would have.
    whole = make_search(**settings).fit(data.structures, data.y)
    assert search.cv_results_["params"] == whole.cv_results_["params"]
    scores = search.cv_results_["mean_test_score"]
    assert scores.tolist() == whole.cv_results_["mean_test_score"].tolist()


def test_a_study_is_gone_on_with_up_to_n_trials_in_all(data, tmp_path):
    settings = {"storage": make_storage("sqlite", tmp_path), "study_name": "one"}
    for n_trials, expected in ((2, 2), (4, 4), (3, 4)):
        search = make_search(n_trials=n_trials, **settings).fit(data.structures, data.y)
        assert len(search.cv_results_["params"]) == expected


def test_a_trial_of_a_living_process_is_left_alone(data, tmp_path):
    storage = make_storage("journal", tmp_path)
    make_search(n_trials=1, storage=storage, study_name="a").fit(data.structures, data.y)
    study = optuna.load_study(study_name="a", storage=storage)
    study.ask().set_user_attr("gnnpre:process", this_process())
    search = make_search(n_trials=3, storage=storage, study_name="a").fit(data.structures, data.y)
    assert states(search) == ["COMPLETE", "RUNNING", "COMPLETE"]  # it counts
    assert search.cv_results_["trial"].tolist() == [0, 2]


def test_who_is_dead():
    assert not was_killed(this_process())
    assert was_killed({**this_process(), "started": "another boot/1"})
    process = subprocess.Popen([sys.executable, "-c", ""])
    owner = {**this_process(), "pid": process.pid, "started": None}
    process.wait()
    assert was_killed(owner)
    assert not was_killed({**owner, "host": "elsewhere"})


def test_a_study_that_minimizes_is_refused(data, tmp_path):
    storage = make_storage("sqlite", tmp_path)
    optuna.create_study(storage=storage, study_name="down", direction="minimize")
    with pytest.raises(ValueError, match="minimizes"):
        make_search(storage=storage, study_name="down").fit(data.structures, data.y)


def test_timeout_lets_no_further_trial_begin(data):
    search = make_search(n_trials=None, timeout=0.5).fit(data.structures, data.y)
    assert 1 <= len(search.cv_results_["params"]) < 50


def test_a_sampler_that_has_tried_all_ends_the_search(data):
    grid = optuna.samplers.GridSampler({"propertyregressor__batch_size": [4, 8]}, seed=0)
    space = {"propertyregressor__batch_size": CategoricalDistribution([4, 8])}
    search = make_search(space=space, n_trials=9, sampler=grid).fit(data.structures, data.y)
    assert sorted(row["propertyregressor__batch_size"] for row in search.cv_results_["params"]) == [
        4,
        8,
    ]


def test_logging_of_optuna_is_as_it_was(data, caplog):
    before = optuna.logging.get_verbosity()
    make_search(n_trials=1).fit(data.structures, data.y)
    assert caplog.messages == []
    make_search(n_trials=1, verbose=1).fit(data.structures, data.y)
    assert any("Trial 0 finished" in message for message in caplog.messages)
    assert optuna.logging.get_verbosity() == before


# Optuna without this search


def test_plain_study_around_a_cross_validation(data):
    def objective(trial):
        rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
        model = make_pipe(learning_rate=rate)
        return cross_val_score(model, data.structures, data.y, cv=2).mean()

    study = optuna.create_study(direction="maximize")
    study.optimize(objective, n_trials=2)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2


@pytest.mark.skipif(
    importlib.util.find_spec("optuna_integration") is None,
    reason="optuna-integration is not installed",
)
def test_optuna_search_cv_as_it_is(data):
    from optuna_integration import OptunaSearchCV

    search = OptunaSearchCV(make_pipe(), SPACE, cv=2, n_trials=2)
    search.fit(data.structures, data.y)
    assert search.predict(data.structures).shape == (20,)
