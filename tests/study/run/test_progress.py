"""Lines about epochs and jobs."""

import pytest

from gnnpre.study import run_study
from gnnpre.study.run import _progress
from gnnpre.study.run._progress import EpochLines, duration
from study.small_studies import records_of, small_study, write_table


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a test sets."""
    times = [0.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: times[0])
    return times


def train(lines, clock, epochs, seconds=10.0):
    validation, training = lines.callbacks()
    for epoch in epochs:
        clock[0] += seconds
        validation.report(epoch, 0.5)
        training.report(epoch, 0.25)


def test_a_line_a_minute_the_first_and_the_last_epoch(clock):
    written = []
    train(EpochLines(written.append, "job", 20), clock, range(20))
    epochs = [int(line.split()[1]) for line in written]
    assert epochs == [1, 7, 13, 19, 20]
    assert written[0] == ("epoch 1 of 20 job: training loss 0.25, validation 0.5, 3.2 min left")
    assert "left" not in written[-1]


def test_epochs_of_an_earlier_process_take_no_time(clock):
    written = []
    train(EpochLines(written.append, "job", 100), clock, range(90, 100))
    # Nine more of ten seconds, not a hundred epochs in ten seconds.
    assert "90 s left" in written[0].replace("1.5 min", "90 s")


def test_spans_have_the_unit_that_suits_them():
    assert [duration(s) for s in (5.2, 61.0, 9000.0)] == ["5 s", "1.0 min", "2.5 h"]


def test_a_study_tells_of_reading_training_and_what_is_left(tmp_path):
    lines = []
    path = write_table(tmp_path / "alloys.json", 20)
    run_study(small_study(path, seeds=[1, 2]), tmp_path / "run", progress=lines.append)
    # Progress is not part of the results.
    assert {str(record["warnings"]) for record in records_of(tmp_path / "run").values()} == {"[]"}
    text = "\n".join(lines)
    assert "reading 1 files for pretraining tiny noise" in text
    assert "building graphs of 20 crystals (0 left out as leaks)" in text
    assert "epoch 1 of 2 of pretraining tiny noise: training loss" in text
    assert "epoch 3 of 3 of evaluation alloys tiny scratch seed 1: training loss" in text
    starts = [line for line in lines if " start " in line]
    assert starts[0].endswith("17 of 17 jobs left")
    # All that is left is like a job that was done.
    assert "1 of 17 jobs left, about " in starts[-1]
