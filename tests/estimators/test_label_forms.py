"""Labels and weights in every form that users hold them in."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import DataConversionWarning

from gnnpre import CGCNN, Pretrainer, PropertyClassifier, PropertyRegressor, PropertyTargets
from gnnpre.exceptions import DataQualityWarning
from gnnpre.model_selection import structure_train_test_split


class ArrayLike:
    """Has ``__array__`` alone: NumPy's functions refuse it, ``numpy.shape`` too."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def __array__(self, dtype=None, copy=None):
        return self.values

    def __array_function__(self, function, types, args, kwargs):
        raise TypeError(f"{function.__name__} may not be called")


def predictions(data, y, sample_weight=None, estimator=PropertyRegressor):
    model = estimator(CGCNN(8, 1), max_epochs=1, random_state=0)
    return model.fit(data.graphs, y, sample_weight=sample_weight).predict(data.graphs)


FORMS = {
    "array-like": ArrayLike,
    "tensor with a gradient": lambda values: torch.tensor(values, requires_grad=True),
    "nullable Series": lambda values: pd.Series(values, dtype="Float64"),
    "masked array": np.ma.masked_array,
    "list of tensors": lambda values: list(torch.tensor(values)),
    "reversed view": lambda values: np.ascontiguousarray(values[::-1])[::-1],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_y_and_sample_weight_in_any_form(data, form):
    weights = np.linspace(1.0, 2.0, len(data.y))
    expected = predictions(data, data.y, weights)
    np.testing.assert_array_equal(predictions(data, form(data.y), form(weights)), expected)


def fit_series(data, y, groups=None):
    X = pd.Series(list(data.structures), index=[f"mp-{i}" for i in range(20)])
    return PropertyRegressor(CGCNN(8, 1), max_epochs=1, random_state=0).fit(X, y, groups=groups)


def test_the_index_of_x_in_another_order_is_a_warning(data):
    y = pd.Series(data.y, index=[f"mp-{i}" for i in range(20)])
    swapped = y.iloc[[0, 2, 1, *range(3, 20)]]
    message = r"y has the index of X in another order, in 2 of 20 rows \(row 1 is 'mp-1' in X and"
    with pytest.warns(DataQualityWarning, match=message):
        fit_series(data, swapped)
    with pytest.warns(DataQualityWarning, match="groups has the index of X in another order"):
        fit_series(data, y, groups=swapped)
    objective = PropertyTargets()
    X = pd.Series(list(data.structures), index=y.index)
    with pytest.warns(DataQualityWarning, match="y has the index of X in another order"):
        Pretrainer(CGCNN(8, 1), objective, max_epochs=1).fit(X, swapped)


def test_score_and_splits_warn_of_another_order(data):
    y = pd.Series(data.y, index=[f"mp-{i}" for i in range(20)])
    X, swapped = pd.Series(list(data.structures), index=y.index), y.iloc[[1, 0, *range(2, 20)]]
    model = fit_series(data, y)
    classifier = PropertyClassifier(CGCNN(8, 1), max_epochs=1, random_state=0)
    classifier.fit(X, y > y.median())
    for fitted, labels in ((model, swapped), (classifier, swapped > y.median())):
        with pytest.warns(DataQualityWarning, match="y has the index of X in another order"):
            fitted.score(X, labels)
    with pytest.warns(DataQualityWarning, match="sample_weight has the index of X in another"):
        model.score(X, y, sample_weight=swapped)
    with pytest.warns(DataQualityWarning, match="argument 2 has the index of X in another order"):
        structure_train_test_split(X, swapped, random_state=0)


def test_score_pairs_columns_by_their_names(data):
    y = pd.DataFrame({"K": data.y, "G": -2 * data.y})
    model = PropertyRegressor(CGCNN(8, 1), max_epochs=1, random_state=0).fit(data.graphs, y)
    expected = model.score(data.graphs, y)
    assert model.score(data.graphs, y[["G", "K"]]) == expected
    # Without names, by position.
    assert model.score(data.graphs, y.to_numpy()) == expected
    assert model.score(data.graphs, y[["G", "K"]].to_numpy()) != expected
    with pytest.raises(
        ValueError, match=r"y has the columns \['K', 'H'\]; the predictions have \['K', 'G'\]"
    ):
        model.score(data.graphs, y.set_axis(["K", "H"], axis=1))


@pytest.mark.parametrize("index", ["X", "another"])
def test_an_index_that_does_not_contradict_is_no_warning(data, index, recwarn):
    y = pd.Series(data.y, index=[f"mp-{i}" for i in range(20)] if index == "X" else None)
    fit_series(data, y)
    assert not [w for w in recwarn if "another order" in str(w.message)]


def test_a_column_of_y_is_predicted_as_a_column(data):
    assert predictions(data, ArrayLike(data.y[:, None])).shape == (20, 1)


def test_masked_values_are_missing(data):
    y = np.column_stack([data.y, data.y])
    y[3, 1] = np.nan
    masked = np.ma.masked_array(np.nan_to_num(y, nan=-999.0), np.isnan(y))
    np.testing.assert_array_equal(predictions(data, masked), predictions(data, y))


@pytest.mark.parametrize("missing", [pd.NA, None, np.nan, pd.NaT])
@pytest.mark.parametrize("estimator", [PropertyRegressor, PropertyClassifier])
def test_missing_values_of_every_form_get_one_message(data, missing, estimator):
    y = pd.Series([*[0, 1] * 9, 1, missing], dtype=object, index=[f"mb-{i}" for i in range(20)])
    message = r"missing \(NaN\) for 1 of 20 crystals, the first at row 19 \(index 'mb-19'\)"
    with pytest.raises(ValueError, match=message):
        predictions(data, y, estimator=estimator)


@pytest.mark.parametrize("form", [list, np.array, pd.DataFrame])
def test_a_column_of_classes_gets_scikit_learns_warning(data, form):
    classes = (data.y > np.median(data.y)).astype(int)
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        predicted = predictions(data, form(classes[:, None].tolist()), estimator=PropertyClassifier)
    expected = predictions(data, classes, estimator=PropertyClassifier)
    np.testing.assert_array_equal(predicted, expected)


def test_classes_in_any_form(data):
    classes = data.y > np.median(data.y)
    expected = predictions(data, classes, estimator=PropertyClassifier)
    for form in (ArrayLike, torch.tensor, lambda y: pd.Series(y, dtype="boolean")):
        predicted = predictions(data, form(classes), estimator=PropertyClassifier)
        np.testing.assert_array_equal(predicted, expected)


def test_a_regressor_refuses_bools(data):
    with pytest.raises(ValueError, match=r"20 of 20 rows hold bool.*PropertyClassifier"):
        predictions(data, data.y > np.median(data.y))
