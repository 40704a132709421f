"""Estimates of how long a study takes."""

import numpy as np
import pytest

from gnnpre.study import Estimate, EstimateRow, Pretraining, estimate_study, run_study
from gnnpre.study.plan._plan import plan_jobs
from study.small_studies import small_study, write_table


@pytest.fixture(scope="module")
def alloys(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("data") / "alloys.json")


def test_estimate_counts_every_job_and_writes_nothing(alloys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(alloys.parent.rglob("*"))
    study = small_study(alloys)
    estimate = estimate_study(study)
    assert sum(row.n_jobs for row in estimate.rows) == len(plan_jobs(study).jobs)
    assert sorted(alloys.parent.rglob("*")) == before
    assert list(tmp_path.iterdir()) == []


def test_pretrainings_and_trainings_are_timed_and_the_rest_is_not(alloys):
    rows = {row.what: row for row in estimate_study(small_study(alloys)).rows}
    assert rows["pretraining tiny noise"].core_hours > 0
    trained = rows["evaluation alloys tiny scratch, noise, three"]
    assert trained.n_jobs == 4
    assert trained.core_hours == pytest.approx(4 * trained.seconds / 3600)
    assert np.isnan(rows["evaluation alloys without training"].seconds)


def test_twice_the_epochs_take_twice_as_long(alloys, monkeypatch):
    # Equal times of epochs, whatever else this machine does.
    monkeypatch.setattr("gnnpre.study.run._estimate._epoch_seconds", lambda history: 0.5)
    small, large = (
        estimate_study(small_study(alloys, finetuning={"max_epochs": n}), only=["scratch"]).rows[0]
        for n in (10, 20)
    )
    assert large.seconds == pytest.approx(2 * small.seconds, rel=0.05)


def test_jobs_that_are_done_do_not_count(alloys, tmp_path):
    study = small_study(alloys)
    run_study(study, tmp_path, only=["scratch", "mean"])
    names = " ".join(row.what for row in estimate_study(study, tmp_path).rows)
    assert "scratch" not in names
    assert "noise, three" in names


def test_threads_cost_their_cores(alloys, monkeypatch):
    monkeypatch.setattr("gnnpre.study.run._estimate._Timer.seconds", lambda *_: 36.0)
    one, two = (
        estimate_study(small_study(alloys), threads=n, only=["scratch"]).core_hours for n in (1, 2)
    )
    assert (one, two) == (0.01, 0.02)


def test_sum_leaves_out_what_is_not_timed():
    rows = (EstimateRow("a", 1, 3600.0, 1.0), EstimateRow("b", 2, float("nan"), float("nan")))
    assert Estimate(rows).core_hours == 1.0
    assert "not timed" in str(Estimate(rows))


def test_missing_data_are_named_before_anything_is_timed(alloys, tmp_path):
    noise = small_study(alloys).pretrainings[0]
    frames = Pretraining(name="noise", objective=noise.objective, sources=["./f.extxyz"])
    with pytest.raises(FileNotFoundError, match=r"f\.extxyz"):
        estimate_study(small_study(alloys, pretrainings=[frames]), data_home=tmp_path)
