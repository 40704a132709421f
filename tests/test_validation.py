"""Checks of paths, wherever a path comes in, and of single values that are not containers."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from gnnpre import CGCNN, CrystalGraphs, FrameLabels, PropertyRegressor, StructureToGraph
from gnnpre._validation import check_n_jobs, check_number
from gnnpre.datasets import make_emt_frames, make_emt_property


@pytest.mark.parametrize("value", [3, None, np.ones(2), ["a"], print])
@pytest.mark.parametrize("function", [CrystalGraphs.load, FrameLabels.load])
def test_no_path(function, value):
    with pytest.raises(
        TypeError, match=rf"path=.* is of type {type(value).__name__}; expected a str"
    ):
        function(value)


@pytest.mark.parametrize("value", [3, np.ones(2), slice(None)])
def test_models_are_saved_and_loaded_by_paths(value):
    structures, y = make_emt_property(8, max_atoms=4, random_state=0)
    model = PropertyRegressor(CGCNN(4, 1), max_epochs=1, random_state=0)
    with pytest.raises(TypeError, match=r"checkpoint_dir=.* is of type"):
        clone(model).set_params(checkpoint_dir=print).fit(structures, y)
    model.fit(structures, y)
    with pytest.raises(TypeError, match=r"path=.* is of type"):
        model.save(value)
    with pytest.raises(TypeError, match=r"path=.* is of type"):
        PropertyRegressor.load(value)


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


@pytest.mark.parametrize("value", [2**63, -(2**63), 10**400, 0, 1.5, True, "2"])
def test_numbers_of_processes_out_of_range(value):
    with pytest.raises(ValueError, match=r"n_jobs=.*; expected None or an int"):
        check_n_jobs(value)
    assert check_n_jobs(-1) == -1


def test_integers_that_no_array_holds():
    check_number("cutoff", 2**63 - 1, integer=True)
    check_number("cutoff", 1e30)
    with pytest.raises(ValueError, match=r"^cutoff=1000.* does not fit .*64 bits; .*write 1e\+30"):
        check_number("cutoff", 10**30)
    with pytest.raises(ValueError, match=r"^cutoff=1000.* does not fit .*64 bits\.$"):
        check_number("cutoff", 10**30, integer=True)


@pytest.mark.parametrize("name", ["compile", "n_processes", "gradient_clip", "strategy", "dtype"])
@pytest.mark.parametrize("value", [pd.NA, np.ones(2), pd.DataFrame({"a": [1]}), 10**30], ids=repr)
def test_settings_without_a_truth_value(name, value):
    """Comparing them with a word would raise an error that names nothing."""
    structures, y = make_emt_property(8, max_atoms=4, random_state=0)
    model = PropertyRegressor(CGCNN(4, 1), max_epochs=1, **{name: value})
    with pytest.raises(ValueError, match=f"^{name}="):
        model.fit(structures, y)
