"""Checks of y: its forms, and what is refused."""

from functools import partial
from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.utils import get_tags

from ._data import CheckData
from ._outputs import assert_close, expect, expect_error, fitted, outputs
from ._registry import is_no_pipeline, is_repeatable, is_supervised, structure_check

__all__: list[str] = []


def _is_repeatable_supervised(estimator: Any) -> bool:
    return is_supervised(estimator) and is_repeatable(estimator)


def _takes_many(estimator: Any) -> bool:
    return bool(is_regressor(estimator) and get_tags(estimator).target_tags.multi_output)


@structure_check(applies=_is_repeatable_supervised)
def check_containers_of_y(estimator: Any, data: CheckData) -> None:
    """``y`` as a list, tuple or Series, of any index, does what an array does."""
    import pandas as pd

    y = np.asarray(data.y)
    expected = fitted(estimator, data).predict(data.structures)
    shuffled_index = pd.Series(y, index=np.arange(len(y))[::-1])
    for name, form in {"list": y.tolist(), "tuple": tuple(y), "Series": shuffled_index}.items():
        found = fitted(estimator, data.with_y(form)).predict(data.structures)
        assert_close(found, expected, f"y as {name}")


@structure_check("check_supervised_y_2d", applies=_is_repeatable_supervised)
def check_column_of_y(estimator: Any, data: CheckData) -> None:
    """``y`` of shape ``(n, 1)`` does what ``(n,)`` does, or is refused with y named."""
    expected = fitted(estimator, data).predict(data.structures)
    try:
        model = fitted(estimator, data.with_y(np.asarray(data.y)[:, None]))
    except ValueError as error:
        expect("y" in str(error).split() or "y " in str(error), f"y as a column: {error}")
        expect(not get_tags(estimator).target_tags.multi_output, "a column of y is refused.")
        return
    found = np.asarray(model.predict(data.structures))
    expect(found.shape in {(len(data),), (len(data), 1)}, f"predictions have shape {found.shape}.")
    assert_close(found.ravel(), expected, "y as a column")


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
    y = np.column_stack([data.y, -2.0 * np.asarray(data.y)])
    predicted = fitted(estimator, data.with_y(y)).predict(data.structures)
    expect(predicted.shape == y.shape, f"predictions have shape {predicted.shape}, not {y.shape}.")


@structure_check("check_regressors_int", applies=is_regressor)
def check_integer_properties(estimator: Any, data: CheckData) -> None:
    """Properties that are integers do what the same floats do."""
    y = np.arange(len(data))
    found = fitted(estimator, data.with_y(y)).predict(data.structures)
    if is_repeatable(estimator):
        floats = fitted(estimator, data.with_y(y.astype(np.float64)))
        assert_close(found, floats.predict(data.structures), "y of integers")


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
