"""Checks of sample_weight and groups, and of metadata routing."""

from functools import partial
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.model_selection import KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import has_fit_parameter

from ._data import CheckData, other_labels
from ._outputs import assert_close, assert_same, expect, expect_error, fitted, outputs, seeded
from ._registry import is_repeatable, structure_check, takes

__all__: list[str] = []

_takes_weights = takes("sample_weight")
_takes_groups = takes("groups")


def _repeatable_with_weights(estimator: Any) -> bool:
    return _takes_weights(estimator) and is_repeatable(estimator)


def _exact_with_weights(estimator: Any) -> bool:
    """Whether nothing depends on the order or number of rows by chance."""
    names = {name.split("__")[-1] for name in estimator.get_params()}
    return _repeatable_with_weights(estimator) and "random_state" not in names


def _weights(data: CheckData) -> np.ndarray:
    return np.linspace(0.5, 2.0, len(data))


@structure_check(
    "check_sample_weights_list",
    "check_sample_weights_not_an_array",
    "check_sample_weights_pandas_series",
    applies=_repeatable_with_weights,
)
def check_containers_of_sample_weight(estimator: Any, data: CheckData) -> None:
    """Check that ``sample_weight`` as a list, tuple or Series equals an array."""
    import pandas as pd

    weights = _weights(data)
    expected = outputs(fitted(estimator, data, sample_weight=weights), data.structures)
    for make in (list, tuple, pd.Series):
        result = outputs(fitted(estimator, data, sample_weight=make(weights)), data.structures)
        assert_same(result, expected, f"sample_weight as {make.__name__}")


@structure_check("check_sample_weights_shape", applies=_takes_weights)
def check_bad_sample_weight_refused(estimator: Any, data: CheckData) -> None:
    """``sample_weight`` of another shape is refused with its name."""
    n = len(data)
    for bad in (np.ones(n - 1), np.ones((n, 2))):
        expect_error(
            partial(fitted, estimator, data, sample_weight=bad),
            f"sample_weight of shape {bad.shape}",
            "sample_weight",
            "Sample",
        )


@structure_check("check_all_zero_sample_weights_error", applies=_takes_weights)
def check_zero_weights_refused(estimator: Any, data: CheckData) -> None:
    """Weights that are all zero are refused with their name."""
    zeros = np.zeros(len(data))
    expect_error(
        lambda: fitted(estimator, data, sample_weight=zeros), "all zero", "sample_weight", "Sample"
    )


@structure_check("check_sample_weights_not_overwritten", applies=_takes_weights)
def check_sample_weight_untouched(estimator: Any, data: CheckData) -> None:
    """``sample_weight`` is left as it was, also where it is read-only."""
    weights = _weights(data)
    weights.flags.writeable = False
    before = weights.copy()
    fitted(estimator, data, sample_weight=weights)
    assert_same(weights, before, "sample_weight after fit")


@structure_check(applies=_repeatable_with_weights)
def check_equal_weights_are_none(estimator: Any, data: CheckData) -> None:
    """Check that ``sample_weight`` of ones equals None."""
    ones = np.ones(len(data))
    expected = outputs(fitted(estimator, data), data.structures)
    result = outputs(fitted(estimator, data, sample_weight=ones), data.structures)
    assert_close(result, expected, "sample_weight of ones")


@structure_check(applies=_repeatable_with_weights)
def check_weights_matter(estimator: Any, data: CheckData) -> None:
    """Check that weights change the result."""
    # So different that no optimiser could hide it.
    weights = np.where(np.arange(len(data)) % 2, 1e-3, 1.0)
    expected = outputs(fitted(estimator, data), data.structures)
    result = outputs(fitted(estimator, data, sample_weight=weights), data.structures)
    try:
        assert_same(result, expected, "")
    except AssertionError:
        return
    raise AssertionError("sample_weight changes nothing.")


@structure_check("check_sample_weight_equivalence_on_dense_data", applies=_repeatable_with_weights)
def check_zero_weight_hides_label(estimator: Any, data: CheckData) -> None:
    """Check that the label of a structure of zero weight does not matter.

    The part of "zero weight equals removal" that holds where batches are drawn: a structure that
    is removed changes which others share a batch.
    """
    if data.y is None:
        return
    rows = np.arange(1, len(data), 3)
    weights = np.ones(len(data))
    weights[rows] = 0.0
    relabelled = data.with_y(other_labels(data.y, rows))
    result, expected = (
        outputs(fitted(estimator, each, sample_weight=weights), data.structures)
        for each in (data, relabelled)
    )
    assert_close(result, expected, "with other labels of zero weight")


