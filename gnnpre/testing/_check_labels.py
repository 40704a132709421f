"""Checks of y: the forms that are taken, and those that are refused."""

import warnings
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import get_tags

from ._data import CheckData
from ._outputs import assert_close, expect, expect_error, fitted, outputs
from ._registry import is_no_pipeline, is_repeatable, is_supervised, structure_check

__all__: list[str] = []


def _is_repeatable_supervised(estimator: Any) -> bool:
    return is_supervised(estimator) and is_repeatable(estimator)


def _takes_many(estimator: Any) -> bool:
    return bool(is_regressor(estimator) and get_tags(estimator).target_tags.multi_output)


class _ArrayLike:
    """An array-like that has ``__array__`` alone: NumPy's functions refuse it."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.values

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} does not take this array-like.")


@structure_check(
    "check_classifier_data_not_an_array",
    "check_estimators_data_not_an_array",
    "check_regressor_data_not_an_array",
    applies=_is_repeatable_supervised,
)
def check_containers_of_y(estimator: Any, data: CheckData) -> None:
    """Check that ``y`` as a list, tuple, array-like or Series of any index equals an array."""
    import pandas as pd

    y = np.asarray(data.y)
    expected = fitted(estimator, data).predict(data.structures)
    forms = {
        "list": y.tolist(),
        "tuple": tuple(y),
        "array-like": _ArrayLike(y),
        # The index runs backwards: rows are paired by position, not by label.
        "Series": pd.Series(y, index=np.arange(len(y))[::-1]),
    }
    for name, form in forms.items():
        predicted = fitted(estimator, data.with_y(form)).predict(data.structures)
        assert_close(predicted, expected, f"y as {name}")


@structure_check("check_supervised_y_2d", applies=_is_repeatable_supervised)
def check_column_of_y(estimator: Any, data: CheckData) -> None:
    """Check that ``y`` of shape ``(n, 1)`` equals ``(n,)``.

    An estimator that takes one column alone issues scikit-learn's ``DataConversionWarning``, or
    refuses the column with y named.
    """
    # 1. fit with a column, and catch the warning
    one_column = not get_tags(estimator).target_tags.multi_output
    expected = fitted(estimator, data).predict(data.structures)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataConversionWarning)
        try:
            model = fitted(estimator, data.with_y(np.asarray(data.y)[:, None]))
        except ValueError as error:
            expect("y" in str(error).split() or "y " in str(error), f"y as a column: {error}")
            expect(one_column, "a column of y is refused.")
            return
    warned = any(
        isinstance(item.message, DataConversionWarning)
        and "A column-vector y was passed when a 1d array was expected" in str(item.message)
        for item in caught
    )
    # 2. the warning, unless the estimator takes several columns
    expect(warned or not one_column, "y as a column is taken without a DataConversionWarning.")
    # 3. the same predictions
    predicted = np.asarray(model.predict(data.structures))
    shape = predicted.shape
    expect(shape in {(len(data),), (len(data), 1)}, f"predictions have shape {shape}.")
    assert_close(predicted.ravel(), expected, "y as a column")


@structure_check("check_regressors_train", applies=is_regressor)
def check_predictions_have_the_shape_of_y(estimator: Any, data: CheckData) -> None:
    """Predict finite numbers, one for each structure."""
    predicted = fitted(estimator, data).predict(data.structures)
    expect(predicted.shape == np.shape(data.y), f"predictions have shape {predicted.shape}.")
    expect(np.isfinite(predicted).all(), "predictions are not finite.")


@structure_check(applies=is_supervised)
def check_length_of_y(estimator: Any, data: CheckData) -> None:
    """``y`` of another length than X is refused."""
    short = data.with_y(data.y[:-1])
    expect_error(lambda: fitted(estimator, short), "y of another length", errors=ValueError)


@structure_check("check_regressor_multioutput", applies=_takes_many)
def check_several_properties(estimator: Any, data: CheckData) -> None:
    """Where the tag says so, several properties are learnt, and predicted column by column."""
    # Two columns of different scale and sign: mixed up, they would not pass.
    y = np.column_stack([data.y, -2.0 * np.asarray(data.y)])
    predicted = fitted(estimator, data.with_y(y)).predict(data.structures)
    expect(predicted.shape == y.shape, f"predictions have shape {predicted.shape}, not {y.shape}.")


@structure_check("check_regressors_int", applies=is_regressor)
def check_integer_properties(estimator: Any, data: CheckData) -> None:
    """Check that properties that are integers equal the same floats."""
    y = np.arange(len(data))
    result = fitted(estimator, data.with_y(y)).predict(data.structures)
    if is_repeatable(estimator):
        floats = fitted(estimator, data.with_y(y.astype(np.float64)))
        assert_close(result, floats.predict(data.structures), "y of integers")


@structure_check("check_regressors_no_decision_function", applies=is_regressor)
def check_regressor_has_no_decision_function(estimator: Any, data: CheckData) -> None:
    """Have none of the methods of a classifier."""
    model = fitted(estimator, data)
    for name in ("decision_function", "predict_proba", "predict_log_proba"):
        expect(not hasattr(model, name), f"a regressor has {name}.")


@structure_check("check_supervised_y_no_nan", applies=is_supervised)
def check_missing_y_refused(estimator: Any, data: CheckData) -> None:
    """NaN and infinity in the only column of ``y`` are refused with y named."""
    if is_classifier(estimator):
        return  # classes are names: check_regression_target_refused
    for value in (np.nan, np.inf):
        y = np.array(data.y, dtype=np.float64)
        y[1] = value
        expect_error(partial(fitted, estimator, data.with_y(y)), f"{value} in y", "y", "Y", "NaN")


@structure_check(
    "check_requires_y_none", applies=lambda estimator: get_tags(estimator).target_tags.required
)
def check_y_none_refused(estimator: Any, data: CheckData) -> None:
    """``y=None`` is refused with y named where the tags say that it is required."""
    expect_error(lambda: fitted(estimator, data.with_y(None)), "y=None", "y", "Y", "None")


def _needs_no_y(estimator: Any) -> bool:
    return is_no_pipeline(estimator) and not get_tags(estimator).target_tags.required


@structure_check(applies=_needs_no_y)
def check_y_is_optional(estimator: Any, data: CheckData) -> None:
    """``fit(X)`` works where the tags say that y is not required."""
    model = fitted(estimator, data.with_y(None))
    expect(outputs(model, data.structures), "there is neither predict nor transform.")
