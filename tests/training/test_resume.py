"""Exact resume: a killed training, started again, ends as if it had never been killed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import KFold, cross_val_score
from skorch.callbacks import Callback, EarlyStopping, EpochScoring, Freezer, LRScheduler

from gnnpre import CGCNN, ForceField, FrameLabels, Pretrainer, PropertyRegressor
from gnnpre.training import PlateauSchedule, load_checkpoint
from training.resuming import (
    Crash,
    assert_same_weights,
    crash,
    fit_counting,
    make_estimator,
    weights,
)

TRAININGS = {"cosine": "Pretrainer", "plateau": "PropertyRegressor", "noise": "Pretrainer"}


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Path:
    """Folder with the models of trainings that were killed, and of the same in peace."""
    folder = tmp_path_factory.mktemp("killed")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    script = Path(__file__).with_name("killed_runs.py")
    command = [sys.executable, str(script), str(folder)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(params=TRAININGS)
def pair(request, killed):
    """Weights and config of one training, in peace and killed."""
    kind = TRAININGS[request.param]
    names = [f"{request.param}-{how}.gnnpre" for how in ("whole", "killed")]
    return [load_checkpoint(killed / name, kind) for name in names]


def test_weights_after_kills_are_those_of_the_uninterrupted_training(pair):
    assert_same_weights(pair[0][0], pair[1][0])


def test_history_after_kills_is_that_of_the_uninterrupted_training(pair):
    whole, killed = (losses(config["history"]) for _, config in pair)
    assert whole == killed
    assert len(whole) > 10


@pytest.mark.parametrize("name", TRAININGS)
def test_the_trainings_were_killed_and_went_on(killed, name):
    log = json.loads((killed / "log.json").read_text())[name]
    assert log["kills"] >= 3
    assert log["leftovers"] == 2  # killed twice in the middle of writing
    # Two kills while the second and the third state were written: each left the one before.
    assert log["epochs"][0] == 1
    assert log["epochs"] == sorted(log["epochs"])
    assert log["epochs"][-1] > log["epochs"][0]
    assert len(log["states"]) == 1  # and nothing else stays behind


def test_early_stopping_came_after_a_kill(killed):
    history = load_checkpoint(killed / "plateau-killed.gnnpre", "PropertyRegressor")[1]["history"]
    valid = [row["valid_loss"] for row in history]
    assert len(history) - 1 - int(np.argmin(valid)) == 12 or len(history) == 80


def losses(history):
    return [{key: row[key] for key in row if key != "dur"} for row in history]


@pytest.fixture
def data(graphs, labels):
    return graphs, labels


@pytest.fixture
def estimator(tmp_path):
    return make_estimator(tmp_path)


def in_peace(estimator, data):
    """Fit the same without any state."""
    parameters = {**estimator.get_params(deep=False), "callbacks": None}
    parameters |= {"checkpoint_dir": None, "resume": False}
    return type(estimator)(**parameters).fit(*data)


def states(estimator):
    return sorted(path.name for path in Path(estimator.checkpoint_dir).iterdir())


@pytest.mark.parametrize("ema_decay", [None, 0.9])
@pytest.mark.parametrize("schedule", ["cosine", "plateau", None])
def test_a_crashed_training_goes_on(estimator, data, schedule, ema_decay):
    estimator.set_params(schedule=schedule, ema_decay=ema_decay)
    whole = in_peace(estimator, data)
    crash(estimator, data)
    model, epochs = fit_counting(estimator, data)
    assert epochs == 3
    assert losses(model.history_) == losses(whole.history_)
    assert_same_weights(weights(model), weights(whole))


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_a_finished_training_is_not_repeated(estimator, data, ema_decay):
    estimator.set_params(ema_decay=ema_decay)
    first, epochs = fit_counting(estimator, data)
    assert epochs == 6
    second, epochs = fit_counting(estimator, data)
    assert epochs == 0
    assert_same_weights(weights(first), weights(second))
    assert losses(first.history_) == losses(second.history_)


def test_an_early_stopped_training_is_not_repeated(estimator, data):
    estimator.set_params(patience=2, max_epochs=40, learning_rate=1e-30, validation_fraction=0.3)
    first, _ = fit_counting(estimator, data)
    second, epochs = fit_counting(estimator, data)
    assert len(first.history_) == 3
    assert epochs == 0
    assert losses(first.history_) == losses(second.history_)
    assert_same_weights(weights(first), weights(second))


def test_without_resume_it_starts_anew(estimator, data):
    fit_counting(estimator, data)
    assert fit_counting(estimator, data, resume=False)[1] == 6


def test_the_state_of_a_refit_frozen_model_goes_on(graphs, tmp_path):
    y = np.arange(len(graphs), dtype=float)
    source = Pretrainer(CGCNN(8, 1, batch_norm=True), max_epochs=1, random_state=0)
    source.set_params(objective=ForceField(1, 0, 0))
    source.fit(graphs, FrameLabels(graphs.atom_counts, energy=y))
    model = PropertyRegressor(
        pretrained=FrozenEstimator(source),
        strategy="head",
        max_epochs=6,
        batch_size=8,
        random_state=0,
        checkpoint_dir=str(tmp_path / "states"),
        resume=True,
    )
    whole = in_peace(model, (graphs, y))
    crash(model, (graphs, y))
    again, epochs = fit_counting(model, (graphs, y))
    assert epochs == 3
    assert_same_weights(weights(again), weights(whole))


CHANGES = [
    {"random_state": 1},
    {"learning_rate": 0.01},
    {"batch_size": 4},
    {"weight_decay": 0.0},
    {"gradient_clip": 1.0},
    {"ema_decay": 0.9},
    {"schedule": "plateau"},
    {"schedule": PlateauSchedule(patience=1)},
    {"max_epochs": 7},  # the cosine ends elsewhere
    {"dtype": "float64"},
    {"validation_fraction": 0.3},
    {"restore_best": False},
    {"patience": 5},
    {"max_edges": 200},
    {"backbone__hidden_channels": 4},
    {"objective__forces": 2.0},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_other_parameters_do_not_take_up_the_state(estimator, data, change):
    crash(estimator, data)
    model, epochs = fit_counting(estimator, data, **change)
    assert epochs == model.max_epochs
    alone = in_peace(model, data)
    assert_same_weights(weights(model), weights(alone))
    assert len(states(estimator)) == 2
    # Nor do they hinder the first from going on.
    assert fit_counting(estimator, data)[1] == 3


def test_another_seed_is_another_run_where_it_splits_nothing_off(estimator, data):
    estimator.set_params(validation_fraction=0)
    crash(estimator, data)
    model, epochs = fit_counting(estimator, data, random_state=1)
    assert epochs == 6
    assert_same_weights(weights(model), weights(in_peace(model, data)))


def test_a_run_goes_on_to_more_epochs_where_the_schedule_does_not_look_ahead(estimator, data):
    estimator.set_params(schedule="plateau")
    fit_counting(estimator, data)
    model, epochs = fit_counting(estimator, data, max_epochs=9)
    assert epochs == 3
    whole = in_peace(model, data)
    assert_same_weights(weights(model), weights(whole))


def test_a_longer_run_is_not_taken_for_a_shorter_one(estimator, data):
    estimator.set_params(schedule="plateau")
    fit_counting(estimator, data)
    model, epochs = fit_counting(estimator, data, max_epochs=2)
    assert epochs == len(model.history_) == 2
    whole = in_peace(model, data)
    assert_same_weights(weights(model), weights(whole))


def test_other_data_do_not_take_up_the_state(estimator, graphs, labels):
    crash(estimator, (graphs, labels))
    moved = type(labels)(
        labels.n_atoms, energy=labels.energy + 1e-9, forces=labels.forces, stress=labels.stress
    )
    reverse = np.arange(len(graphs))[::-1].copy()
    for data in ((graphs[:-1], labels[:-1]), (graphs, moved), (graphs[reverse], labels[reverse])):
        assert fit_counting(estimator, data)[1] == 6
    assert len(states(estimator)) == 4


def test_sample_weight_and_groups_are_part_of_the_run(estimator, graphs, labels):
    estimator.set_params(validation_fraction=0.3)
    crash(estimator, (graphs, labels))
    n = len(graphs)
    assert fit_counting(estimator, (graphs, labels, None, np.arange(1.0, n + 1)))[1] == 6
    assert fit_counting(estimator, (graphs, labels, np.arange(n) // 4))[1] == 6


def test_folds_of_a_cross_validation_share_the_folder(estimator, data):
    folds = KFold(2, shuffle=True, random_state=0)
    alone = clone(estimator).set_params(checkpoint_dir=None, resume=False)
    expected = cross_val_score(alone, *data, cv=folds)
    scores = cross_val_score(estimator, *data, cv=folds)
    assert len(states(estimator)) == 2
    again = cross_val_score(estimator, *data, cv=folds)
    assert expected.tolist() == scores.tolist() == again.tolist()
    assert len(states(estimator)) == 2


def test_callbacks_of_the_user_may_be_resumed(estimator, data):
    class Summing(Callback):
        total = 0

        def on_epoch_end(self, net, **kwargs):
            self.total += len(net.history)

        def state(self):
            return {"total": self.total}

        def load_state(self, state):
            self.total = state["total"]

    with pytest.raises(RuntimeError, match="crash"):
        clone(estimator).set_params(callbacks=[("sum", Summing()), Crash(3)]).fit(*data)
    summing = Summing()
    clone(estimator).set_params(callbacks=[("sum", summing)]).fit(*data)
    assert summing.total == sum(range(1, 7))


def test_resume_needs_a_folder(data):
    with pytest.raises(ValueError, match="resume=True needs checkpoint_dir"):
        Pretrainer(CGCNN(8, 1), resume=True).fit(*data)


def test_resuming_leaves_global_random_state_alone(estimator, data):
    crash(estimator, data)
    before = torch.get_rng_state()
    fit_counting(estimator, data)
    assert torch.equal(before, torch.get_rng_state())


class StopAfter(Callback):
    """Ends a training as skorch's own early stopping does."""

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            raise KeyboardInterrupt