@structure_check("check_sample_weight_equivalence_on_dense_data", applies=_exact_with_weights)
def check_zero_weight_is_removal(estimator: Any, data: CheckData) -> None:
    """Zero weight equals removal, and a weight of two a repetition, where nothing is random."""
    # Weights 0, 1, 2, 0, ...: removed, as it is, twice.
    weights = np.arange(len(data)) % 3
    repeated = data.take(np.repeat(np.arange(len(data)), weights))
    expected = outputs(fitted(estimator, repeated), data.structures)
    result = outputs(fitted(estimator, data, sample_weight=weights), data.structures)
    assert_close(result, expected, "weights in place of repetitions")


@structure_check(applies=_takes_groups)
def check_groups(estimator: Any, data: CheckData) -> None:
    """Take ``groups`` of any kind, and refuse them by name where the length is wrong."""
    groups = np.arange(len(data)) // 2
    by_name = np.array([f"group {group}" for group in groups])
    models = [fitted(estimator, data, groups=form) for form in (groups, groups.tolist(), by_name)]
    if is_repeatable(estimator):
        first, *rest = (outputs(model, data.structures) for model in models)
        for next_result in rest:
            assert_close(next_result, first, "groups of another kind")
    short = groups[:-1]
    expect_error(lambda: fitted(estimator, data, groups=short), "groups of other length", "groups")


@structure_check(applies=lambda e: _takes_weights(e) and hasattr(e, "set_fit_request"))
def check_metadata_routing(estimator: Any, data: CheckData) -> None:
    """Get requested metadata in ``fit`` and ``score`` through a cross-validation; else not."""
    weights = _weights(data)
    folds = KFold(2)
    with config_context(enable_metadata_routing=True):
        for requested in (True, False):
            # scikit-learn splits the weights as it splits X, or drops them.
            model = _request(seeded(estimator), requested)
            params = {"sample_weight": weights} if requested else {}
            result = cross_validate(
                make_pipeline(model),
                data.structures,
                data.y,
                cv=folds,
                params=params,
                error_score="raise",
            )["test_score"]
            expected = _scores_by_hand(estimator, data, folds, weights if requested else None)
            assert_close(result, expected, f"cross_validate with sample_weight={requested}")
    _check_unrequested(estimator, data, weights)


def _request(model: Any, value: bool) -> Any:
    model.set_fit_request(sample_weight=value)
    # Not False for score: Pipeline.score hands None on as if it were given, and then refuses it.
    if value and hasattr(model, "set_score_request"):
        model.set_score_request(sample_weight=value)
    return model


def _scores_by_hand(estimator: Any, data: CheckData, folds: Any, weights: Any) -> np.ndarray:
    scores = []
    for train, test in folds.split(range(len(data))):
        metadata = [{} if weights is None else {"sample_weight": weights[p]} for p in (train, test)]
        model = fitted(estimator, data.take(train), **metadata[0])
        tested = data.take(test)
        routed = metadata[1] if hasattr(model, "set_score_request") else {}
        scores.append(model.score(tested.structures, tested.y, **routed))
    return np.array(scores)


def _check_unrequested(estimator: Any, data: CheckData, weights: np.ndarray) -> None:
    with config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(_request(seeded(estimator), False))
        expect_error(
            lambda: pipeline.fit(data.structures, data.y, sample_weight=weights),
            "sample_weight that was not requested",
            "sample_weight",
        )


@structure_check(applies=_takes_weights)
def check_metadata_without_routing(estimator: Any, data: CheckData) -> None:
    """Without routing a pipeline passes on ``step__sample_weight``."""
    weights = _weights(data)
    with config_context(enable_metadata_routing=False):
        pipeline = make_pipeline(seeded(estimator))
        name = pipeline.steps[0][0]
        pipeline.fit(data.structures, data.y, **{f"{name}__sample_weight": weights})
        expected = fitted(estimator, data, sample_weight=weights)
    expect(has_fit_parameter(expected, "sample_weight"), "fit lost its sample_weight.")
    if is_repeatable(estimator):
        step = outputs(pipeline[-1], data.structures)
        assert_close(step, outputs(expected, data.structures), "sample_weight by a step's name")
