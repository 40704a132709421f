"""Kernel machines: scikit-learn's own checks, known functions, units, odd targets."""

import json
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from gnnpre.estimators import KernelClassifier, KernelRegressor
from gnnpre.estimators._kernel_features import KernelFeatures
from gnnpre.estimators._target_transforms import TRANSFORMS, TargetTransform


def expected_failures(estimator):
    reason = "weights change the noise of a row, which is not the same as repeating it"
    return {
        "check_sample_weight_equivalence_on_dense_data": reason,
        "check_sample_weights_invariance": reason,
    }


@parametrize_with_checks(
    [KernelRegressor(random_state=0), KernelClassifier(random_state=0)],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


def smooth(n, noise=0.0, seed=0):
    random = np.random.default_rng(seed)
    X = random.uniform(-2, 2, (n, 3))
    return X, np.sin(2 * X[:, 0]) + X[:, 1] ** 2 + noise * random.standard_normal(n)


def test_it_learns_a_smooth_function_and_knows_its_noise():
    X, y = smooth(300, noise=0.3)
    model = KernelRegressor(random_state=0).fit(X, y)
    X_new, y_new = smooth(200, seed=1)
    mean, std = model.predict(X_new, return_std=True)
    assert np.abs(mean - y_new).mean() < 0.3
    assert 0.2 < np.median(std) < 0.45


@pytest.mark.parametrize("unit", [1e-21, 1.0, 1e12])
def test_the_unit_of_the_target_does_not_matter(unit):
    X, y = smooth(60)
    one = KernelRegressor(random_state=0).fit(X, y)
    other = KernelRegressor(random_state=0).fit(X, unit * y)
    np.testing.assert_allclose(other.predict(X) / unit, one.predict(X), rtol=1e-5, atol=1e-5)


def test_a_skewed_target_is_learnt_as_a_logarithm():
    X, y = smooth(150)
    model = KernelRegressor(random_state=0).fit(X, np.exp(2 * y))
    assert model.transforms_ == ["log"]
    assert KernelRegressor(random_state=0).fit(X, y).transforms_ == ["identity"]


def test_left_out_rows_have_larger_errors_than_training_rows_and_honest_deviations():
    X, y = smooth(150, noise=0.3)
    model = KernelRegressor(random_state=0)
    mean, std = model.fit_leave_out(X, y)
    assert np.abs(mean - y).mean() > 1.1 * np.abs(model.predict(X) - y).mean()
    assert 0.7 < np.std((mean - y) / std) < 1.3
    columns = np.stack([y, np.where(np.arange(150) < 50, np.nan, y)], axis=1)
    mean, _ = KernelRegressor(random_state=0).fit_leave_out(X, columns)
    assert np.isnan(mean[:50, 1]).all()
    assert np.isfinite(mean[50:]).all()


def test_rows_of_a_group_are_left_out_together():
    X, y = smooth(40, noise=0.3)
    X, y = np.repeat(X, 2, axis=0), np.repeat(y, 2)  # each row has a twin
    model = KernelRegressor(random_state=0)
    alone, _ = model.fit_leave_out(X, y)
    together, _ = model.fit_leave_out(X, y, groups=np.repeat(np.arange(40), 2))
    assert np.abs(together - y).mean() > 2 * np.abs(alone - y).mean()


def test_copies_of_a_group_are_no_proof_of_small_noise():
    X, y = smooth(60, noise=0.5)
    X_new, y_new = smooth(200, seed=1)
    once = KernelRegressor(random_state=0).fit(X, y).predict(X_new)
    groups = np.repeat(np.arange(60), 3)
    machine = KernelRegressor(random_state=0)
    errors = [
        np.abs(machine.fit(np.repeat(X, 3, 0), np.repeat(y, 3), None, g).predict(X_new) - y_new)
        for g in (groups, None)
    ]
    assert errors[0].mean() < 1.1 * np.abs(once - y_new).mean()
    assert errors[0].mean() < 0.9 * errors[1].mean()


def test_copies_of_a_group_do_not_choose_the_classifier():
    X, y = smooth(60, noise=1.5)
    X, labels = np.repeat(X, 3, axis=0), np.repeat(y > 1, 3)
    groups = np.repeat(np.arange(60), 3)
    alone = KernelClassifier(random_state=0).fit(X, labels)
    together = KernelClassifier(random_state=0).fit(X, labels, groups=groups)
    # Copies on both sides of a split call for a narrow kernel, which knows them by heart.
    assert together.kernel_.gamma <= alone.kernel_.gamma
    assert together.regression_.C < alone.regression_.C


def test_few_rows_are_left_out_of_the_tuning_too():
    X, y = smooth(40, noise=0.5)
    machine = KernelRegressor(random_state=0)
    mean, std = machine.fit_leave_out(X, y)
    X_new, y_new = smooth(400, noise=0.5, seed=1)
    error = np.abs(machine.predict(X_new) - y_new).mean()
    assert 0.8 * error < np.abs(mean - y).mean() < 1.5 * error
    assert np.isfinite(std).all()
    again = KernelRegressor(random_state=0).fit_leave_out(X, y)
    np.testing.assert_array_equal(again[0], mean)


@pytest.mark.parametrize("labels", [[1, 2], ["a", "b"], [False, True]])
def test_weights_of_classes_are_those_of_their_labels(labels):
    X, y = smooth(200, noise=1.0)
    y = np.where(y > 1, labels[1], labels[0])
    counts = [
        np.count_nonzero(
            KernelClassifier(class_weight=w, random_state=0).fit(X, y).predict(X) == labels[0]
        )
        for w in ({labels[0]: 20.0}, None, {labels[1]: 20.0})
    ]
    assert counts[0] > counts[1] > counts[2]
    with pytest.raises(ValueError, match="class_weight has a weight for 'c', which is not a label"):
        KernelClassifier(class_weight={"c": 2.0}).fit(X, y)


def test_constant_features_of_the_training_do_not_matter():
    X, y = smooth(60)
    wide = np.hstack([X, np.ones((60, 2))])
    model = KernelRegressor(random_state=0, blocks=[3, 2]).fit(wide, y)
    changed = wide.copy()
    changed[:, 3:] = 5.0
    np.testing.assert_array_equal(model.predict(changed), model.predict(wide))


@pytest.mark.parametrize("parameters", [{}, {"max_exact": 30, "n_landmarks": 20}])
def test_regressors_come_back_from_their_state(parameters):
    X, y = smooth(60)
    columns = np.stack([np.exp(2 * y), np.full(60, 3.0)], axis=1)
    model = KernelRegressor(random_state=0, blocks=[1, 2], **parameters).fit(X, columns)
    again = clone(model)
    again.set_state(*through_json(model.to_state()))
    assert again.transforms_ == ["log", "identity"]
    for first, second in zip(again.predict(X, True), model.predict(X, True), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-12)


def test_the_state_has_the_bounds_of_the_fit():
    X, y = smooth(40)
    model = KernelRegressor(bounds=(None, 1.0), random_state=0).fit(X, np.minimum(y, 1.0))
    again = KernelRegressor()
    again.set_state(*through_json(clone(model).set_params(bounds=None).fit(X, y).to_state()))
    assert again.predict(X).max() > 1.0
    again.set_state(*through_json(model.set_params(bounds=None).to_state()))
    assert again.predict(X).max() == model.predict(X).max() == 1.0


def test_classifiers_come_back_from_their_state():
    X, y = smooth(60)
    model = KernelClassifier(random_state=0).fit(X, np.digitize(y, [0.5, 1.5]))
    again = clone(model)
    again.set_state(*through_json(model.to_state()), model.classes_)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def through_json(state):
    values, arrays = state
    return json.loads(json.dumps(values)), arrays


def test_missing_values_of_one_target_leave_the_row_to_the_others():
    X, y = smooth(80)
    both = np.stack([y, -y], axis=1)
    both[::2, 1] = np.nan
    model = KernelRegressor(random_state=0).fit(X, both)
    alone = KernelRegressor(random_state=0).fit(X, y)
    np.testing.assert_allclose(model.predict(X)[:, 0], alone.predict(X), rtol=1e-6)
    assert np.abs(model.predict(X)[:, 1] + y).mean() < 0.3


def test_more_rows_than_the_exact_fit_takes():
    X, y = smooth(400)
    model = KernelRegressor(max_tuning=50, max_exact=300, n_landmarks=120, random_state=0)
    model.fit(X, y)
    assert len(model.processes_[0].process.landmarks) == 120
    assert np.abs(model.predict(X) - y).mean() < 0.3


def test_rows_of_weight_zero_do_not_matter():
    X, y = smooth(60)
    weights = np.ones(60)
    weights[40:] = 0
    spoilt = y.copy()
    spoilt[40:] = 100
    model = KernelRegressor(transforms="identity", random_state=0).fit(X, spoilt, weights)
    assert np.abs(model.predict(X[:40]) - y[:40]).max() < 1


@pytest.mark.parametrize("machine", [KernelRegressor, KernelClassifier])
def test_rows_of_weight_zero_are_as_if_they_were_not_there(machine):
    X, y = smooth(60)
    labels = y > np.median(y) if machine is KernelClassifier else y
    weights = np.where(np.arange(60) % 3, 2.0, 0.0)
    spoilt = np.where(weights > 0, labels, np.roll(labels, 7))
    model = machine(random_state=0).fit(X, spoilt, sample_weight=weights)
    rest = machine(random_state=0).fit(X[weights > 0], labels[weights > 0])
    predict = "predict_proba" if machine is KernelClassifier else "predict"
    np.testing.assert_array_equal(getattr(model, predict)(X), getattr(rest, predict)(X))


def test_a_target_with_labels_in_rows_of_weight_zero_alone_is_named():
    y = np.stack([np.arange(12.0), np.where(np.arange(12) < 3, 1.0, np.nan)], axis=1)
    weights = np.where(np.arange(12) < 3, 0.0, 1.0)
    with pytest.raises(ValueError, match="no value in column 1 in a row of a weight"):
        KernelRegressor().fit(np.eye(12), y, weights)
    with pytest.raises(ValueError, match="no value in column 0: leave"):
        KernelRegressor().fit(np.eye(12), np.stack([np.full(12, np.nan), y[:, 0]], axis=1))


def test_one_class_with_a_weight():
    X, _ = smooth(12)
    with pytest.raises(ValueError, match="one class in rows with a weight"):
        KernelClassifier().fit(X, np.arange(12) % 2, sample_weight=np.arange(12) % 2)


def test_constant_target():
    X, _ = smooth(10)
    mean, std = KernelRegressor().fit(X, np.full(10, 7.5)).predict(X, return_std=True)
    assert (mean == 7.5).all()
    assert (std == 0).all()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_have_inverses_and_slopes(name):
    y = np.array([-5.0, -0.1, 0.0, 1e-3, 2.0, 400.0])
    transform = TargetTransform(name).fit(y)
    z = transform.forward(y)
    np.testing.assert_allclose(transform.inverse(z), y, rtol=1e-12, atol=1e-12)
    step = 1e-6
    finite = (transform.inverse(z + step) - transform.inverse(z - step)) / (2 * step)
    np.testing.assert_allclose(transform.slope(z), finite, rtol=1e-5)


def test_blocks_contribute_equally_to_distances():
    X = np.random.default_rng(0).standard_normal((200, 12))
    table = KernelFeatures([10, 2]).fit(X).transform(X)
    wide, narrow = table[:, :10].var(axis=0).sum(), table[:, 10:].var(axis=0).sum()
    assert narrow == pytest.approx(wide, rel=0.1)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"transforms": ("sqrt",)}, "transforms="),
        ({"max_tuning": 0}, "max_tuning=0"),
        ({"random_state": 2**63}, "random_state=9223372036854775808"),
        ({"random_state": "a"}, "random_state='a'"),
        ({"max_exact": 2.5}, "max_exact=2.5"),
        ({"blocks": [1, 1]}, "blocks="),
        ({"blocks": ["a"]}, "blocks="),
        ({"blocks": 2}, "blocks=2"),
        ({"blocks": str}, "blocks=<class"),
        ({"blocks": np.array(1)}, "blocks=array"),
        ({"transforms": 3}, "transforms=3"),
        ({"transforms": [["log"]]}, "transforms="),
    ],
)
def test_bad_parameters(parameters, message):
    X, y = smooth(10)
    with pytest.raises(ValueError, match=message):
        KernelRegressor(**parameters).fit(X, y)


