"""Trainings that diverge, are interrupted, or run out of memory."""

import pickle
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, EarlyStopping

from gnnpre import CGCNN, Denoising, ForceField, Pretrainer, PropertyClassifier, PropertyRegressor
from gnnpre.exceptions import PerformanceWarning, TrainingWarning
from training.killed_runs import NoisyVolume
from training.losses import STILL, assert_same_weights


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


class PoisonousLastStep(Callback):
    """Makes a gradient NaN in the last step of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, **kwargs):
        self.n_steps = 0

    def on_grad_computed(self, net, named_parameters, **kwargs):
        self.n_steps += 1
        is_last = self.n_steps == net.history[0].get("train_batch_count")
        if len(net.history) == self.epoch and is_last:
            for _, parameter in named_parameters:
                parameter.grad.fill_(float("nan"))


@pytest.mark.parametrize(
    "settings",
    [
        {"validation_fraction": 0},
        {"restore_best": False},
        {"ema_decay": 0.8, "restore_best": False},
    ],
    ids=["no validation", "last", "average"],
)
def test_a_last_step_that_diverges_keeps_the_best_weights(fit, graphs, settings):
    match = r"not finite after epoch 3: training diverged.*weights of epoch [12]\."
    with pytest.warns(TrainingWarning, match=match):
        model = fit(max_epochs=3, callbacks=[PoisonousLastStep(3)], **settings)
    assert np.isfinite(model.predict(graphs).energy).all()


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
