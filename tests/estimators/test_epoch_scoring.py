"""Scores after each epoch, on the validation crystals and in the unit of the labels."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import make_scorer, mean_absolute_error, mean_squared_error
from sklearn.model_selection import PredefinedSplit

from gnnpre import CGCNN, PropertyClassifier, PropertyRegressor, TorchMDNet
from gnnpre.datasets import make_emt_property
from gnnpre.model_selection import masked_scorer

VALID = np.r_[np.full(20, -1), np.zeros(10, dtype=int)]


@pytest.fixture(scope="module")
def data():
    return make_emt_property(30, max_atoms=4, random_state=0)


def regressor(**parameters):
    settings = {"max_epochs": 2, "validation_fraction": PredefinedSplit(VALID), "random_state": 0}
    backbone = parameters.pop("backbone", CGCNN(8, 1))
    return PropertyRegressor(backbone, **{**settings, **parameters})


def test_scores_are_those_of_the_estimator(data):
    X, y = data
    scoring = ["neg_mean_absolute_error", "r2"]
    model = regressor(epoch_scoring=scoring, restore_best=False).fit(X, y)
    row, predicted = model.history_[-1], model.predict(X[20:])
    assert row["valid_neg_mean_absolute_error"] == pytest.approx(
        -mean_absolute_error(y[20:], predicted), rel=1e-5
    )
    assert row["valid_r2"] < 1
    assert len(model.history_) == 2


def test_averaged_weights_are_scored_like_they_validate(data):
    X, y = data
    model = regressor(epoch_scoring="r2", restore_best=False, ema_decay=0.9).fit(X, y)
    from sklearn.metrics import r2_score

    assert model.history_[-1]["valid_r2"] == pytest.approx(r2_score(y[20:], model.predict(X[20:])))


def test_crystals_of_weight_zero_are_not_scored(data):
    X, y = data
    # Wrong labels of validation crystals, which their weights leave out.
    wrong, weights = y.copy(), np.where(VALID == 0, 2.0, 1.0)
    wrong[20:23] = 1e4
    weights[20:23] = 0.0
    fitted = regressor(epoch_scoring="neg_mean_absolute_error", restore_best=False)
    model = fitted.fit(X, wrong, sample_weight=weights)
    expected = -mean_absolute_error(y[23:], model.predict(X[23:]))
    assert model.history_[-1]["valid_neg_mean_absolute_error"] == pytest.approx(expected, rel=1e-5)
    with pytest.warns(UserWarning, match="no validation loss"):
        model = fitted.fit(X, wrong, sample_weight=np.where(VALID == 0, 0.0, 1.0))
    assert not any("valid_neg_mean_absolute_error" in row for row in model.history_)


def test_forms_of_scorers(data):
    X, y = data

    def largest(estimator, X, y):
        return np.abs(estimator.predict(X) - y).max()

    scoring = {"largest": largest, "rms": make_scorer(mean_squared_error)}
    assert "valid_largest" in regressor(epoch_scoring=scoring).fit(X, y).history_[0]
    for single in (largest, make_scorer(mean_squared_error)):
        names = set(regressor(epoch_scoring=single).fit(X, y).history_[0])
        assert names & {"valid_largest", "valid_mean_squared_error"}


def test_scoring_changes_no_weights(data):
    X, y = data
    plain, scored = (regressor(epoch_scoring=s).fit(X, y).predict(X) for s in (None, "r2"))
    np.testing.assert_array_equal(plain, scored)


def test_classes_and_probabilities_are_scored(data):
    X, y = data
    labels = np.where(y > np.median(y), "hard", "soft")
    model = PropertyClassifier(
        CGCNN(8, 1),
        max_epochs=2,
        validation_fraction=PredefinedSplit(VALID),
        restore_best=False,
        random_state=0,
        epoch_scoring=["accuracy", "neg_log_loss", "roc_auc"],
    ).fit(X, labels)
    row = model.history_[-1]
    assert row["valid_accuracy"] == np.mean(model.predict(X[20:]) == labels[20:])
    # The loss of classes is the cross-entropy.
    assert row["valid_neg_log_loss"] == pytest.approx(-row["valid_loss"], rel=1e-4)


def test_missing_labels_need_a_masked_scorer(data):
    X, y = data
    table = np.column_stack([y, y / 2])
    table[25, 1] = np.nan
    with pytest.raises(ValueError, match="masked_scorer"):
        regressor(epoch_scoring="neg_mean_absolute_error").fit(X, table)
    scoring = {"mae": masked_scorer(mean_absolute_error, greater_is_better=False)}
    assert regressor(epoch_scoring=scoring).fit(X, table).history_[-1]["valid_mae"] < 0


def test_values_of_atoms_are_scored_where_there_are_some(data):
    X, _ = data
    values = [np.linspace(0, 1, len(structure)) for structure in X]
    values[25] = np.full(len(X[25]), np.nan)
    model = regressor(target="atom", epoch_scoring="neg_mean_absolute_error", restore_best=False)
    row = model.fit(X, values).history_[-1]
    true, predicted = (np.concatenate(list(rows)) for rows in (values[20:], model.predict(X[20:])))
    assert row["valid_neg_mean_absolute_error"] == pytest.approx(
        -np.nanmean(np.abs(true - predicted)), rel=1e-5
    )


def test_tensors_are_scored_by_component(data):
    X, y = data
    values = y[:, None, None] * np.eye(3)
    network = TorchMDNet(8, 1, n_heads=2)
    scoring = "neg_mean_absolute_error"
    model = regressor(backbone=network, target="tensor", epoch_scoring=scoring, restore_best=False)
    row = model.fit(X, values).history_[-1]
    errors = np.abs(np.asarray(model.predict(X[20:])) - values[20:])
    assert row["valid_neg_mean_absolute_error"] == pytest.approx(-errors.mean(), rel=1e-4)


@pytest.mark.parametrize(
    ("scoring", "error", "message"),
    [
        ("mean_error", ValueError, "get_scorer_names"),
        (7, TypeError, "epoch_scoring is of type int"),
        (["r2", "r2"], ValueError, "same name"),
        ({"loss": "r2"}, ValueError, "not 'loss'"),
        ([["r2"]], ValueError, "epoch_scoring"),
    ],
)
def test_other_scorers_are_refused_before_training(data, scoring, error, message):
    with pytest.raises(error, match=message):
        regressor(epoch_scoring=scoring).fit(*data)


@pytest.mark.parametrize("scorer", [str, lambda model, X, y: y.missing, lambda model, X, y: "good"])
def test_a_scorer_that_fails_is_named(data, scorer):
    with pytest.raises(ValueError, match=r"^epoch_scoring: the scorer '.*' failed"):
        regressor(epoch_scoring={"mine": scorer}).fit(*data)


def test_scores_need_validation_crystals(data):
    with pytest.raises(ValueError, match="validation_fraction=0"):
        regressor(epoch_scoring="r2", validation_fraction=0).fit(*data)


def test_history_as_a_table_has_units(data):
    X, y = data
    frame = regressor(epoch_scoring="r2").fit(X, y).history_frame_
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.index) == [1, 2]
    assert {"valid_r2", "valid_loss", "valid_properties"} <= set(frame.columns)
    units = frame.attrs["units"]
    assert units["valid_loss"] == units["valid_properties"] == "standard deviation of y"
    assert units["dur"] == "s"
    assert "valid_r2" not in units
