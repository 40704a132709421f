"""Leaving out frames, and the warning if hardly any remain."""

import warnings

import numpy as np
import pandas as pd
import pytest

from gnnpre.datasets import filter_frames, make_emt_frames
from gnnpre.graphs import Crystals, FrameLabels


@pytest.fixture
def labels():
    forces = np.array([[19.0, 0, 0], [0, 0, 0], [0, 0, 0], [15, 15, 0], [np.nan, 0, 0]])
    stress = np.zeros((3, 3, 3))
    stress[2, 0, 1] = stress[2, 1, 0] = -0.7
    return FrameLabels([2, 2, 1], forces=forces, stress=stress)


def test_by_force_and_stress(labels):
    assert filter_frames(["a", "b", "c"], labels)[0] == ["a"]
    assert filter_frames(["a", "b", "c"], labels, max_stress=None)[0] == ["a", "c"]
    assert filter_frames(["a", "b", "c"], labels, max_force=None)[0] == ["a", "b"]
    remaining, remaining_labels = filter_frames(
        ["a", "b", "c"], labels, max_force=30.0, max_stress=1.0
    )
    assert remaining == ["a", "b", "c"]
    np.testing.assert_array_equal(remaining_labels.forces, labels.forces)


def test_crystals_remain_crystals():
    structures, labels = make_emt_frames(20, random_state=0)
    packed = Crystals.from_structures(structures)
    remaining, remaining_labels = filter_frames(packed, labels, max_force=5.0)
    assert isinstance(remaining, Crystals)
    np.testing.assert_array_equal(remaining.n_atoms, remaining_labels.n_atoms)
    assert len(remaining) == len(filter_frames(structures, labels, max_force=5.0)[0])


def test_missing_labels_leave_nothing_out():
    assert filter_frames(["a"], FrameLabels([3]))[0] == ["a"]


def test_a_limit_that_leaves_out_everything_is_named():
    stress = np.broadcast_to(8.0 * np.eye(3), (4, 3, 3))
    labels = FrameLabels([1] * 4, forces=np.ones((4, 3)), stress=stress)
    expected = r"None of 4 frames remain: max_stress=0.6242 eV/Å\^3 leaves out 4 .*median is 8 "
    with pytest.warns(UserWarning, match=expected) as record:
        assert filter_frames(list("abcd"), labels)[0] == []
    assert record[0].filename == __file__
    assert "max_force" not in str(record[0].message)


def test_a_limit_that_leaves_out_most():
    forces = np.zeros((20, 3))
    forces[1:, 0] = 50.0
    with pytest.warns(UserWarning, match="1 of 20 frames remain: max_force=20 eV/Å leaves out 19"):
        filter_frames(["a"] * 20, FrameLabels([1] * 20, forces=forces))
    forces[:4] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filter_frames(["a"] * 20, FrameLabels([1] * 20, forces=forces))


def test_arguments_that_do_not_fit():
    labels = FrameLabels([1, 1])
    with pytest.raises(ValueError, match="1 structures and 2 labels"):
        filter_frames(["a"], labels)
    with pytest.raises(TypeError, match="labels must be FrameLabels; got list"):
        filter_frames(["a"], [1.0])
    for structures in (list, {"a": 1, "b": 2}, {"a", "b"}, iter(["a", "b"])):
        with pytest.raises(TypeError, match="structures must be Crystals or a list; got"):
            filter_frames(structures, labels)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), "a", True, [1.0], 1j])
def test_limits_that_are_no_positive_number(value):
    labels = FrameLabels([1, 1])
    with pytest.raises(ValueError, match=r"max_force must be a positive number of eV/Å"):
        filter_frames(["a", "b"], labels, max_force=value)
    with pytest.raises(ValueError, match=r"max_stress must be a positive number of eV/Å\^3"):
        filter_frames(["a", "b"], labels, max_stress=value)


def test_rows_of_a_series_are_taken_by_position(labels):
    """Its index may name other rows: crystals would stand beside the labels of others."""
    crystals = [f"crystal {row}" for row in range(len(labels))]
    series = pd.Series(crystals, index=np.arange(len(labels))[::-1])
    remaining, kept = filter_frames(series, labels, max_force=None, max_stress=0.5)
    expected, same = filter_frames(crystals, labels, max_force=None, max_stress=0.5)
    assert 0 < len(kept) == len(same) < len(labels)
    assert remaining == expected
