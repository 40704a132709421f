"""Users' callbacks: refused with the fix, or shown a net that behaves as skorch documents."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import PredefinedSplit
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    Freezer,
    InputShapeSetter,
    LoadInitState,
    LRScheduler,
    PassthroughScoring,
    PrintLog,
    ProgressBar,
    TrainEndCheckpoint,
)

from gnnpre import CGCNN, PropertyRegressor
from gnnpre.training import ReportEpoch
from training.losses import assert_same_weights


@pytest.fixture
def data(graphs, labels):
    return graphs, labels.energy


def regressor(**parameters):
    defaults = {"max_epochs": 4, "batch_size": 8, "random_state": 0, "validation_fraction": 0.2}
    return PropertyRegressor(CGCNN(8, 1), **{**defaults, **parameters})


# Refused, before anything is trained


@pytest.mark.parametrize(
    ("callback", "error", "match"),
    [
        ("print", TypeError, "expected an instance of skorch.callbacks.Callback"),
        (Callback, TypeError, "expected an instance"),
        (("name", object()), TypeError, "expected an instance"),
        (InputShapeSetter(), TypeError, "no input shape"),
        (EpochScoring("r2"), TypeError, r"scoring\(net, X, y\)"),
        (BatchScoring("r2"), TypeError, r"scoring\(net, X, y\)"),
        (LRScheduler(), ValueError, "schedule='cosine'.*schedule=None"),
    ],
)
def test_what_cannot_work_is_refused(data, callback, error, match):
    with pytest.raises(error, match=rf"callbacks\[1\].*{match}"):
        regressor(callbacks=[PassthroughScoring("train_loss"), callback]).fit(*data)


@pytest.mark.parametrize(
    "callback",
    [
        EarlyStopping(),
        Checkpoint(),
        EpochScoring(lambda net, X, y: 0.0, name="mine"),
        LRScheduler("ReduceLROnPlateau", monitor="valid_loss"),
    ],
)
def test_monitors_of_validation_need_validation(data, callback):
    with pytest.raises(ValueError, match="Set validation_fraction"):
        regressor(callbacks=[callback], validation_fraction=0, schedule=None).fit(*data)


@pytest.mark.parametrize("callback", [EarlyStopping("valid_acc"), Checkpoint(monitor="mae_best")])
def test_monitors_that_are_not_recorded_are_named(data, callback):
    with pytest.raises(ValueError, match=rf"monitors '{callback.monitor}'.*'train_loss'.*epoch_sc"):
        regressor(callbacks=[("mine", callback)], schedule=None).fit(*data)


def test_best_weights_that_a_killed_training_would_lose_are_refused(data, tmp_path):
    settings = {"callbacks": [EarlyStopping(load_best=True)], "max_epochs": 2}
    with pytest.raises(ValueError, match=r"callbacks\[0\].*load_best=False and restore_best=True"):
        regressor(**settings, checkpoint_dir=tmp_path, restore_best=False).fit(*data)
    assert not list(tmp_path.iterdir())
    regressor(**settings, checkpoint_dir=tmp_path).fit(*data)  # which restores them itself
    regressor(**settings, restore_best=False).fit(*data)


def test_patience_needs_validation(data):
    with pytest.raises(ValueError, match=r"patience=3.*Set validation_fraction"):
        regressor(patience=3, validation_fraction=0).fit(*data)


def test_other_monitors_need_none(data):
    callbacks = [EarlyStopping("train_loss"), ReportEpoch(lambda *_: None), LRScheduler()]
    model = regressor(callbacks=callbacks, validation_fraction=0, schedule=None).fit(*data)
    assert len(model.history_) == 4


def test_a_callback_that_sets_the_rate_beside_the_schedule_is_noticed(data):
    class Halving(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.optimizer_.param_groups[0]["lr"] /= 2

    with pytest.raises(ValueError, match=r"changed the learning rate.*schedule=None"):
        regressor(callbacks=[Halving()]).fit(*data)
    regressor(callbacks=[Halving()], schedule=None).fit(*data)


# As skorch documents


def test_print_log_prints(data, capfd):
    regressor(callbacks=[PrintLog()]).fit(*data)
    out = capfd.readouterr().out
    assert "train_loss" in out
    assert len(out.splitlines()) == 2 + 4


def test_progress_bar_and_batches(data, capfd):
    class Batches(Callback):
        def on_train_begin(self, net, **kwargs):
            self.losses, self.sizes = [], []

        def on_batch_end(self, net, training=False, **kwargs):
            if training:
                self.losses.append(net.history[-1, "batches", -1, "train_loss"])
                self.sizes.append(net.history[-1, "batches", -1, "train_batch_size"])

    batches = Batches()
    model = regressor(callbacks=[batches, ProgressBar()], max_epochs=1).fit(*data)
    assert batches.sizes == [8, 8]
    assert np.mean(batches.losses) == pytest.approx(model.history_[0]["train_loss"], rel=1e-6)


def test_losses_of_batches_are_read_at_once_where_no_callback_looks_at_batches(data, monkeypatch):
    class Epochs(Callback):
        def on_epoch_end(self, net, **kwargs):
            self.losses = net.history[-1, "batches", :, "train_loss"]

    def item(tensor):
        raise AssertionError("a GPU would wait here")

    epochs = Epochs()
    monkeypatch.setattr(torch.Tensor, "item", item)
    model = regressor(callbacks=[epochs], max_epochs=1).fit(*data)
    assert np.mean(epochs.losses) == pytest.approx(model.history_[0]["train_loss"], rel=1e-6)


def test_lr_scheduler_decides_without_a_schedule(data, recorder):
    callbacks = [LRScheduler("StepLR", step_size=1, gamma=0.1), recorder]
    regressor(callbacks=callbacks, schedule=None, learning_rate=0.01).fit(*data)
    rates = [rates[0] for rates in recorder.rates][::2]
    np.testing.assert_allclose(rates, [1e-2, 1e-3, 1e-4, 1e-5])


def test_epoch_scoring_takes_a_function_of_net_graphs_and_labels(data):
    seen = []

    def mean_absolute_error(net, X, y):
        seen.append(len(X))
        assert y.shape == (len(X), 1)
        return float(np.abs(net.predict(X) - y).mean())

    scoring = EpochScoring(mean_absolute_error, name="valid_mae", lower_is_better=True)
    stopping = EarlyStopping("valid_mae", patience=50)
    model = regressor(callbacks=[scoring, stopping], restore_best=False, schedule=None)
    model.fit(*data)
    assert seen == [4, 4, 4, 4]
    assert all(row["valid_mae"] > 0 for row in model.history_)


def test_epoch_scoring_of_a_pretrainer_gets_targets_by_name(fit):
    seen = []

    def mean_error(net, X, y):
        seen.append(sorted(y))
        return float(np.abs(net.predict(X).energy - y["energy"]).mean())

    fit(callbacks=[EpochScoring(mean_error, name="valid_mae")], validation_fraction=0.2)
    assert {"energy", "forces", "stress"} <= set(seen[0])


def test_epoch_scoring_sees_the_average(graphs, labels):
    scores = []

    def loss(net, X, y):
        scores.append(np.abs(net.predict(X) - y).mean())
        return scores[-1]

    scoring = EpochScoring(loss, name="mae")
    model = regressor(
        callbacks=[scoring], ema_decay=0.9, learning_rate=0.05, restore_best=False, schedule=None
    ).fit(graphs, labels.energy)
    valid = [row["valid_loss"] for row in model.history_]
    ratios = np.array(scores) / np.array(valid)
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-4)  # the loss is in standard deviations


@pytest.mark.parametrize("keeps", ["early stopping", "checkpoint"])
def test_callbacks_that_load_the_best_weights_load_the_average(data, tmp_path, keeps):
    settings = {"ema_decay": 0.9, "learning_rate": 0.05, "schedule": None, "max_epochs": 6}
    callback = Checkpoint(dirname=tmp_path, load_best=True)
    if keeps == "early stopping":
        callback = EarlyStopping(patience=9, threshold=0, load_best=True)
    loaded = regressor(callbacks=[callback], restore_best=False, **settings).fit(*data)
    restored = regressor(**settings).fit(*data)
    assert_same_weights(loaded.net_.module_.state_dict(), restored.net_.module_.state_dict())


def test_callbacks_that_predict_in_a_validation_see_the_average(data):
    class Predicting(Callback):
        def __init__(self):
            self.seen = []

        def on_batch_end(self, net, batch=None, training=True, y_pred=None, **kwargs):
            if not training:
                self.seen.append((net.predict(data[0][valid]), y_pred["properties"]))

    valid = np.arange(5)
    fold = np.repeat([0, -1], [5, len(data[0]) - 5])
    predicting = Predicting()
    model = regressor(
        callbacks=[predicting],
        ema_decay=0.9,
        learning_rate=0.05,
        validation_fraction=PredefinedSplit(fold),
        random_state=0,
    ).fit(*data)
    network = model.net_.module_
    for predicted, standardized in predicting.seen:
        expected = standardized.double() * network.std + network.mean
        np.testing.assert_allclose(predicted, expected.numpy(), rtol=1e-5)


def test_the_fitted_net_predicts(data):
    model = regressor().fit(*data)
    np.testing.assert_allclose(model.net_.predict(data[0])[:, 0], model.predict(data[0]), rtol=1e-6)
    (batch,) = list(model.net_.forward_iter(data[0]))[:1]
    assert batch["properties"].shape == (8, 1)
    with pytest.raises(TypeError, match="CrystalGraphs"):
        model.net_.predict([1, 2])
    with pytest.raises(NotImplementedError, match="fit of the estimator"):
        model.net_.fit(*data)
    with pytest.raises(NotImplementedError, match="fit of the estimator"):
        clone(model.net_).partial_fit(*data)


def test_checkpoint_and_load_init_state(data, tmp_path):
    kept = TrainEndCheckpoint(dirname=tmp_path)
    first = regressor(callbacks=[kept], restore_best=False).fit(*data)
    again = regressor(callbacks=[LoadInitState(kept)], restore_best=False).fit(*data)
    assert [row["epoch"] for row in again.history_] == list(range(1, 9))  # four on top of four
    assert again.history_[3]["train_loss"] == first.history_[3]["train_loss"]
    assert again.history_[4]["train_loss"] < 1.2 * first.history_[3]["train_loss"]
    best = Checkpoint(dirname=tmp_path / "best", load_best=True)
    regressor(callbacks=[best]).fit(*data)
    assert (tmp_path / "best" / "params.pt").is_file()


def test_freezer_freezes(data, recorder):
    regressor(callbacks=[Freezer("backbone.*"), recorder]).fit(*data)
    start, end = recorder.start, recorder.epochs[-1]
    moved = {name for name in start if not (start[name] == end[name]).all()}
    assert moved
    assert all(name.startswith("head.") for name in moved)