@pytest.mark.parametrize("X", ["a", [["a", 1.0]] * 10, np.array([["a"]] * 10)])
def test_text_is_no_table(X):
    with pytest.raises((TypeError, ValueError), match=r"X cannot be read|Expected 2D array"):
        KernelRegressor().fit(X, np.arange(10.0))


def test_negative_weights_are_refused():
    X, y = smooth(10)
    with pytest.raises(ValueError, match="sample_weight"):
        KernelRegressor().fit(X, y, -np.ones(10))
    for model in (KernelRegressor(), KernelClassifier()):
        with pytest.raises(ValueError, match="sample_weight is -1 at"):
            model.fit(X, np.arange(10) % 2, np.r_[-1.0, np.ones(9)])


@pytest.mark.parametrize("value", [pd.NaT, timedelta(1), object()])
@pytest.mark.parametrize("model", [KernelRegressor(), KernelClassifier()])
def test_what_is_no_table_is_refused_by_name(model, value):
    with pytest.raises(TypeError, match=r"X cannot be read as a table of numbers \(n, d\)"):
        model.fit(value, np.arange(10) % 2)


def test_labels_and_weights_pass_the_one_door():
    X, _ = smooth(10)
    classes = np.arange(10) % 2
    text = [["a"], *[[1.0]] * 9]
    missing = pd.Series([True, False] * 4 + [True, pd.NA], dtype="boolean")
    for model in (KernelRegressor(random_state=0), KernelClassifier(random_state=0)):
        with pytest.raises(ValueError, match="sample_weight cannot be read as numbers"):
            model.fit(X, classes, text)
        model.fit(X, classes, torch.ones(10, requires_grad=True))
    with pytest.raises(ValueError, match=r"y is missing \(NaN\) for 1 of 10"):
        KernelClassifier().fit(X, missing)
    with pytest.raises(ValueError, match="y mixes labels"):
        KernelClassifier().fit(X, ["a", 1] * 5)


