"""Values in another unit, or placeholders, among the properties."""

import warnings

import numpy as np
import pandas as pd
import pytest

from gnnpre import CGCNN, PropertyRegressor
from gnnpre.exceptions import DataQualityWarning


def fit(data, y):
    return PropertyRegressor(CGCNN(8, 1), max_epochs=1, random_state=0).fit(data.graphs, y)


@pytest.mark.parametrize("value", [-1e6, 1e9])
def test_a_value_far_from_all_others_is_named(data, value):
    y = pd.Series(data.y, index=[f"mp-{i}" for i in range(20)])
    y.iloc[5] = value
    message = r"y is .* at row 5 \(index 'mp-5'\), while .*1 of 20 are .*another unit.*logarithm"
    with pytest.warns(DataQualityWarning, match=message):
        fit(data, y)


def test_the_column_is_named_and_missing_values_are_left_out(data):
    y = np.column_stack([data.y, data.y])
    y[3, 0], y[7, 1] = np.nan, -9999.0
    with pytest.warns(DataQualityWarning, match=r"y, in column 1, is -9999 at row 7"):
        fit(data, y)


@pytest.mark.parametrize("case", ["as it is", "mostly zero", "long tail"])
def test_usual_properties_are_no_warning(data, case):
    rng = np.random.default_rng(0)
    y = {
        "as it is": data.y,
        "mostly zero": np.r_[np.zeros(18), 5.0, 7.0],
        "long tail": np.exp(rng.normal(size=20)),
    }[case]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(data, y)
    assert not [w for w in caught if "another unit, or a placeholder" in str(w.message)]
