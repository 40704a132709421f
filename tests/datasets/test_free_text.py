"""Comment lines that are text for people."""

import warnings

import numpy as np
import pytest

from gnnpre.datasets import read_frames
from gnnpre.exceptions import DataQualityWarning


def write(path, *comments: str):
    path.write_text("".join(f"1\n{comment}\nH 0 0 0\n" for comment in comments))
    return path


def test_text_is_one_column(tmp_path):
    # As words, each number would be a column of its own.
    comments = [f"step {i} of a run, T {300 + i}" for i in range(50)]
    path = write(tmp_path / "run.xyz", *comments, "", "temperature=300")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, labels = read_frames(path)
    assert set(labels.info) == {"comment", "temperature", "formula", "file"}
    assert labels.info["comment"].tolist() == [*comments, None, None]


def test_a_quote_in_a_text_is_no_error(tmp_path):
    _, labels = read_frames(write(tmp_path / "a.xyz", "Sam's \"molecule"))
    assert labels.info["comment"].tolist() == ["Sam's \"molecule"]


@pytest.mark.parametrize(
    "comment",
    [
        " energy: -5.0705 gnorm: 0.00006 xtb: 6.4.1 (23d549d)",
        "Coordinates from ORCA-job water E -76.123",
        "Total Energy (eV) -12.5",
        "-76.4",
    ],
)
def test_an_energy_in_a_text_is_named(tmp_path, comment):
    path = write(tmp_path / "a.xyz", comment, "energy=-1.0")
    with pytest.warns(DataQualityWarning, match=r"of 1 of 2 frames are text, .*frame 0 of"):
        _, labels = read_frames(path)
    np.testing.assert_array_equal(labels.energy, [np.nan, -1.0])


@pytest.mark.parametrize("comment", ["Created by OpenBabel 3.1.1", "water", "frame 17", "E. coli"])
def test_other_texts_are_read_in_silence(tmp_path, comment):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_frames(write(tmp_path / "a.xyz", comment))