def test_numbers_that_overflow_are_refused():
    X, y = smooth(20)
    y[3] = 1e300
    with pytest.raises(ValueError, match=r"y is 1e\+300 at row 3; .* up to 1e\+30"):
        KernelRegressor().fit(X, y)


def test_tables_of_different_lengths_are_refused():
    with pytest.raises(TypeError, match="pass pooling='mean'"):
        KernelRegressor().fit([np.ones((2, 3)), np.ones((4, 3))], [1.0, 2.0])


def test_classes_inside_and_outside_a_sphere():
    X, _ = smooth(300)
    y = np.where(np.linalg.norm(X, axis=1) > 2, "out", "in")
    model = KernelClassifier(random_state=0).fit(X[:200], y[:200])
    assert model.score(X[200:], y[200:]) > 0.85
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X))


class TestBounds:
    def test_predictions_are_clipped(self):
        X, y = smooth(60, noise=0.1)
        y = np.maximum(y - 1.0, 0.0)
        free = KernelRegressor(transforms="identity", random_state=0).fit(X, y)
        bounded = clone(free).set_params(bounds=(0, None))
        new = smooth(100, seed=1)[0]
        mean, std = bounded.fit(X, y).predict(new, return_std=True)
        assert free.predict(new).min() < 0
        np.testing.assert_array_equal(mean, np.maximum(free.predict(new), 0))
        np.testing.assert_array_equal(std, free.predict(new, return_std=True)[1])
        assert clone(bounded).fit_leave_out(X, y)[0].min() == 0

    def test_its_state_holds_them(self):
        X, y = smooth(40)
        model = KernelRegressor(bounds=(None, 0.5), random_state=0).fit(X, np.minimum(y, 0.5))
        loaded = KernelRegressor()
        loaded.set_state(json.loads(json.dumps(model.to_state()[0])), model.to_state()[1])
        assert loaded.predict(X).max() == 0.5

    def test_targets_out_of_bounds_are_refused(self):
        X, y = smooth(20)
        y = pd.Series(np.where(np.arange(20) == 7, -0.5, np.abs(y)))
        with pytest.raises(ValueError, match=r"y is -0.5 at row 7, outside of bounds=\(0, None\)"):
            KernelRegressor(bounds=(0, None)).fit(X, y)


