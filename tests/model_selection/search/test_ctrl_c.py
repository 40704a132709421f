"""Ctrl-C in a search: it comes as KeyboardInterrupt, at a moment that leaves no trial open."""

import signal

import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from gnnpre.training import allow_ctrl_c, delay_ctrl_c
from model_selection.search.search_cases import make_data, make_search, make_storage

pytestmark = pytest.mark.filterwarnings("ignore:X holds elements:UserWarning")


@pytest.fixture(autouse=True)
def usual_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def press_once(monkeypatch, owner, name):
    """Press Ctrl-C during the first call of a function, before it does its work."""
    work, pressed = getattr(owner, name), []

    def press(*args, **kwargs):
        if not pressed:
            pressed.append(True)
            signal.raise_signal(signal.SIGINT)
        return work(*args, **kwargs)

    monkeypatch.setattr(owner, name, press)


@pytest.mark.parametrize(
    "name",
    [
        "set_trial_state_values",  # the end of a trial
        "set_trial_system_attr",  # a report after an epoch, within a fit
        "__init__",  # the tables of a storage
    ],
)
def test_transactions_of_optuna_are_completed(monkeypatch, tmp_path, name):
    search = make_search(storage=make_storage("sqlite", tmp_path), study_name="s")
    with monkeypatch.context() as patch:
        press_once(patch, RDBStorage, name)
        with pytest.raises(KeyboardInterrupt):
            search.fit(*make_data())
    # The interrupted trial counts as failed, and the search goes on.
    search.fit(*make_data())
    states = {trial.state for trial in search.study_.trials}
    assert TrialState.RUNNING not in states
    assert len(search.cv_results_["params"]) >= 1


def test_a_fit_within_a_search_is_interrupted_at_once(monkeypatch):
    epochs = []

    def press(self, net, *args, **kwargs):
        epochs.append(len(net.history))
        signal.raise_signal(signal.SIGINT)

    search = make_search()
    monkeypatch.setattr("gnnpre.training.ReportEpoch.on_epoch_begin", press, raising=False)
    with pytest.raises(KeyboardInterrupt):
        search.fit(*make_data())
    assert len(epochs) == 1


def press(steps, name):
    signal.raise_signal(signal.SIGINT)
    steps.append(name)


def test_delay_waits_for_the_end_of_the_block():
    steps = []

    def work():
        with delay_ctrl_c(), delay_ctrl_c():
            press(steps, "inside")
        steps.append("after")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["inside"]


def test_what_is_allowed_inside_is_interrupted():
    steps = []

    def work(press_before):
        with delay_ctrl_c():
            if press_before:
                press(steps, "delayed")
            with allow_ctrl_c():
                press(steps, "allowed")

    for press_before in (True, False):
        with pytest.raises(KeyboardInterrupt):
            work(press_before)
    assert steps == ["delayed"]
