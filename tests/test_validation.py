"""Checks of paths, wherever a path comes in, and of single values that are no containers."""

import numpy as np
import pytest
import torch

from gnnpre import CrystalGraphs, FrameLabels, StructureToGraph
from gnnpre.datasets import make_emt_frames, read_matbench


@pytest.mark.parametrize("value", [3, None, np.ones(2), ["a"], print])
@pytest.mark.parametrize("function", [read_matbench, CrystalGraphs.load, FrameLabels.load])
def test_no_path(function, value):
    with pytest.raises(TypeError, match=rf"path=.* is of type {type(value).__name__}; expected a str"):
        function(value)


def test_path_with_a_nul_character():
    with pytest.raises(ValueError, match="holds a NUL character"):
        FrameLabels.load("a\0b")


@pytest.mark.parametrize("value", [torch.tensor(1.0), np.float64(1.0)])
def test_a_number_is_no_container(value):
    with pytest.raises(TypeError, match="expected a list"):
        StructureToGraph().fit_transform(value)


@pytest.mark.parametrize("name", ["strain", "rattle"])
def test_sizes_of_frames_are_numbers(name):
    with pytest.raises(ValueError, match=f"{name} .* must be between 0"):
        make_emt_frames(2, **{name: np.zeros((2, 2))})
