"""Learning rates: the schedules, and that each step is taken with theirs."""

import math

import numpy as np
import pytest
import torch

from gnnpre.training import CosineSchedule, PlateauSchedule
from gnnpre.training._schedules import resolve_schedule


@pytest.mark.parametrize(
    ("progress", "factor"),
    [(0.0, 0.0), (0.05, 0.5), (0.1, 1.0), (0.55, 0.6), (1.0, 0.2), (1.5, 0.2)],
)
def test_cosine_warms_up_and_falls(progress, factor):
    assert CosineSchedule(warmup=0.1, final=0.2).factor(progress) == pytest.approx(factor)


def test_cosine_agrees_with_torch_without_warmup():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20, eta_min=0.01)
    for step in range(20):
        expected = optimizer.param_groups[0]["lr"]
        assert CosineSchedule(warmup=0.0, final=0.01).factor(step / 20) == pytest.approx(expected)
        optimizer.step()
        scheduler.step()


def test_warmup_over_all_of_the_training_only_rises():
    schedule = CosineSchedule(warmup=1.0)
    assert [schedule.factor(p) for p in (0.0, 0.25, 1.0)] == [0.0, 0.25, 1.0]


@pytest.mark.parametrize("max_edges", [None, 150])
def test_cosine_sets_the_rate_of_every_step(fit, recorder, max_edges):
    schedule = CosineSchedule(warmup=0.3, final=0.1)
    model = fit(
        max_epochs=4,
        batch_size=5,
        max_edges=max_edges,
        learning_rate=3e-3,
        schedule=schedule,
        callbacks=[recorder],
    )
    expected = []
    for epoch, row in enumerate(model.history_):
        n = row["train_batch_count"]
        steps = [(epoch + (step + 1) / n) / 4 for step in range(n)]
        expected += [[3e-3 * schedule.factor(progress)] for progress in steps]
    np.testing.assert_allclose(recorder.rates, expected, rtol=1e-12)
    assert recorder.rates[-1] == pytest.approx([3e-4])


@pytest.mark.parametrize("monitor", ["valid_loss", "train_loss"])
def test_plateau_sets_the_rates_that_torch_sets(fit, recorder, monitor):
    schedule = PlateauSchedule(
        factor=0.5, patience=1, threshold=0.05, min_learning_rate=1e-4, monitor=monitor
    )
    model = fit(max_epochs=12, learning_rate=5e-3, schedule=schedule, callbacks=[recorder])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=5e-3)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=1, threshold=0.05, min_lr=1e-4
    )
    expected = []
    for row in model.history_:
        expected += [[optimizer.param_groups[0]["lr"]]] * row["train_batch_count"]
        scheduler.step(row[monitor])
    assert recorder.rates == expected
    assert len(np.unique(expected)) > 2


def test_plateau_takes_the_training_loss_where_nothing_validates(fit, recorder):
    schedule = PlateauSchedule(factor=0.5, patience=0, threshold=0.5)
    fit(max_epochs=3, validation_fraction=0, schedule=schedule, callbacks=[recorder])
    assert recorder.rates[-1][0] < recorder.rates[0][0]


def test_no_schedule_keeps_the_rate(fit, recorder):
    fit(max_epochs=3, learning_rate=1e-3, schedule=None, callbacks=[recorder])
    assert np.unique(recorder.rates).tolist() == [1e-3]


def test_schedules_have_names():
    assert isinstance(resolve_schedule("cosine"), CosineSchedule)
    assert isinstance(resolve_schedule("plateau"), PlateauSchedule)
    assert resolve_schedule(None) is None


@pytest.mark.parametrize("schedule", ["step", 0.1, CosineSchedule, ["cosine"], np.ones(2)])
def test_other_schedules_are_refused(schedule):
    with pytest.raises(ValueError, match=r"schedule=.*expected 'cosine', 'plateau', None"):
        resolve_schedule(schedule)


@pytest.mark.parametrize(
    ("schedule", "name"),
    [
        (CosineSchedule(warmup=-0.1), "warmup"),
        (CosineSchedule(warmup=1.1), "warmup"),
        (CosineSchedule(final=2.0), "final"),
        (CosineSchedule(final=math.nan), "final"),
        (PlateauSchedule(factor=0.0), "factor"),
        (PlateauSchedule(factor=1.0), "factor"),
        (PlateauSchedule(patience=-1), "patience"),
        (PlateauSchedule(patience=1.5), "patience"),
        (PlateauSchedule(threshold="a"), "threshold"),
        (PlateauSchedule(min_learning_rate=-1.0), "min_learning_rate"),
        (PlateauSchedule(monitor="loss"), "monitor"),
    ],
)
def test_bad_values_are_named_in_fit(fit, schedule, name):
    with pytest.raises(ValueError, match=f"{name}="):
        fit(schedule=schedule)
