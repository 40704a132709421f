"""Structures that several of the tests here use."""

import pytest
from ase import Atoms


@pytest.fixture
def hydrogen() -> Atoms:
    return Atoms("H2", [[0.0, 0.0, 0.0], [0.4, 0.5, 0.3]])