def test_a_training_that_a_callback_ended_is_not_gone_on_with(estimator, data):
    first = clone(estimator).set_params(callbacks=[StopAfter()]).fit(*data)
    again, epochs = fit_counting(estimator, data)
    assert len(first.history_) == 2
    assert losses(again.history_) == losses(first.history_)
    assert epochs == 0
    assert_same_weights(weights(again), weights(first))


def test_resume_needs_a_seed(estimator, data):
    with pytest.raises(ValueError, match="resume=True needs random_state"):
        estimator.set_params(random_state=None).fit(*data)


def test_losses_of_single_batches_are_let_go_of(estimator, data):
    assert all(row["batches"] == [] for row in estimator.fit(*data).net_.history)


def fit_whole_and_resumed(estimator, data, callbacks):
    """Train at once, and with a crash on the way; check that both end alike."""
    whole = clone(estimator).set_params(checkpoint_dir=None, resume=False, callbacks=callbacks())
    whole.fit(*data)
    broken = clone(estimator).set_params(callbacks=[*callbacks(), Crash(2)])
    with pytest.raises(RuntimeError, match="crash"):
        broken.fit(*data)
    resumed = clone(estimator).set_params(callbacks=callbacks()).fit(*data)
    assert losses(resumed.history_) == losses(whole.history_)
    assert_same_weights(weights(resumed), weights(whole))
    return whole, resumed


def test_schedulers_and_early_stopping_of_skorch_are_resumed(estimator, data):
    def callbacks():
        scheduler = LRScheduler("StepLR", step_size=2, gamma=0.5)
        return [scheduler, EarlyStopping("train_loss", patience=2, threshold=0.9)]

    estimator.set_params(schedule=None, max_epochs=8)
    fit_whole_and_resumed(estimator, data, callbacks)


@pytest.mark.parametrize("resumes", ["freezer", "scores"])
def test_what_callbacks_of_skorch_did_in_earlier_epochs_holds(estimator, data, resumes):
    def callbacks():
        if resumes == "freezer":
            return [Freezer("backbone.*")]  # in the first epoch
        return [EpochScoring(falling, name="valid_falling")]

    def falling(net, X, y):
        return 1.0 if len(net.history) == 1 else 2.0

    estimator.set_params(schedule=None, restore_best=False)
    models = fit_whole_and_resumed(estimator, data, callbacks)
    best = [[row.get("valid_falling_best") for row in m.history_] for m in models]
    assert best[0] == best[1]