def test_noise_of_single_precision_is_no_feature():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(60, 1))
    # Twenty features that are zero for all rows but the first, up to noise.
    zeros = 1e-7 * rng.normal(size=(60, 20))
    zeros[0] = 1.0
    X, y = np.hstack([signal, zeros]), np.sin(signal[:, 0])
    model = KernelRegressor(resolution=1e-5, random_state=0).fit(X[:50], y[:50])
    again = np.hstack([signal, np.where(zeros == 1.0, 1.0, -zeros)])
    np.testing.assert_array_equal(model.predict(X[50:59]), model.predict(again[50:59]))
    # Without rounding, noise has quantiles like a feature.
    exact = KernelRegressor(random_state=0).fit(X[:50], y[:50])
    assert not np.allclose(exact.predict(X[50:59]), exact.predict(again[50:59]))
    errors = [np.abs(m.predict(X[50:59]) - y[50:59]).mean() for m in (model, exact)]
    assert errors[0] < errors[1]


@pytest.mark.parametrize("resolution", [-1e-5, 2.0, np.nan, "1e-5"])
def test_resolution_out_of_range(resolution):
    with pytest.raises((ValueError, TypeError), match="resolution"):
        KernelRegressor(resolution=resolution).fit(np.eye(4), np.arange(4.0))
