"""Parameters of the wrong type end in an error that names them, for all readers and writers."""

import numpy as np
import pandas as pd
import pytest
import torch

from cases import extxyz
from gnnpre import datasets
from gnnpre.datasets import read_frames

WRONG = [3, -1, 2.5, float("nan"), b"x", {"a": 1}, np.array([1, 2]), object(), True, (None,), pd.NA]
WRONG += [np.array("x"), torch.tensor(1.0)]


@pytest.fixture
def path(write_frames):
    return write_frames(extxyz("energy=1"))


def name_of(value):
    return type(value).__name__


@pytest.mark.parametrize("value", WRONG, ids=name_of)
@pytest.mark.parametrize(
    "parameter",
    [
        *("energy_key", "forces_key", "stress_key", "stress_order"),
        *("units", "group_key", "index", "format"),
    ],
)
def test_read_frames(path, parameter, value):
    with pytest.raises((TypeError, ValueError), match=parameter):
        read_frames(path, **{parameter: value})


@pytest.mark.parametrize("value", WRONG, ids=name_of)
@pytest.mark.parametrize(
    "reader",
    [
        *("read_frames", "read_matbench", "read_parquet", "read_aselmdb"),
        *("read_matpes", "read_mptrj", "read_alexandria", "read_structures"),
    ],
)
def test_paths(reader, value):
    if isinstance(value, dict) and reader in {"read_frames", "read_structures"}:
        pytest.skip("a dict is a list of its keys")
    with pytest.raises((TypeError, FileNotFoundError, ValueError), match=r"path|source|no file|a "):
        getattr(datasets, reader)(value)


@pytest.mark.parametrize("value", WRONG, ids=name_of)
@pytest.mark.parametrize(
    "parameter", ["targets", "id_column", "n_jobs", "errors", "structure_column"]
)
def test_read_structures(path, parameter, value):
    if parameter == "n_jobs" and type(value) is int:
        pytest.skip("a number of jobs")
    with pytest.raises((TypeError, ValueError), match=parameter):
        datasets.read_structures(path, **{parameter: value})


@pytest.mark.parametrize("value", WRONG, ids=name_of)
@pytest.mark.parametrize("writer", ["to_parquet", "to_extxyz"])
def test_writers(path, tmp_path, writer, value):
    crystals, labels = read_frames(path)
    write = getattr(datasets, writer)
    with pytest.raises(TypeError, match="labels must be FrameLabels or None"):
        write(tmp_path / "out", crystals, value)
    with pytest.raises((TypeError, ValueError), match=r"targets must be|Column 'a' has shape"):
        write(tmp_path / "out", crystals, labels, targets=value)
    with pytest.raises(TypeError, match=r"path=.* expected a str or Path"):
        write(value, crystals, labels)
    assert not (tmp_path / "out").exists()
