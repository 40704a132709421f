"""A step on a GPU never waits for it, and no tensor of the host is in it, as shown without a GPU.

What PyTorch's own functions wait for inside (``torch.linalg.eigh`` looks whether it has converged)
is not seen here.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pretended_gpu import CASES, FAULTS

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def errors():
    """Errors of all cases, from a process of its own: the device is registered for good."""
    paths = [str(TESTS.parent), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, TESTS / "pretended_gpu.py"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", CASES)
def test_no_training_waits(errors, name):
    assert errors[name] is None


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_found(errors, name):
    assert errors[name]
