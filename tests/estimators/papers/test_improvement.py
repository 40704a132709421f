"""The papers' measure, against the averages that they print."""

import numpy as np
import pandas as pd
import pytest

from gnnpre import average_improvement

SETS = [
    "jdft2d",
    "phonons",
    "dielectric",
    "gvrh",
    "kvrh",
    "perovskites",
    "2d",
    "mof",
    "surface",
    "gap",
    "form",
]
BASELINE = [62.3, 59.5, 0.355, 0.0947, 0.0681, 0.0437, 0.254, 0.315, 0.0821, 0.223, 0.0402]
# Jia et al. (2024), table 4: CGCNN with mean pooling; the last number is the printed average.
TABLE_4 = {
    "1:0:0": (42.2, 54.6, 0.313, 0.0921, 0.0677, 0.0364, 0.208, 0.299, 0.0752, 0.215, 0.0395, 9.94),
    "0:1:0": (42.3, 51.0, 0.332, 0.102, 0.0746, 0.0403, 0.249, 0.302, 0.0758, 0.225, 0.0363, 6.00),
    "0:1:1": (49.5, 49.5, 0.360, 0.0993, 0.0738, 0.0400, 0.267, 0.301, 0.0753, 0.217, 0.0345, 5.06),
    "1:1:1": (46.9, 41.7, 0.255, 0.0887, 0.0659, 0.0360, 0.204, 0.295, 0.0730, 0.212, 0.0353, 14.9),
    "1:500:500": (
        *(39.6, 44.4, 0.309, 0.0932, 0.0715, 0.0357, 0.205, 0.289, 0.0694, 0.210, 0.0322),
        14.4,
    ),
    "denoising": (
        *(41.2, 55.1, 0.287, 0.0873, 0.0661, 0.0370, 0.185, 0.291, 0.0739, 0.212, 0.0326),
        14.1,
    ),
}


@pytest.mark.parametrize("row", TABLE_4)
def test_table_4_gives_its_last_column(row):
    *errors, printed = TABLE_4[row]
    digits = 2 if printed < 10 else 1
    assert round(average_improvement(BASELINE, errors), digits) == printed
    named = average_improvement(
        dict(zip(SETS, BASELINE, strict=True)),
        dict(reversed(list(zip(SETS, errors, strict=True)))),
    )
    assert named == pytest.approx(average_improvement(BASELINE, errors), rel=1e-12)


def test_better_is_positive():
    assert average_improvement([2.0], [1.0]) == 50.0
    assert average_improvement([2.0], [3.0]) == -50.0
    assert average_improvement([2.0, 1.0], [2.0, 0.0]) == 50.0


def test_arrays_and_series_will_do():
    assert average_improvement(np.array([2.0, 4.0]), np.array([1.0, 4.0])) == 25.0
    one, two = pd.Series({"a": 2.0, "b": 4.0}), pd.Series({"b": 4.0, "a": 1.0})
    assert average_improvement(one, two) == 25.0
    assert isinstance(average_improvement(one, two), float)


NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("baseline", "model", "message"),
    [
        ({"a": 0.0}, {"a": 1.0}, r"baseline is 0.0 for data set a; expected .* > 0"),
        ({"a": 1.0, "b": -1.0}, {"a": 1.0, "b": 1.0}, r"baseline is -1.0 for data set b"),
        ({"a": 1.0, "b": NAN}, {"a": 1.0, "b": 1.0}, r"baseline is nan for data set b"),
        ({"a": INF}, {"a": 1.0}, r"baseline is inf for data set a"),
        ({"a": None}, {"a": 1.0}, r"baseline is None for data set a"),
        ({"a": 1.0}, {"a": "x"}, r"model is 'x' for data set a"),
        ({"a": 1.0}, {"a": NAN}, r"model is nan for data set a; expected .* >= 0"),
        ({"a": 1.0}, {"a": -2.0}, r"model is -2.0 for data set a"),
        ([1.0, 1.0], [1.0, NAN], r"model is nan for data set number 1"),
        ([1.0, 1.0], [1.0], r"baseline has 2 data sets and model 1; in one alone: number 1"),
        ({"a": 1.0, "b": 1.0}, {"a": 1.0, "c": 1.0}, r"in one alone: b, c\. Expected the same"),
        ({}, {}, r"baseline has 0 data sets and model 0\. Expected .* one at least"),
        ([], [], r"baseline has 0 data sets"),
    ],
)
def test_errors_that_make_no_sense_are_named(baseline, model, message):
    with pytest.raises(ValueError, match=message):
        average_improvement(baseline, model)


@pytest.mark.parametrize(
    ("baseline", "model", "message"),
    [
        ({"a": 1.0}, [1.0], r"baseline is a dict and model a list: expected two mappings"),
        (1.0, [1.0], r"baseline is of type float; expected a mapping"),
        ([1.0], "1.0", r"model is of type str; expected a mapping"),
    ],
)
def test_forms_that_make_no_sense_are_named(baseline, model, message):
    with pytest.raises(TypeError, match=message):
        average_improvement(baseline, model)
