"""The comparison of a fine-tuned model with what it started from."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss
from sklearn.model_selection import PredefinedSplit
from sklearn.utils import compute_class_weight

from gnnpre import (
    CGCNN,
    ClassTargets,
    Denoising,
    Pretrainer,
    PropertyClassifier,
    PropertyRegressor,
    PropertyTargets,
    TorchMDNet,
)
from gnnpre.estimators import KernelClassifier, KernelRegressor
from gnnpre.estimators._diagnosis import warn_of_failure
from gnnpre.estimators._fit_data import FitData, Rows
from gnnpre.estimators._inputs import add_sample_weight
from gnnpre.estimators._label_errors import ClassErrors, PropertyErrors
from gnnpre.exceptions import TrainingWarning
from gnnpre.objectives import Bounds

N_VALID = 10
# The head alone, as the statistics of batch norm move without a step.
STILL = {"strategy": "head", "learning_rate": 1e-30, "weight_decay": 0.0, "schedule": None}


@pytest.fixture
def regressor(pretrained, data):
    fold = np.repeat([-1, 0], [len(data.y) - N_VALID, N_VALID])
    return PropertyRegressor(
        pretrained=FrozenEstimator(pretrained),
        strategy="full",
        validation_fraction=PredefinedSplit(fold),
        max_epochs=2,
        batch_size=8,
        random_state=0,
    )


def quiet_fit(model, data, y=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return clone(model).fit(data.graphs, data.y if y is None else y)


def test_final_is_the_error_of_the_model_on_the_inner_validation_set(regressor, data):
    model = quiet_fit(regressor, data)
    errors = np.abs(model.predict(data.graphs) - data.y)  # in the unit of y
    assert model.diagnosis_["final"] == pytest.approx(errors[-N_VALID:].mean(), rel=1e-5)
    assert model.diagnosis_["training"] == pytest.approx(errors[:-N_VALID].mean(), rel=1e-5)


def test_errors_of_several_properties_are_in_standard_deviations(regressor, data):
    y = np.stack([data.y, 1e6 * data.y], axis=1)
    model = quiet_fit(regressor, data, y)
    errors = np.abs(model.predict(data.graphs) - y) / y[:-N_VALID].std(axis=0)
    assert model.diagnosis_["final"] == pytest.approx(errors[-N_VALID:].mean(), rel=1e-5)


@pytest.mark.parametrize("strategy", ["full", "blended"])
def test_a_property_without_a_training_label_has_no_error(regressor, data, strategy):
    # The kernel machine that errors are compared with stopped the fit, after the training.
    y = np.stack([data.y, np.full(len(data.y), np.nan)], axis=1)
    y[-2:, 1] = 1e6
    regressor.set_params(strategy=strategy, kernel_features=("composition",))
    model = quiet_fit(regressor, data, y)
    assert all(e < 100 for key, e in model.diagnosis_.items() if key != "unmoved")
    assert {weights.shape for weights in model.weights_.values()} == {(2,)}
    if strategy == "full":  # the errors of "blended" are not those of its predictions
        errors = np.abs(model.predict(data.graphs) - y)[-N_VALID:, 0] / y[:-N_VALID, 0].std()
        assert model.diagnosis_["final"] == pytest.approx(errors.mean(), rel=1e-5)


def test_crystals_without_a_weight_have_no_errors(pretrained, data):
    model = PropertyRegressor(
        pretrained=FrozenEstimator(pretrained),
        strategy="full",
        validation_fraction=0.7,
        max_epochs=1,
        random_state=0,
    )
    weights, spoilt = np.ones(len(data.y)), data.y.copy()
    weights[::5], spoilt[::5] = 0.0, 1e4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        one, same = (
            clone(model).fit(data.graphs, y, sample_weight=weights) for y in (data.y, spoilt)
        )
    assert "final" in one.diagnosis_
    assert one.diagnosis_ == same.diagnosis_


def test_a_model_that_rests_is_what_it_was(regressor, data):
    model = quiet_fit(regressor.set_params(**STILL), data)
    assert model.diagnosis_["final"] == model.diagnosis_["zero_epochs"]


def test_probe_is_a_kernel_machine_on_the_embeddings_of_the_source(regressor, data, pretrained):
    table = pretrained.transform(data.graphs).astype(np.float64)
    machine = KernelRegressor(transforms=("identity",), resolution=1e-5, random_state=0)
    train, valid = slice(None, -N_VALID), slice(-N_VALID, None)
    predicted = machine.fit(table[train], data.y[train]).predict(table[valid])
    expected = np.abs(predicted - data.y[valid]).mean()
    assert quiet_fit(regressor, data).diagnosis_["frozen_probe"] == pytest.approx(expected)


def test_weights_are_as_without_the_comparison(regressor, data):
    compared = quiet_fit(regressor, data)
    alone = quiet_fit(regressor.set_params(diagnose=False), data)
    assert alone.diagnosis_ == {}
    np.testing.assert_array_equal(compared.predict(data.graphs), alone.predict(data.graphs))


def test_warns_when_fine_tuning_loses_to_the_frozen_model(regressor, data):
    # Trained on noise, it knows its own crystals and is worse on the validation set.
    y = data.y.copy()
    y[:-N_VALID] = np.random.default_rng(0).normal(y.mean(), y.std(), len(y) - N_VALID)
    regressor.set_params(learning_rate=0.02, schedule=None, restore_best=False, max_epochs=150)
    with pytest.warns(TrainingWarning, match="Fine-tuning ended") as caught:
        regressor.fit(data.graphs, y)
    messages = [str(warning.message) for warning in caught]
    assert any("a kernel machine on the frozen embeddings has" in m for m in messages)
    assert not any("too short" in m for m in messages)
    assert all(warning.filename == __file__ for warning in caught)


def test_a_training_that_is_too_short_is_called_so(regressor, data):
    with pytest.warns(TrainingWarning, match="After 1 epoch the error on the training") as caught:
        regressor.set_params(max_epochs=1, learning_rate=1e-5).fit(data.graphs, data.y)
    messages = [str(warning.message) for warning in caught]
    assert any("Raise max_epochs first" in m for m in messages)
    assert not any("strategy='head'" in m for m in messages)


def test_a_machine_that_shares_the_predictions_is_no_reason_to_warn():
    errors = {"zero_epochs": 5.0, "final": 2.0, "kernel": 1.0, "blend": 0.9, "unmoved": []}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_failure({**errors, "training": 0.5}, 3)
    with pytest.warns(TrainingWarning, match="Fine-tuning ended"):
        warn_of_failure({**errors, "training": 0.5, "frozen_probe": 1.0}, 3)
    # But a network that has not even learnt its own crystals is of no use in a blend.
    with pytest.warns(TrainingWarning, match=r"still 1.5 .* no better than the 1 without"):
        warn_of_failure({**errors, "training": 1.5}, 3)


@pytest.mark.filterwarnings("error:The y_prob values")
def test_probabilities_of_classes_sum_to_one(pretrained, data):
    classes = data.y > np.median(data.y)
    classifier = PropertyClassifier(
        pretrained=FrozenEstimator(pretrained), validation_fraction=0.5, max_epochs=1
    )
    assert np.isfinite(classifier.fit(data.graphs, classes).diagnosis_["frozen_probe"])


def test_warns_of_weights_that_do_not_move(regressor, data):
    with pytest.warns(UserWarning, match=r"weights have not moved .*backbone\."):
        regressor.set_params(backbone_lr_scale=1e-30, weight_decay=0.0).fit(data.graphs, data.y)
    unmoved = regressor.diagnosis_["unmoved"]
    assert unmoved
    assert all(name.startswith("backbone.") for name in unmoved)


def test_frozen_weights_need_not_move(regressor, data):
    assert quiet_fit(regressor.set_params(strategy="head"), data).diagnosis_["unmoved"] == []


def test_nothing_is_said_of_too_few_crystals_or_without_pretraining(regressor, data):
    few = quiet_fit(regressor.set_params(validation_fraction=0.2), data)
    assert few.diagnosis_ == {"unmoved": []}
    scratch = PropertyRegressor(CGCNN(8, 1), max_epochs=1, random_state=0)
    assert quiet_fit(scratch, data).diagnosis_ == {}


def test_missing_values_of_one_property_are_left_out(regressor, data):
    y = np.stack([data.y, 2.0 * data.y], axis=1)
    y[::3, 1] = np.nan
    errors = quiet_fit(regressor, data, y).diagnosis_
    assert all(np.isfinite(errors[key]) for key in ("zero_epochs", "frozen_probe", "final"))


def test_classifier(pretrained, data):
    labels = np.arange(len(data.y)) % 2
    classifier = PropertyClassifier(
        pretrained=FrozenEstimator(pretrained),
        validation_fraction=0.5,
        max_epochs=1,
        random_state=0,
    )
    model = quiet_fit(classifier.set_params(**STILL), data, labels)
    diagnosis = model.diagnosis_
    assert diagnosis["zero_epochs"] == diagnosis["final"]
    fold = np.repeat([-1, 0], [len(labels) - N_VALID, N_VALID])
    model = quiet_fit(
        classifier.set_params(validation_fraction=PredefinedSplit(fold)), data, labels
    )
    expected = log_loss(labels[-N_VALID:], model.predict_proba(data.graphs[-N_VALID:]))
    assert model.diagnosis_["final"] == pytest.approx(expected, rel=1e-5)


def test_saved_with_the_model(regressor, data, tmp_path):
    model = quiet_fit(regressor, data)
    model.save(tmp_path / "m.gnnpre")
    assert PropertyRegressor.load(tmp_path / "m.gnnpre").diagnosis_ == model.diagnosis_


def test_an_infinite_prediction_counts_and_a_missing_label_does_not(data):
    errors = property_errors(data, [1.0, np.nan, 3.0])
    assert errors.error(np.array([[1.5], [9.0], [3.5]]), np.arange(3)) == 0.5
    assert errors.error(np.array([[np.inf], [9.0], [3.5]]), np.arange(3)) == np.inf


def property_errors(data, y, *, weights=None, groups=None, **parameters):
    """Errors of a property of the first crystals, all of which train."""
    objective, graphs = PropertyTargets(**parameters), data.graphs[: len(y)]
    targets = add_sample_weight(objective.make_targets(graphs, y), weights)
    rows = np.arange(len(y))
    return PropertyErrors(
        FitData(graphs, targets, Rows(rows, rows, rows[:0], rows[:0]), groups, 0), objective
    )


def fit_with_weights(regressor, data, y, **parameters):
    """Fit with weights of 1 and 9, and return the model, its predictions and the weights."""
    weights = np.where(np.arange(len(data.y)) % 3, 1.0, 9.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = clone(regressor).set_params(**parameters)
        model.fit(data.graphs, y, sample_weight=weights)
    return model, weights[-N_VALID:]


def test_errors_weigh_crystals_as_the_loss_does(regressor, data):
    model, weights = fit_with_weights(regressor, data, data.y)
    errors = np.abs(model.predict(data.graphs) - data.y)[-N_VALID:]
    expected = np.average(errors, weights=weights)
    assert model.diagnosis_["final"] == pytest.approx(expected, rel=1e-5)
    assert model.diagnosis_["final"] != pytest.approx(errors.mean(), rel=1e-3)


@pytest.mark.parametrize("target", ["atom", "vector"])
def test_errors_of_atoms_and_vectors_weigh_crystals(regressor, data, target):
    y = [np.arange(len(structure), dtype=float) for structure in data.structures]
    if target == "vector":  # of a backbone that has vectors
        y = np.random.default_rng(0).normal(size=(len(data.y), 3))
        source = Pretrainer(TorchMDNet(8, 1), Denoising(), max_epochs=1).fit(data.graphs)
        regressor.set_params(pretrained=FrozenEstimator(source))
    model, weights = fit_with_weights(regressor, data, y, target=target)
    pairs = list(zip(model.predict(data.graphs), y, strict=True))[-N_VALID:]
    if target == "atom":
        weights = np.concatenate(
            [np.full(len(b), w) for (_, b), w in zip(pairs, weights, strict=True)]
        )
        errors = np.concatenate([np.abs(a - b) for a, b in pairs])
    else:
        errors = np.linalg.norm([a - b for a, b in pairs], axis=1)
    expected = np.average(errors, weights=weights)
    assert model.diagnosis_["final"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1.0, 1: 20.0}])
def test_errors_of_classes_weigh_them_as_the_loss_does(pretrained, data, class_weight):
    labels = (np.arange(len(data.y)) % 4 == 0).astype(int)
    fold = np.repeat([-1, 0], [len(labels) - N_VALID, N_VALID])
    classifier = PropertyClassifier(
        pretrained=FrozenEstimator(pretrained),
        validation_fraction=PredefinedSplit(fold),
        class_weight=class_weight,
        max_epochs=1,
        random_state=0,
    )
    model = quiet_fit(classifier, data, labels)
    train, valid = labels[:-N_VALID], labels[-N_VALID:]
    by_class = compute_class_weight(class_weight, classes=np.arange(2), y=train)
    predicted = model.predict_proba(data.graphs[-N_VALID:])
    expected = log_loss(valid, predicted, sample_weight=by_class[valid])
    assert model.diagnosis_["final"] == pytest.approx(expected, rel=1e-5)


def test_probe_knows_weights_and_groups(data):
    # Two rows of each crystal, in a group, with wrong labels that hardly weigh.
    rows = np.arange(len(data.y))
    table = np.random.default_rng(0).normal(size=(len(rows), 3))
    y, weights, groups = table[:, 0].copy(), np.where(rows % 4, 1.0, 1e-3), rows // 2
    y[::4] += 50.0
    errors = property_errors(data, y, weights=weights, groups=groups)
    machine = KernelRegressor(transforms=("identity",), resolution=1e-5, random_state=0)
    expected = machine.fit(table, y, weights, groups).predict(table)
    probed = errors.probe(table, rows, table, rows)
    np.testing.assert_allclose(probed[:, 0], expected)
    assert np.abs(probed[rows % 4 > 0, 0] - y[rows % 4 > 0]).max() < 5


def test_probe_knows_weights_and_groups_of_classes(data):
    rows = np.arange(len(data.y))
    table, labels = np.random.default_rng(0).normal(size=(len(rows), 3)), rows // 2 % 2
    weights, objective = np.where(rows % 4, 1.0, 3.0), ClassTargets()
    targets = add_sample_weight(objective.make_targets(data.graphs, labels), weights)
    split = Rows(rows, rows, rows[:0], rows[:0])
    errors = ClassErrors(
        FitData(data.graphs, targets, split, rows // 2, 0), class_weight=np.array([1.0, 5.0])
    )
    machine = KernelClassifier(resolution=1e-5, max_tuning=300, random_state=0)
    machine.fit(table, labels, weights * np.array([1.0, 5.0])[labels], rows // 2)
    expected = machine.predict_proba(table)
    np.testing.assert_allclose(errors.probe(table, rows, table, rows), expected)


def test_probe_of_a_property_that_grows_with_the_cell(data):
    # A constant of each atom: the mean of the embeddings does not tell how many there are.
    counts = data.graphs.atom_counts.astype(float)
    rows, table = np.arange(len(counts)), np.random.default_rng(0).normal(size=(len(counts), 3))
    errors = property_errors(data, 7.0 * counts, pooling="sum")
    np.testing.assert_allclose(errors.probe(table, rows, table, rows)[:, 0], 7.0 * counts)
    bounded = property_errors(data, 7.0 * counts, pooling="sum", bounds=(0.0, 10.0 * counts.max()))
    bounded.bounds = Bounds(0.0, 1.0)
    assert bounded.probe(table, rows, table, rows).max() == 1.0
