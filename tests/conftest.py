"""Fixtures for all tests, and the rule for tests on real data."""

import os
import signal
import threading
from pathlib import Path

import pytest

DATA_VARIABLE = "GNNPRE_DATA"


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread():
    # Tests run in parallel processes; threads within each would only fight for the cores.
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_interrupts():
    # A process that was started in the background ignores it, and tests press Ctrl-C.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real data sets: without the variable a skip, with it never."""
    location = os.environ.get(DATA_VARIABLE)
    if not location:
        pytest.skip(f"needs real data: set {DATA_VARIABLE} to the folder that holds it")
    path = Path(location)
    if not path.is_dir():
        pytest.fail(f"{DATA_VARIABLE} is {location!r}, which is not a folder")
    return path


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Fail a test on real data that was skipped although ``GNNPRE_DATA`` is set."""
    report = yield
    expects_data = "data_dir" in getattr(item, "fixturenames", ()) and os.environ.get(DATA_VARIABLE)
    if expects_data and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped although {DATA_VARIABLE} is set: {call.excinfo.value}"
    return report
