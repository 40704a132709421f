"""PropertyRegressor from scratch: labels in, predictions in the same form out."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from ase import Atoms
from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.model_selection import PredefinedSplit

from gnnpre import CGCNN, PropertyRegressor, StructureToGraph
from gnnpre.exceptions import UnseenElementWarning

STILL = {"learning_rate": 1e-30, "weight_decay": 0.0, "schedule": None}


def predict(regressor, data, y=None, **fit):
    y = data.y if y is None else y
    return clone(regressor).fit(data.graphs, y, **fit).predict(data.graphs)


def test_defaults(data):
    model = PropertyRegressor(max_epochs=1).fit(data.structures[:10], data.y[:10])
    assert isinstance(model.spec_.backbone, CGCNN)
    assert model.graph_settings_.cutoff == StructureToGraph().cutoff
    assert model.transferred_ == []
    assert model.predict(data.structures[:2]).shape == (2,)


def test_it_learns(data):
    model = PropertyRegressor(
        CGCNN(8, 1), max_epochs=60, batch_size=5, learning_rate=0.03, random_state=0
    )
    model.set_params(validation_fraction=0)
    assert model.fit(data.graphs, data.y).score(data.graphs, data.y) > 0.8


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (list, (20,)),
        (tuple, (20,)),
        (pd.Series, (20,)),
        (lambda y: pd.Series(y, index=np.arange(20)[::-1] + 5), (20,)),
        (lambda y: y.astype(np.float32), (20,)),
        (lambda y: y.astype(object), (20,)),
        (lambda y: y[:, None], (20, 1)),
        (lambda y: y[:, None].tolist(), (20, 1)),
        (lambda y: pd.DataFrame({"volume": y}), (20, 1)),
    ],
)
def test_one_column_in_any_form(regressor, data, make, shape):
    predicted = np.asarray(predict(regressor, data, make(data.y)))
    assert predicted.shape == shape
    assert predicted.dtype == np.float64
    np.testing.assert_allclose(predicted.ravel(), predict(regressor, data), rtol=1e-4)


@pytest.mark.parametrize("make", [np.asarray, pd.DataFrame, lambda y: y.tolist()])
def test_several_columns(regressor, data, make):
    y = np.stack([data.y, -data.y, data.y**2], axis=1)
    model = clone(regressor).fit(data.graphs, make(y))
    assert model.predict(data.graphs).shape == (20, 3)
    assert model.y_ndim_ == 2
    assert np.isfinite(model.score(data.graphs, make(y)))


def test_integers_are_numbers(regressor, data):
    y = data.y.round().astype(int)
    np.testing.assert_array_equal(predict(regressor, data, y), predict(regressor, data, y * 1.0))


def test_gaps_in_several_columns_are_masked(regressor, data):
    y = np.stack([data.y, 100 - data.y], axis=1)
    gaps = y.copy()
    gaps[::3, 0] = np.nan
    gaps[1::4, 1] = np.nan
    model = clone(regressor).set_params(max_epochs=20, learning_rate=0.02).fit(data.graphs, gaps)
    assert all(np.isfinite(row["train_loss"]) for row in model.history_)
    predicted = model.predict(data.graphs)
    assert np.isfinite(predicted).all()
    by_hand = [
        r2_score(gaps[known, column], predicted[known, column])
        for column, known in enumerate(np.isfinite(gaps).T)
    ]
    assert model.score(data.graphs, gaps) == pytest.approx(np.mean(by_hand))


def test_the_loss_of_gaps_is_a_mean_over_what_is_there(regressor, data):
    y = np.stack([data.y, 3 * data.y], axis=1)
    y[::2, 1] = np.nan
    regressor.set_params(validation_fraction=0, max_epochs=1, **STILL)
    model = regressor.fit(data.graphs, y)
    std = model.net_.module_.std.numpy()
    errors = np.abs(model.predict(data.graphs) - y) / std
    assert model.history_[0]["train_loss"] == pytest.approx(np.nanmean(errors), rel=1e-5)


@pytest.mark.parametrize("validation_fraction", [0, 0.2])
def test_standardisation_takes_its_moments_from_the_training_part(
    regressor, data, validation_fraction
):
    y = 1e4 + 50 * data.y
    regressor.set_params(validation_fraction=validation_fraction)
    if validation_fraction:
        fold = -np.ones(20, dtype=int)
        fold[:4] = 0
        y[:4] = 1e9  # validation crystals
        regressor.set_params(validation_fraction=PredefinedSplit(fold))
    model = regressor.fit(data.graphs, y)
    train = y[4:] if validation_fraction else y
    assert float(model.net_.module_.mean[0]) == pytest.approx(train.mean(), rel=1e-5)
    assert float(model.net_.module_.std[0]) == pytest.approx(train.std(), rel=1e-5)
    assert model.predict(data.graphs) == pytest.approx(train.mean(), rel=0.2)


def test_without_standardisation_the_network_gives_the_property_itself(regressor, data):
    model = regressor.set_params(standardize=False).fit(data.graphs, 1e4 + data.y)
    assert float(model.net_.module_.mean[0]) == 0.0
    assert float(model.net_.module_.std[0]) == 1.0
    assert np.abs(model.predict(data.graphs)).max() < 1e3  # two epochs do not take it to 1e4


def test_predictions_follow_a_change_of_unit(regressor, data):
    changed = predict(regressor, data, 7 + 1000 * data.y)
    np.testing.assert_allclose(changed, 7 + 1000 * predict(regressor, data), rtol=1e-4)


def test_a_constant_property_is_predicted(regressor, data):
    np.testing.assert_allclose(predict(regressor, data, np.full(20, 3.5)), 3.5, atol=1.0)


def test_sum_pooling_grows_with_the_cell(regressor, data):
    volume = data.y * data.graphs.atom_counts
    model = regressor.set_params(pooling="sum").fit(data.graphs, volume)
    doubled = [structure.copy().make_supercell([1, 1, 2]) for structure in data.structures]
    expected = 2 * model.predict(data.graphs)
    np.testing.assert_allclose(model.predict(doubled), expected, rtol=1e-4)


@pytest.mark.parametrize("readout", ["late", "early"])
@pytest.mark.parametrize("loss", ["l1", "huber", "mse"])
def test_readouts_and_losses(regressor, data, readout, loss):
    regressor.set_params(readout=readout, loss=loss, head_channels=4, head_layers=2)
    assert np.isfinite(predict(regressor, data)).all()


def test_sample_weight_changes_the_model(regressor, data):
    weight = np.linspace(0.1, 5.0, 20)
    regressor.set_params(validation_fraction=0)
    plain, weighted = (predict(regressor, data, sample_weight=w) for w in (None, weight))
    assert not np.allclose(plain, weighted, rtol=1e-6)
    # Its scale does not: the loss is a weighted mean.
    scaled = predict(regressor, data, sample_weight=1000 * weight)
    np.testing.assert_allclose(scaled, weighted, rtol=1e-4)
    np.testing.assert_allclose(
        predict(regressor, data, sample_weight=np.full(20, 2.0)), plain, rtol=1e-6
    )


def test_a_crystal_of_no_weight_is_left_out_of_the_loss(regressor, data):
    regressor.set_params(standardize=False, validation_fraction=0)
    weight = np.ones(20)
    weight[[3, 8]] = 0.0
    absurd = data.y.copy()
    absurd[[3, 8]] = 1e6
    one = predict(regressor, data, sample_weight=weight)
    two = predict(regressor, data, absurd, sample_weight=weight)
    np.testing.assert_array_equal(one, two)


def test_weights_enter_the_recorded_loss(regressor, data):
    regressor.set_params(validation_fraction=0, max_epochs=1, batch_size=3, **STILL)
    weight = np.linspace(0.1, 3.0, 20)
    model = regressor.fit(data.graphs, data.y, sample_weight=weight)
    errors = np.abs(model.predict(data.graphs) - data.y) / float(model.net_.module_.std[0])
    expected = np.average(errors, weights=weight)
    assert model.history_[0]["train_loss"] == pytest.approx(expected, rel=1e-5)


def test_groups_stay_on_one_side_of_the_validation_split(regressor, data):
    # Every crystal of a group has the same y, so that the mean of the training part, which the
    # model keeps, tells which groups are in it.
    groups = np.repeat(np.arange(5), 4)
    y = 10.0**groups
    model = regressor.set_params(validation_fraction=0.2).fit(data.graphs, y, groups=groups)
    kept = float(model.net_.module_.mean[0])
    candidates = [y[groups != left].mean() for left in range(5)]
    assert any(kept == pytest.approx(mean, rel=1e-5) for mean in candidates)
    assert model.data_ == {"n_crystals": 20, "n_train": 16, "n_valid": 4}


def test_few_crystals_train_without_validation(regressor, data):
    with pytest.warns(UserWarning, match="3 crystals are too few to hold out"):
        model = regressor.fit(data.graphs[:3], data.y[:3])
    assert "valid_loss" not in model.history_[0]


def test_one_crystal_is_enough(regressor, data):
    model = regressor.set_params(validation_fraction=0).fit(data.graphs[:1], data.y[:1])
    assert np.isfinite(model.predict(data.graphs[:1])).all()


def test_predictions_do_not_depend_on_order_subset_or_batch(regressor, data):
    model = regressor.set_params(backbone__batch_norm=True).fit(data.graphs, data.y)
    whole = model.predict(data.graphs)
    order = np.random.default_rng(0).permutation(20)
    np.testing.assert_allclose(model.predict(data.graphs[order]), whole[order], rtol=1e-5)
    np.testing.assert_allclose(model.predict(data.graphs[5:9]), whole[5:9], rtol=1e-5)
    singles = [model.predict(data.graphs[[index]])[0] for index in range(20)]
    np.testing.assert_allclose(singles, whole, rtol=1e-5)
    np.testing.assert_array_equal(model.predict(data.graphs), whole)


def test_prediction_in_many_batches(regressor, data, monkeypatch):
    model = regressor.fit(data.graphs, data.y)
    whole = model.predict(data.graphs)
    monkeypatch.setattr("gnnpre.training._predict.PREDICTION_EDGES", 100)
    np.testing.assert_allclose(model.predict(data.graphs), whole, rtol=1e-5)


@pytest.mark.parametrize("make", [list, tuple, pd.Series, "array", "column"])
def test_containers_of_structures_give_the_same(regressor, data, make):
    if make in ("array", "column"):
        X = np.empty(20, dtype=object)
        X[:] = data.structures
        X = X if make == "array" else X[:, None]
    else:
        X = make(data.structures)
    graphs = StructureToGraph().transform(data.structures)
    one = clone(regressor).fit(X, data.y).predict(X)
    two = clone(regressor).fit(graphs, data.y).predict(graphs)
    np.testing.assert_array_equal(one, two)


def test_isolated_atoms_among_crystals(regressor, data):
    X = [*data.structures, Atoms("Cu"), Atoms("Cu", cell=[30] * 3, pbc=True)]
    y = np.append(data.y, [100.0, 100.0])
    predicted = regressor.fit(X, y).predict(X)
    assert np.isfinite(predicted).all()
    assert predicted[-1] == pytest.approx(predicted[-2], rel=1e-6)


def test_unseen_elements_are_named_once_per_fit_with_their_rows(regressor, data):
    model = regressor.fit(data.graphs, data.y)
    iron, gold = Atoms("Fe", cell=[2.9] * 3, pbc=True), Atoms("Hf", cell=[3.0] * 3, pbc=True)
    message = r"not trained on: Fe \(row 0\)\. Predictions for 1 of 21 crystals"
    with pytest.warns(UnseenElementWarning, match=message) as caught:
        predicted = model.predict([iron, *data.structures])
    assert len(caught) == 1
    assert np.isfinite(predicted).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnseenElementWarning)
        model.score([iron, *data.structures], np.append([1.0], data.y))
    with pytest.warns(UnseenElementWarning, match=r"Fe \(row 20\); Hf \(rows 0, 21, 22, \.\.\.\)"):
        model.embed([gold, *data.structures[1:], iron, *[gold] * 5])
    model.fit(data.graphs, data.y)
    with pytest.warns(UnseenElementWarning, match="Fe"):
        model.predict([iron])


def test_score_is_r2_with_weights(regressor, data):
    model = regressor.fit(data.graphs, data.y)
    weight = np.linspace(0, 1, 20)
    predicted = model.predict(data.graphs)
    assert model.score(data.graphs, data.y) == pytest.approx(r2_score(data.y, predicted))
    assert model.score(data.graphs, data.y, sample_weight=weight) == pytest.approx(
        r2_score(data.y, predicted, sample_weight=weight)
    )


def test_float64(regressor, data):
    model = regressor.set_params(dtype="float64").fit(data.graphs, data.y)
    assert {p.dtype for p in model.net_.module_.parameters()} == {torch.float64}
    order = np.arange(20)[::-1].copy()
    whole = model.predict(data.graphs)
    np.testing.assert_allclose(model.predict(data.graphs[order]), whole[order], rtol=1e-12)


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_devices(regressor, data, device):
    model = regressor.set_params(device=device).fit(data.graphs, data.y)
    expected = "cuda" if device == "auto" and torch.cuda.is_available() else "cpu"
    assert next(model.net_.module_.parameters()).device.type == expected


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ("print", "callbacks is of type str; expected a list of skorch callbacks"),
        ([1], r"callbacks\[0\] is 1; expected an instance of skorch"),
        ([("name", print)], r"callbacks\[0\] is \('name', .*; expected an instance of skorch"),
    ],
)
def test_callbacks_that_are_none(regressor, data, callbacks, message):
    with pytest.raises(TypeError, match=message):
        regressor.set_params(callbacks=callbacks).fit(data.graphs, data.y)


def test_sample_weight_counts_in_batches_of_one(regressor, data):
    weights = np.linspace(0.01, 10, len(data.y))
    settings = {"batch_size": 1, "validation_fraction": 0}
    models = [
        clone(regressor).set_params(**settings).fit(data.graphs, data.y, sample_weight=w)
        for w in (None, weights)
    ]
    one, two = (model.net_.module_.state_dict()["head.mlp.0.weight"] for model in models)
    assert (one - two).abs().max() > 1e-4


def test_a_failed_refit_leaves_the_old_model(regressor, data):
    regressor.fit(data.graphs, np.c_[data.y, data.y])
    with pytest.raises(ValueError, match="groups has shape"):
        regressor.fit(data.graphs, data.y, groups=[1])
    assert regressor.predict(data.graphs).shape == (len(data.y), 2)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "y is None"),
        (np.zeros(5), r"y has shape \(5,\)"),
        (np.zeros((20, 2)), "y has 2 columns; this estimator was fitted on 1"),
        (np.full(20, np.nan), "only missing values"),
    ],
)
def test_score_of_bad_y(regressor, data, y, message):
    regressor.fit(data.graphs, data.y)
    with pytest.raises(ValueError, match=message):
        regressor.score(data.graphs, y)


@pytest.mark.parametrize(
    "y", [np.zeros((20, 0)), np.full(20, 1e300), np.full(20, 1j), np.full(20, "2020", "M8[Y]")]
)
def test_y_that_makes_no_sense(regressor, data, y):
    with pytest.raises(ValueError, match="y "):
        regressor.fit(data.graphs, y)
