"""The training loop: losses, stopping, averages, clipping, callbacks, and what it leaves behind."""

import pickle
import re
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import PredefinedSplit
from skorch.callbacks import Callback, EarlyStopping

from gnnpre import (
    CGCNN,
    Denoising,
    ForceField,
    FrameLabels,
    Pretrainer,
    PropertyClassifier,
    PropertyRegressor,
)
from gnnpre.exceptions import PerformanceWarning, TrainingWarning
from gnnpre.training import _progress
from training.killed_runs import NoisyVolume

STILL = {"learning_rate": 1e-30, "schedule": None, "restore_best": False}  # weights stay


def plain_losses(model, graphs, labels):
    """Mean absolute errors over all entries of a data set, from predictions."""
    predicted = model.predict(graphs)
    energy = np.abs(predicted.energy - labels.energy) / graphs.atom_counts
    parts = {
        "energy": energy.mean(),
        "forces": np.abs(predicted.forces - labels.forces).mean(),
        "stress": np.abs(predicted.stress - labels.stress).mean(),
    }
    return {"loss": sum(parts.values()), **parts}


def assert_same_weights(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


def holdout(n, valid):
    fold = -np.ones(n, dtype=int)
    fold[valid] = 0
    return PredefinedSplit(fold)


@pytest.mark.parametrize("cut", [{"batch_size": 3}, {"batch_size": 100}, {"max_edges": 120}])
def test_recorded_losses_are_means_over_the_data_set(fit, graphs, labels, cut):
    valid = np.array([1, 4, 6, 7, 11, 15])
    train = np.setdiff1d(np.arange(len(graphs)), valid)
    model = fit(max_epochs=1, validation_fraction=holdout(len(graphs), valid), **STILL, **cut)
    for prefix, rows in (("train", train), ("valid", valid)):
        for name, value in plain_losses(model, graphs[rows], labels[rows]).items():
            assert model.history_[0][f"{prefix}_{name}"] == pytest.approx(value, rel=1e-5), name


def test_weights_of_the_parts_enter_the_loss(graphs, labels):
    objective = ForceField(energy=2.0, forces=3.0, stress=0.0)
    model = Pretrainer(CGCNN(8, 1), objective, max_epochs=1, random_state=0).fit(graphs, labels)
    row = model.history_[0]
    assert "train_stress" not in row
    expected = 2 * row["train_energy"] + 3 * row["train_forces"]
    assert row["train_loss"] == pytest.approx(expected, rel=1e-6)


def test_loss_falls(fit):
    losses = [row["train_loss"] for row in fit(max_epochs=30, learning_rate=0.02).history_]
    assert losses[-1] < 0.7 * losses[0]


def test_patience_ends_the_training(fit):
    model = fit(max_epochs=50, patience=3, validation_fraction=0.3, **STILL)
    assert len(model.history_) == 4  # the first is the best, then three that are no better
    assert [row["epoch"] for row in model.history_] == [1, 2, 3, 4]


def test_patience_counts_from_the_best_epoch(fit):
    model = fit(max_epochs=200, patience=4, validation_fraction=0.3, learning_rate=0.05)
    losses = [row["valid_loss"] for row in model.history_]
    assert 5 < len(losses) < 200
    assert np.argmin(losses) == len(losses) - 5


@pytest.mark.parametrize("ema_decay", [None, 0.7])
def test_best_weights_are_restored(fit, graphs, labels, recorder, ema_decay):
    valid = np.arange(6)
    # Forces of the wrong sign make validation worse the more is learnt.
    forces = labels.forces.copy()
    forces[: labels.offsets[6]] *= -3
    labels = FrameLabels(labels.n_atoms, energy=labels.energy, forces=forces, stress=labels.stress)
    model = fit(
        (graphs, labels),
        max_epochs=12,
        learning_rate=0.05,
        schedule=None,
        ema_decay=ema_decay,
        validation_fraction=holdout(len(graphs), valid),
        callbacks=[recorder],
    )
    losses = [row["valid_loss"] for row in model.history_]
    best = int(np.argmin(losses))
    assert best < len(losses) - 1  # else this test would say nothing
    assert -model.score(graphs[valid], labels[valid]) == pytest.approx(losses[best], rel=1e-5)
    if ema_decay is None:
        assert_same_weights(model.net_.module_.state_dict(), recorder.epochs[best])


def test_last_weights_are_kept_without_restore_best(fit, recorder):
    model = fit(max_epochs=8, learning_rate=0.05, restore_best=False, callbacks=[recorder])
    assert_same_weights(model.net_.module_.state_dict(), recorder.epochs[-1])


@pytest.mark.parametrize("validation_fraction", [0, 0.3])
def test_ema_is_the_average_of_the_weights_after_each_step(fit, recorder, validation_fraction):
    model = fit(
        max_epochs=4,
        ema_decay=0.8,
        learning_rate=0.05,
        restore_best=False,
        validation_fraction=validation_fraction,
        callbacks=[recorder],
    )
    names = [name for name, _ in model.net_.module_.named_parameters()]
    average = {name: recorder.start[name].double() for name in names}
    for step, weights in enumerate(recorder.steps, start=1):
        decay = min(0.8, step / (step + 10))
        for name in names:
            average[name] = decay * average[name] + (1 - decay) * weights[name].double()
    for name, value in model.net_.module_.named_parameters():
        torch.testing.assert_close(value.double(), average[name], rtol=1e-4, atol=1e-6)
        assert not torch.equal(value, recorder.steps[-1][name])


def test_validation_sees_the_average(fit, graphs, labels):
    valid = np.arange(5)
    model = fit(
        max_epochs=3,
        ema_decay=0.9,
        learning_rate=0.05,
        restore_best=False,
        validation_fraction=holdout(len(graphs), valid),
    )
    seen = model.history_[-1]["valid_loss"]
    assert -model.score(graphs[valid], labels[valid]) == pytest.approx(seen, rel=1e-5)


def test_training_goes_on_from_the_weights_and_not_from_their_average(fit, recorder):
    fit(max_epochs=3, learning_rate=0.01, ema_decay=0.9, callbacks=[recorder])
    other = type(recorder)()
    fit(max_epochs=3, learning_rate=0.01, callbacks=[other])
    for one, two in zip(recorder.steps, other.steps, strict=True):
        assert_same_weights(one, two)


def test_gradient_is_clipped(fit, recorder):
    free, clipped = recorder, type(recorder)()
    fit(gradient_clip=None, callbacks=[free])
    fit(gradient_clip=1e-3, callbacks=[clipped])
    assert min(free.norms) > 1e-2
    np.testing.assert_allclose(clipped.norms, 1e-3, rtol=1e-3)


def test_divergence_is_an_error(fit):
    with pytest.raises(FloatingPointError, match=r"epoch \d.*Lower learning_rate"):
        fit(max_epochs=20, learning_rate=1e30, gradient_clip=None, schedule=None)


class Poisoning(Callback):
    """Makes a weight NaN at the beginning of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == self.epoch:
            next(net.module_.head.parameters()).data.fill_(float("nan"))


@pytest.mark.parametrize(
    "settings",
    [{}, {"restore_best": False}, {"ema_decay": 0.8}, {"validation_fraction": 0}],
    ids=["best", "last", "average", "no validation"],
)
def test_a_later_divergence_keeps_the_best_weights(fit, graphs, recorder, settings):
    with pytest.warns(TrainingWarning, match=r"nan in epoch 4.*weights of epoch \d.*Lower") as seen:
        model = fit(max_epochs=9, callbacks=[Poisoning(4), recorder], **settings)
    assert len([item for item in seen if issubclass(item.category, TrainingWarning)]) == 1
    rows = model.history_
    assert len(rows) == 4
    assert np.isfinite(model.predict(graphs).energy).all()
    if "ema_decay" in settings:
        return
    if "validation_fraction" in settings:  # weights are judged by the epoch that starts from them
        best = int(np.argmin([row["train_loss"] for row in rows[1:3]]))
    else:
        best = int(np.argmin([row["valid_loss"] for row in rows[:3]]))
    assert_same_weights(model.net_.module_.state_dict(), recorder.epochs[best])


def test_a_divergence_in_the_first_epoch_is_an_error(fit):
    with pytest.raises(FloatingPointError, match="in epoch 1"):
        fit(max_epochs=9, callbacks=[Poisoning(1)])


def test_validation_losses_that_are_never_finite_are_warned_of(graphs):
    with pytest.warns(TrainingWarning, match="not finite in any epoch"):
        Pretrainer(CGCNN(8, 1), InfiniteVolume(), max_epochs=2, random_state=0).fit(graphs)


class InfiniteVolume(NoisyVolume):
    """Its validation loss is infinite."""

    def build(self, backbone, layout):
        model = super().build(backbone, layout)
        losses = model.losses

        def infinite(predictions, targets, batch):
            terms = losses(predictions, targets, batch)
            if model.training:
                return terms
            return {name: replace(t, total=t.total + torch.inf) for name, t in terms.items()}

        model.losses = infinite
        return model


class Pressing(Callback):
    """Presses Ctrl-C in the middle or at the end of an epoch."""

    def __init__(self, where, epoch):
        self.where, self.epoch = where, epoch

    def on_batch_end(self, net, training=False, **kwargs):
        if self.where == "batch" and training and len(net.history) == self.epoch:
            signal.raise_signal(signal.SIGINT)

    def on_epoch_end(self, net, **kwargs):
        if self.where == "epoch" and len(net.history) == self.epoch:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("where", ["batch", "epoch"])
def test_ctrl_c_leaves_the_best_weights_so_far(graphs, labels, recorder, where):
    model = Pretrainer(CGCNN(8, 1), max_epochs=9, batch_size=8, random_state=0)
    model.set_params(callbacks=[recorder, Pressing(where, 4)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(graphs, labels)
    net = model.net_
    assert np.isfinite(model.predict(graphs).energy).all()
    n_done = 3 if where == "batch" else 4
    assert [row["epoch"] for row in net.history] == list(range(1, n_done + 1))
    best = int(np.argmin(net.history[:, "valid_loss"]))
    assert_same_weights(net.module_.state_dict(), recorder.epochs[best])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    pickle.dumps(net)


def test_ctrl_c_in_fine_tuning_leaves_a_fitted_estimator(graphs, labels):
    y = labels.energy
    regressor = PropertyRegressor(CGCNN(8, 1), max_epochs=9, batch_size=8, random_state=0)
    classifier = PropertyClassifier(CGCNN(8, 1), max_epochs=9, batch_size=8, random_state=0)
    for model, target in ((regressor, y), (classifier, (y > np.median(y)).astype(int))):
        model.set_params(callbacks=[Pressing("batch", 3)])
        with pytest.raises(KeyboardInterrupt):
            model.fit(graphs, target)
        assert len(model.history_) == 2
        assert model.predict(graphs).shape == (20,)
        pickle.dumps(model)


def test_ctrl_c_in_a_pretraining_within_the_fit_leaves_nothing_fitted(graphs, labels):
    pretraining = Pretrainer(
        CGCNN(8, 1), Denoising(), max_epochs=9, callbacks=[Pressing("batch", 3)]
    )
    model = PropertyRegressor(pretraining=pretraining, max_epochs=9, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(graphs, labels.energy)
    assert not hasattr(model, "net_")


class Interrupting(Callback):
    """Raises KeyboardInterrupt where it is told to."""

    def __init__(self, where, after):
        self.where = where
        self.after = after

    def notify(self, where):
        self.calls = getattr(self, "calls", 0) + (where == self.where)
        if where == self.where and self.calls == self.after:
            raise KeyboardInterrupt

    def on_batch_end(self, net, **kwargs):
        self.notify("on_batch_end")

    def on_epoch_end(self, net, **kwargs):
        self.notify("on_epoch_end")


def test_a_callback_ends_the_training_by_keyboard_interrupt(fit, recorder):
    model = fit(
        max_epochs=9, callbacks=[recorder, Interrupting("on_epoch_end", 3)], restore_best=False
    )
    assert len(model.history_) == 3
    assert_same_weights(model.net_.module_.state_dict(), recorder.epochs[-1])


def test_early_stopping_of_skorch_ends_the_training(fit, capfd):
    stopping = EarlyStopping("train_loss", patience=2)
    model = fit(max_epochs=30, callbacks=[("stopping", stopping)], **STILL)
    assert len(model.history_) <= 4
    assert capfd.readouterr() == ("", "")


def test_ctrl_c_in_a_batch_propagates(graphs, labels):
    model = Pretrainer(CGCNN(8, 1), callbacks=[Interrupting("on_batch_end", 1)], max_epochs=9)
    with pytest.raises(KeyboardInterrupt):
        model.fit(graphs, labels)
    assert not hasattr(model, "net_")


def test_ctrl_c_in_a_batch_leaves_random_states_and_an_earlier_fit_alone(fit, graphs, labels):
    model = fit()
    before, state = model.predict(graphs).energy, torch.get_rng_state()
    model.set_params(callbacks=[Interrupting("on_batch_end", 2)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(graphs, labels)
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(model.predict(graphs).energy, before)


def test_callbacks_see_the_net_of_skorch(fit, recorder):
    class Epochs(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.history.record("seen", len(net.history))

    model = fit(max_epochs=3, callbacks=[Epochs(), ("recorder", recorder)])
    assert [row["seen"] for row in model.history_] == [1, 2, 3]
    assert len(recorder.epochs) == 3


def test_silent_by_default(fit, capfd):
    fit()
    assert capfd.readouterr() == ("", "")


def test_a_line_per_epoch_where_there_is_no_terminal(fit, capfd):
    fit(max_epochs=3, verbose=1)
    out, err = capfd.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 3
    terms = r"\(energy [\d.e+-]+ eV/atom, forces [\d.e+-]+ eV/Å, stress [\d.e+-]+ eV/Å³\)"
    losses = rf"train_loss [\d.e+-]+, valid_loss [\d.e+-]+ {terms}"
    pattern = rf"epoch 2/3: {losses}, \d:\d\d left"
    assert re.fullmatch(pattern, lines[1])


def test_a_bar_in_a_terminal(fit, capfd, monkeypatch):
    monkeypatch.setattr(_progress, "_shows_bars", lambda: True)
    fit(max_epochs=3, verbose=1)
    err = capfd.readouterr().err
    assert "3/3" in err
    assert "train_loss" in err
    assert "valid_loss" in err


def test_a_table_of_all_losses_at_two(fit, capfd):
    fit(max_epochs=3, verbose=2)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 4
    assert "train_forces" in lines[0]
    assert len(lines[0].split()) == len(lines[3].split())


def test_epochs_are_logged(fit, caplog):
    with caplog.at_level("INFO", logger="gnnpre"):
        fit(max_epochs=3)
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "epoch 1/3",
        "epoch 2/3",
        "epoch 3/3",
    ]


def test_remaining_time_is_that_of_the_epochs_of_this_run(monkeypatch):
    clock = iter([100.0, 110.0])
    monkeypatch.setattr(_progress.time, "perf_counter", lambda: next(clock))
    state = SimpleNamespace(epoch=50)
    limit = SimpleNamespace(remaining=lambda: np.inf)
    progress = _progress.Progress(0, 60, state, limit)  # resumed after 50 of 60 epochs
    assert progress._remaining(52) == "0:40"  # two epochs in ten seconds


def test_without_validation_there_is_no_validation_loss(fit):
    model = fit(validation_fraction=0)
    assert not any(key.startswith("valid") for row in model.history_ for key in row)
    assert model.data_ == {"n_crystals": 20, "n_train": 20, "n_valid": 0}


def test_float64_all_through(fit, graphs, labels):
    model = fit(dtype="float64")
    tensors = model.net_.module_.state_dict().values()
    assert {t.dtype for t in tensors if t.is_floating_point()} == {torch.float64}
    single = fit(dtype="float32")
    assert single.predict(graphs).energy != pytest.approx(model.predict(graphs).energy, rel=1e-12)
    assert single.predict(graphs).energy == pytest.approx(model.predict(graphs).energy, abs=0.05)
    losses = model._loss(graphs, model.spec_.objective.make_targets(graphs, labels))
    for name, value in plain_losses(model, graphs, labels).items():
        assert losses[name] == pytest.approx(value, rel=1e-12)


def test_a_clone_of_the_net_starts_with_fresh_weights(fit):
    net = fit(max_epochs=3, learning_rate=0.05).net_
    trained = {name: value.clone() for name, value in net.module_.state_dict().items()}
    with torch.random.fork_rng(devices=[]):
        fresh = clone(net)
        assert not hasattr(fresh, "module_") or not fresh.initialized_
        fresh.initialize()
    name = "head.mlp.0.weight"
    assert not torch.equal(fresh.module_.state_dict()[name], trained[name])
    assert_same_weights(net.module_.state_dict(), trained)


def test_the_net_is_pickled_after_a_fit(fit):
    for settings in ({}, {"schedule": "plateau"}, {"ema_decay": 0.9, "verbose": 1}):
        net = fit(**settings).net_
        again = pickle.loads(pickle.dumps(net))
        assert_same_weights(again.module_.state_dict(), net.module_.state_dict())
        assert [row["train_loss"] for row in again.history] == net.history[:, "train_loss"]


def test_no_data_stays_in_the_fitted_estimator(fit, graphs, labels, tmp_path):
    parts = [graphs] * 30, [labels] * 30
    many = type(graphs).concatenate(parts[0]), type(labels).concatenate(parts[1])
    settings = {"batch_size": 1000, "checkpoint_dir": str(tmp_path), "schedule": "plateau"}
    small, large = (len(pickle.dumps(fit(data, **settings))) for data in ((graphs, labels), many))
    assert len(pickle.dumps(many)) > 5 * small
    assert large == pytest.approx(small, abs=200)


class Greedy(ForceField):
    """A force field that needs more memory than there is for more than ``limit`` crystals."""

    def __init__(self, limit: int = 100):
        super().__init__()
        self.limit = limit

    def build(self, backbone, layout):
        model = super().build(backbone, layout)
        model.register_forward_pre_hook(self._check)
        return model

    def _check(self, model, inputs):
        if len(inputs[0]) > self.limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")


def fit_greedy(graphs, labels, limit, **settings):
    chosen = {"max_epochs": 2, "batch_size": 8, "validation_fraction": 0.0, **settings}
    return Pretrainer(CGCNN(8, 1), Greedy(limit), random_state=0, **chosen).fit(graphs, labels)


def test_batches_that_do_not_fit_in_memory_are_halved_once(graphs, labels):
    with pytest.warns(PerformanceWarning, match=r"batches of 8 crystals.*Set max_edges=\d+"):
        model = fit_greedy(graphs, labels, limit=4)
    assert [row["train_batch_count"] for row in model.history_] == [5, 5]
    assert [row["epoch"] for row in model.history_] == [1, 2]


def test_half_batches_that_do_not_fit_either_are_an_error_with_advice(graphs, labels):
    with (
        pytest.warns(PerformanceWarning, match="half of that"),
        pytest.raises(torch.cuda.OutOfMemoryError, match=r"out of memory.*Set max_edges=\d+"),
    ):
        fit_greedy(graphs, labels, limit=3)
