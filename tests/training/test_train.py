"""The training loop: losses, stopping, averages, clipping, callbacks, and what it leaves behind."""

import pickle
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import PredefinedSplit
from skorch.callbacks import Callback

from gnnpre import CGCNN, ForceField, FrameLabels, Pretrainer
from gnnpre.training import _progress
from training.losses import STILL, assert_same_weights


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
    # Short names of the losses, and each term in its unit.
    assert re.search(r"train [\d.e+-]+, valid [\d.e+-]+, energy [\d.e+-]+ eV/atom, forces", err)


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
