"""The one door for labels: what is converted, what is refused, and in which words."""

from collections import deque
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch
from pymatgen.core.units import FloatWithUnit
from scipy.sparse import csr_array

from gnnpre._labels import as_floats, as_labels, column_names, label_codes
from gnnpre.exceptions import DataQualityWarning

NAN = np.nan


class ArrayLike:
    """An array-like that has ``__array__`` alone, as scikit-learn's checks make it."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def __array__(self, dtype=None, copy=None):
        return self.values

    def __array_function__(self, function, types, args, kwargs):
        raise TypeError(f"{function.__name__} may not be called")


FLOATS = [
    ([1, 2.5], [1.0, 2.5]),
    ((1, None), [1.0, NAN]),
    (range(2), [0.0, 1.0]),
    (deque([1, 2]), [1.0, 2.0]),
    (np.ma.masked_array([1, -999], [False, True]), [1.0, NAN]),
    (np.ma.masked_array([1.5, -999.0], [False, True]), [1.5, NAN]),
    ([np.float32(1), np.ma.masked], [1.0, NAN]),
    ([np.array([1, 2]), np.ma.masked_array([-999, 4], [True, False])], [[1.0, 2.0], [NAN, 4.0]]),
    (pd.Series([1, None], dtype="Int64"), [1.0, NAN]),
    (pd.Series([1.5, None], dtype="Float64", index=["a", "b"]), [1.5, NAN]),
    (pd.Series([1, pd.NaT], dtype=object), [1.0, NAN]),
    (pd.DataFrame({"a": [1, 2], "b": [1.0, pd.NA]}), [[1.0, 1.0], [2.0, NAN]]),
    (pd.Series([1.0, 2.0], dtype="category"), [1.0, 2.0]),
    (torch.tensor([1.0, 2.0], requires_grad=True), [1.0, 2.0]),
    (torch.tensor([1, 2], dtype=torch.bfloat16), [1.0, 2.0]),
    ([torch.tensor(1.0, requires_grad=True), torch.tensor(2)], [1.0, 2.0]),
    (ArrayLike([1.0, 2.0]), [1.0, 2.0]),
    ([Decimal("1.5"), Fraction(1, 2)], [1.5, 0.5]),
    ([FloatWithUnit(1.5, "eV"), 2], [1.5, 2.0]),
    (np.array([1, 2], dtype=np.float16), [1.0, 2.0]),
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("values", "expected"), FLOATS)
def test_array_likes_become_floats(values, expected):
    numbers = as_floats("y", values, n_rows=2)
    assert numbers.dtype == np.float64
    np.testing.assert_array_equal(numbers, expected)


def test_a_float64_array_is_not_copied():
    values = np.array([1.0, 2.0])
    assert as_floats("y", values) is values


def test_bools_are_numbers_where_the_caller_says_so():
    np.testing.assert_array_equal(as_floats("y", [True, False], allow_bool=True), [1.0, 0.0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([True, 1.5], r"1 of 2 rows hold bool, the first at row 0 \(True\).*astype\(float\)"),
        (np.array([True, False]), "2 of 2 rows hold bool"),
        ([1.0, "1.5"], r"1 of 2 rows hold text, the first at row 1 \('1.5'\).*pandas.to_numeric"),
        (
            ["1.5", "0.2 GPa"],
            r"2 of 2 rows hold text, of which 1 are not numbers, .* row 1",
        ),
        (pd.Series(["a", 1.0]), r"1 of 2 rows hold text, the first at row 0"),
        ([[1.0, "a"], [1.0, "b"]], r"2 of 2 rows hold text, the first at rows 0, 1 \('a'\)"),
        (
            pd.DataFrame({"K": [1.0, 2.0], "id": ["1", "mp-2"]}),
            r"1 are not numbers, the first at row 1 in column 'id' \('mp-2'\)",
        ),
        ([1, 2j], "2 of 2 rows hold complex"),
        (np.array(["2020-01-01"] * 2, dtype="datetime64[D]"), "rows hold date"),
        ([np.timedelta64(1, "D"), 1.0], "1 of 2 rows hold date"),
        ([pd.Timestamp("2020-01-01"), pd.NaT], "1 of 2 rows hold date"),
        ([10**400, 1], r"1000.*\(401 characters\) at position 0 does not fit into a float"),
        ([1.0, 10**400], "at position 1 does not fit"),
        ([np.inf, 1], "y is inf at row 0, infinite in 1 of 2 rows"),
        (pd.Series([1.0, -np.inf], index=["a", "b"]), r"y is -inf at row 1 \(index 'b'\)"),
        ([[1.0], [1.0, 2.0]], "rows hold lists.*same length"),
        ([object()] * 2, "rows hold other objects"),
        (np.zeros((2, 2, 2)), r"y has shape \(2, 2, 2\); X has 2 crystals: expected \(2,\) or"),
        (np.zeros((2, 0)), r"y has shape \(2, 0\)"),
        (3.0, r"y has shape \(\); X has 2 crystals"),
        ([1.0], r"y has shape \(1,\); X has 2 crystals"),
    ],
)
def test_values_that_are_no_numbers(values, message):
    with pytest.raises(ValueError, match=message):
        as_floats("y", values, n_rows=2)


def test_the_first_rows_are_named_and_all_are_counted():
    values = pd.Series([1.0, "x", "y", "z", "w"], index=list("abcde"))
    expected = r"4 of 5 rows hold text, the first at rows 1 \(index 'b'\), .*'d'\), \.\.\."
    with pytest.raises(ValueError, match=expected):
        as_floats("y", values)


@pytest.mark.parametrize("convert", [as_floats, as_labels, label_codes])
@pytest.mark.parametrize(
    ("values", "hint"),
    [
        ({"a": 1, "b": 2}, r"type dict.*list\(groups\.values\(\)\)"),
        ({1, 2}, r"type set.*list\(groups\)"),
        (iter([1, 2]), r"iterator.*list\(groups\)"),
        ({"a": 1, "b": 2}.values(), r"dict_values.*list\(groups\)"),
        ("ab", "type str.*one value for each crystal"),
        (csr_array(np.eye(2)), "csr_array.*dense"),
    ],
)
def test_containers_that_are_no_arrays(convert, values, hint):
    with pytest.raises(TypeError, match=hint):
        convert("groups", values, n_rows=2)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (["a", "b"], "U"),
        ([1, 2], "i"),
        ([1, 2.5], "f"),
        ([True, False], "b"),
        ([np.int64(1), 2], "i"),
        (pd.Series([True, False], dtype="boolean"), "b"),
        (pd.Series(["a", "b"], dtype="category"), "U"),
        (torch.tensor([1, 2]), "i"),
        (ArrayLike(["a", "b"]), "U"),
        ([1, "1"], "O"),
        ([(1, 2), (1, 3)], "O"),
        ([2**70, 1], "O"),
    ],
)
def test_labels_of_any_type(values, dtype):
    labels = as_labels("y", values, n_rows=2)
    assert labels.shape == (2,)
    assert labels.dtype.kind == dtype
    np.testing.assert_array_equal(label_codes("y", values), [0, 1])


MISSING = [
    ["a", "b", None],
    [1.0, 2.0, NAN],
    [True, False, pd.NA],
    pd.Series([True, False, pd.NA], dtype="boolean"),
    pd.Series(["a", "b", None]),
    pd.Series([1, 2, None], dtype="Int64"),
    np.ma.masked_array([1, 2, -999], [False, False, True]),
    np.ma.masked_array(["a", "b", "c"], [False, False, True]),
    np.array(["2020-01-01", "2020-01-02", "NaT"], dtype="datetime64[D]"),
]


@pytest.mark.parametrize("convert", [as_labels, label_codes])
@pytest.mark.parametrize("values", MISSING)
def test_missing_labels_are_refused_alike(convert, values):
    message = r"missing \(NaN\) for 1 of 3 crystals, the first at row 2: leave them out"
    with pytest.raises(ValueError, match=message):
        convert("y", values)


def test_missing_numbers_are_refused_where_they_may_not_be():
    with pytest.raises(ValueError, match=r"missing \(NaN\) for 1 of 2 crystals, the first at row"):
        as_floats("sample_weight", [1.0, pd.NA], allow_missing=False)


@pytest.mark.parametrize("text", ["nan", "None", "<NA>", "NaT", ""])
def test_missing_labels_as_text_are_reported(text):
    labels = pd.Series(["Na", "Cu", text, text], index=[5, 6, 7, 8])
    expected = rf"groups is the text '{text}' in 2 of 4 rows, .*rows 2 \(index 7\), 3"
    with pytest.warns(DataQualityWarning, match=expected):
        label_codes("groups", labels)


def test_a_number_beside_its_text_is_reported():
    expected = r"groups holds '17' as text at row 2, .*astype\(str\)"
    with pytest.warns(DataQualityWarning, match=expected):
        label_codes("groups", [17, 18, "17", "a"])
    np.testing.assert_array_equal(label_codes("groups", [17, 18, "19"]), [0, 1, 2])


def test_numbers_of_several_units_are_refused():
    values = [FloatWithUnit(1, "GPa"), FloatWithUnit(1, "Pa")]
    with pytest.raises(ValueError, match="y has numbers in 2 units, GPa, Pa; convert"):
        as_floats("y", values)
    np.testing.assert_array_equal(as_floats("y", values[:1]), [1.0])


def test_unhashable_labels_are_refused():
    with pytest.raises(TypeError, match="groups holds a dict at row 0"):
        label_codes("groups", np.array([{}, {}]))


def test_names_of_columns():
    assert column_names(pd.Series([1.0], name="gap")) == ["gap"]
    assert column_names(pd.DataFrame({"gap": [1.0], 3: [2.0]})) == ["gap", "3"]
    assert column_names(pd.Series([1.0])) is None
    assert column_names(np.ones((2, 2))) is None
