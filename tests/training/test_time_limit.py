"""``max_time`` ends a training properly: in time, with its schedule at the end."""

import time

import numpy as np
import pytest
from skorch.callbacks import Callback

from gnnpre.training import _time_limit
from gnnpre.training._time_limit import TimeLimit, seconds_of
from training.conftest import Recorder


class Clock:
    """A clock that a test moves."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    return clock


class Tick(Callback):
    """Let some time pass in each step of training, and in each batch of validation."""

    def __init__(self, clock, step=1.0, validation=0.0):
        self.clock, self.step, self.validation = clock, step, validation

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        self.clock.now += self.step if training else self.validation


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(None, None), (90, 90), ("90s", 90), ("10min", 600), ("1h 30min", 5400), ("2 d", 172800)],
)
def test_times_are_seconds_or_text(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "bad", [0, -1, True, float("nan"), "10", "ten minutes", "", "-5min", "5m", [5]]
)
def test_other_times_are_refused(fit, bad):
    with pytest.raises(ValueError, match="max_time="):
        fit(max_time=bad)


def test_the_used_fraction_only_grows(clock):
    limit = TimeLimit(10.0, spent=4.0)
    assert limit.used() == pytest.approx(0.4)
    limit.validation = 2.0
    assert limit.used() == pytest.approx(0.5)
    limit.validation = 0.0
    assert limit.used() == pytest.approx(0.5)
    clock.now += 20.0
    assert limit.is_over()
    assert limit.remaining() == 0.0


def test_training_ends_with_the_time_and_its_schedule_too(fit, clock):
    # 18 crystals in batches of 8: three steps of one second in an epoch, a validation of two.
    recorder = Recorder()
    tick = Tick(clock, validation=2.0)
    model = fit(max_epochs=1000, max_time=23, callbacks=[tick, recorder])
    rates = [rate[0] for rate in recorder.rates]
    # Four epochs take 20 s. One more step fits before the validation that ends at 23 s.
    assert [row["train_batch_count"] for row in model.history_] == [3, 3, 3, 3, 1]
    assert clock.now == 123.0
    assert "valid_loss" in model.history_[-1]
    assert rates[-1] < 0.05 * max(rates)
    longer = Recorder()
    fit(max_epochs=5, callbacks=[longer])
    assert rates[-1] == pytest.approx(longer.rates[-1][0], rel=3)


def test_enough_time_changes_nothing(fit, graphs):
    forces = [fit(max_time=limit).predict(graphs).forces for limit in (None, 3600)]
    np.testing.assert_array_equal(*forces)


def test_one_step_is_made_however_short_the_time(fit, clock):
    model = fit(max_time=1e-6, callbacks=[Tick(clock)])
    assert len(model.history_) == 1
    assert model.history_[0]["train_batch_count"] == 1


def test_layers_join_by_the_clock(fit, clock, graphs, labels, tmp_path):
    from gnnpre import PropertyRegressor

    path = tmp_path / "model.gnnpre"
    fit(max_epochs=1).save(path)
    trainable = []

    class Watch(Callback):
        def on_batch_begin(self, net, training=False, **kwargs):
            if training:
                trainable.append(any(p.requires_grad for p in net.module_.backbone.parameters()))

    model = PropertyRegressor(
        pretrained=path,
        strategy="frozen_then_full",
        frozen_epochs=0.5,
        max_epochs=10_000,
        max_time=24,
        batch_size=8,
        random_state=0,
        diagnose=False,
        callbacks=[Tick(clock), Watch()],
    )
    model.fit(graphs, labels.energy)
    # Two groups of layers join, at 6 and at 12 seconds.
    assert not any(trainable[:6])
    assert all(trainable[-9:])


def test_a_resumed_training_has_the_rest_of_its_time(fit, clock, tmp_path):
    settings = {"max_epochs": 100, "max_time": 12, "checkpoint_dir": str(tmp_path), "resume": True}

    class Stop(Exception):
        pass

    class Fail(Tick):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 3:
                raise Stop

    with pytest.raises(Stop):
        fit(callbacks=[Fail(clock)], **settings)
    clock.now += 1000.0  # the pause does not count
    model = fit(callbacks=[Tick(clock)], **settings)
    assert [row["train_batch_count"] for row in model.history_] == [3, 3, 3, 3]
    assert _time_limit.TimeLimit(None).used() == 0.0


def test_one_time_in_other_words_resumes_the_same_training(fit, clock, tmp_path):
    settings = {"max_epochs": 1, "checkpoint_dir": str(tmp_path), "resume": True}
    for max_time, batch_size in (("1min", 8), ("60s", np.int64(8)), (np.float32(60), 8)):
        fit(max_time=max_time, batch_size=batch_size, **settings)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    fit(max_time="61s", batch_size=8, **settings)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
