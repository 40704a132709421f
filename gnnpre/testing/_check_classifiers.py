"""Checks of classifiers."""

from functools import partial
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils import get_tags

from ._data import CheckData
from ._outputs import assert_close, expect, expect_error, fitted, outputs
from ._registry import is_repeatable, structure_check

__all__: list[str] = []


def _is_repeatable_classifier(estimator: Any) -> bool:
    return bool(is_classifier(estimator) and is_repeatable(estimator))


def _is_binary(estimator: Any) -> bool:
    return bool(is_classifier(estimator) and not get_tags(estimator).classifier_tags.multi_class)


@structure_check(
    "check_classifiers_classes", "check_classifiers_predictions", applies=is_classifier
)
def check_classes(estimator: Any, data: CheckData) -> None:
    """``classes_`` has the sorted labels, whatever their kind, and predictions are among them."""
    codes = np.unique(data.y, return_inverse=True)[1]
    for labels in (np.asarray(data.y), np.asarray(data.y).astype(object), codes, 10 * codes - 5):
        model = fitted(estimator, data.with_y(labels))
        expect(list(model.classes_) == sorted(set(labels)), f"classes_ is {model.classes_}.")
        predicted = model.predict(data.structures)
        expect(predicted.shape == (len(data),), f"predictions have shape {predicted.shape}.")
        expect(set(predicted) <= set(labels), f"predictions {set(predicted)} are not labels.")


@structure_check(applies=_is_repeatable_classifier)
def check_names_of_classes_do_not_matter(estimator: Any, data: CheckData) -> None:
    """Check that classes named by strings or by numbers yield the same predictions."""
    names, codes = np.unique(data.y, return_inverse=True)
    by_name = fitted(estimator, data).predict(data.structures)
    by_code = fitted(estimator, data.with_y(codes)).predict(data.structures)
    expect((names[by_code] == by_name).all(), "predictions depend on the names of the classes.")


@structure_check(
    "check_classifiers_train", "check_decision_proba_consistency", applies=is_classifier
)
def check_probabilities(estimator: Any, data: CheckData) -> None:
    """Probabilities sum to one, their largest is the prediction, and logarithms agree."""
    model = fitted(estimator, data)
    results = outputs(model, data.structures)
    if "predict_proba" not in results:
        return
    probability = results["predict_proba"]
    shape = (len(data), len(model.classes_))
    expect(probability.shape == shape, f"predict_proba has shape {probability.shape}, not {shape}.")
    expect((probability >= 0).all(), "there are negative probabilities.")
    assert_close(probability.sum(axis=1), np.ones(len(data)), "the sum of probabilities")
    likely = model.classes_[probability.argmax(axis=1)]
    expect((likely == results["predict"]).all(), "the likeliest class is not the prediction.")
    if "predict_log_proba" in results:
        assert_close(np.exp(results["predict_log_proba"]), probability, "predict_log_proba")


@structure_check("check_classifiers_regression_target", applies=is_classifier)
def check_regression_target_refused(estimator: Any, data: CheckData) -> None:
    """Labels that are not classes (fractions, NaN) are refused."""
    for y in (np.linspace(0.1, 9.7, len(data)), np.full(len(data), np.nan)):
        expect_error(partial(fitted, estimator, data.with_y(y)), f"y={y[:2]}...")


@structure_check(
    "check_classifiers_one_label",
    "check_classifiers_one_label_sample_weights",
    applies=is_classifier,
)
def check_one_class(estimator: Any, data: CheckData) -> None:
    """Predict a single class everywhere, or refuse it with the word class."""
    label = np.asarray(data.y)[0]
    try:
        model = fitted(estimator, data.with_y(np.full(len(data), label)))
    except ValueError as error:
        expect("class" in str(error), f"a single class is refused, but not by name: {error}")
        return
    expect((model.predict(data.structures) == label).all(), "another than the single class.")


@structure_check("check_classifier_not_supporting_multiclass", applies=_is_binary)
def check_third_class_refused(estimator: Any, data: CheckData) -> None:
    """Check that a third class is refused where the tag allows two."""
    y = np.arange(len(data)) % 3
    expect_error(lambda: fitted(estimator, data.with_y(y)), "a third class", errors=ValueError)
