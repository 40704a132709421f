"""The comparison of a fine-tuned model with what it started from."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import RidgeCV
from sklearn.metrics import log_loss
from sklearn.model_selection import PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gnnpre import CGCNN, PropertyClassifier, PropertyRegressor

N_VALID = 10
# The head alone, as the statistics of batch norm move without a step.
STILL = {"strategy": "head", "learning_rate": 1e-30, "weight_decay": 0.0, "schedule": None}


@pytest.fixture
def regressor(pretrained, data):
    fold = np.repeat([-1, 0], [len(data.y) - N_VALID, N_VALID])
    return PropertyRegressor(
        pretrained=FrozenEstimator(pretrained),
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
    train, valid = data.y[:-N_VALID], data.y[-N_VALID:]
    expected = np.abs(model.predict(data.graphs[-N_VALID:]) - valid).mean() / train.std()
    assert model.diagnosis_["final"] == pytest.approx(expected, rel=1e-5)


def test_a_model_that_rests_is_what_it_was(regressor, data):
    model = quiet_fit(regressor.set_params(**STILL), data)
    assert model.diagnosis_["final"] == model.diagnosis_["zero_epochs"]


def test_probe_is_a_ridge_on_the_embeddings_of_the_source(regressor, data, pretrained):
    table = pretrained.transform(data.graphs)
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 7)))
    train, valid = slice(None, -N_VALID), slice(-N_VALID, None)
    predicted = ridge.fit(table[train], data.y[train]).predict(table[valid])
    expected = np.abs(predicted - data.y[valid]).mean() / data.y[train].std()
    found = quiet_fit(regressor, data).diagnosis_["frozen_probe"]
    assert found == pytest.approx(expected, rel=1e-4)


def test_weights_are_as_without_the_comparison(regressor, data):
    compared = quiet_fit(regressor, data)
    alone = quiet_fit(regressor.set_params(diagnose=False), data)
    assert alone.diagnosis_ == {}
    np.testing.assert_array_equal(compared.predict(data.graphs), alone.predict(data.graphs))


def test_warns_when_fine_tuning_loses_to_the_frozen_model(regressor, data):
    # Steps this large destroy what was there.
    regressor.set_params(learning_rate=3.0, schedule=None, restore_best=False)
    with pytest.warns(UserWarning, match="Fine-tuning ended") as caught:
        regressor.fit(data.graphs, data.y)
    messages = [str(warning.message) for warning in caught]
    assert any("a linear model on the frozen embeddings has" in m for m in messages)
    assert any("before its first step: it undid what was there" in m for m in messages)
    assert all(warning.filename == __file__ for warning in caught)


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
