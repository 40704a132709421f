"""The rules by which the harness judges: each class of outcome is told from the others."""

import os
import signal
import time

import numpy as np
import pytest

import gnnpre
from fuzz.outcomes import CLEAR, CRASH, HANG, MEMORY, NAN, RAW, RIGHT, WRONG, WrongResult
from fuzz.runner import Case, run_cases
from gnnpre.datasets import read_frames


def _raise_keyerror():
    return {}["missing"]


def _convert_text():
    return int("a")


def _spin():
    while True:
        pass


def _wrong():
    raise WrongResult("differs")


ACTIONS = {
    "clear": (lambda: gnnpre.StructureToGraph(cutoff=-1).fit_transform([]), CLEAR),
    "missing file": (lambda: read_frames("none.xyz"), CLEAR),
    "right": (lambda: np.ones(3), RIGHT),
    "nan": (lambda: [np.array([1.0, np.nan])], NAN),
    "key": (_raise_keyerror, RAW),
    "value error that nobody raised on purpose": (_convert_text, RAW),
    "signal": (lambda: os.kill(os.getpid(), signal.SIGSEGV), CRASH),
    "spin": (_spin, HANG),
    "memory": (lambda: np.ones(2 << 30), MEMORY),
    "wrong": (_wrong, WRONG),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_outcome(name, tmp_path, monkeypatch):
    action, expected = ACTIONS[name]
    monkeypatch.setattr("fuzz.runner.CPU_SECONDS", 1)
    cases = [Case("attack", number, 0) for number in range(2)]
    reports = list(run_cases(cases, {"attack": lambda *_: (name, action)}, None, tmp_path))
    assert [report.outcome for report in reports] == [expected] * 2
    assert [report.description for report in reports] == [name] * 2
    assert not list(tmp_path.iterdir())


def test_sleeping_case_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("fuzz.runner.WALL_SECONDS", 0.5)
    attacks = {"attack": lambda *_: ("sleep", lambda: time.sleep(60))}
    (report,) = run_cases([Case("attack", 0, 0)], attacks, None, tmp_path)
    assert report.outcome == HANG


def test_case_that_cannot_be_made_is_a_fault(tmp_path):
    attacks = {"attack": lambda *_: _raise_keyerror()}
    (report,) = run_cases([Case("attack", 0, 0)], attacks, None, tmp_path)
    assert report.outcome == "broken case"
    assert "KeyError" in report.error


def test_a_case_depends_on_its_numbers_alone():
    draws = [Case("a", 3, 0).rng().random(), Case("a", 3, 0).rng().random()]
    neighbours = [Case("b", 3, 0), Case("a", 4, 0), Case("a", 3, 1)]
    assert draws[0] == draws[1]
    assert all(case.rng().random() != draws[0] for case in neighbours)
