"""Standard deviations, intervals and distances."""

import numpy as np
import pytest
from scipy.linalg import inv
from sklearn.base import clone
from sklearn.model_selection import PredefinedSplit, ShuffleSplit

from gnnpre import CGCNN, PropertyRegressor, StructureToGraph
from gnnpre.datasets import make_emt_property, read_matbench
from gnnpre.estimators._blending import conformal_quantile, crystals_for_confidence
from gnnpre.estimators._uncertainty import (
    Calibration,
    LastLayer,
    TrainingCloud,
    spread_factors,
)
from gnnpre.exceptions import DataQualityWarning
from gnnpre.training import draw_seed, split_train_valid

SMALL = {"max_epochs": 8, "batch_size": 8, "random_state": 0}


@pytest.fixture(scope="module")
def alloys():
    structures, y = make_emt_property(90, target="formation_energy", random_state=0)
    return StructureToGraph(4.0).transform(structures), y


@pytest.fixture(scope="module")
def fitted(alloys):
    graphs, y = alloys
    regressor = PropertyRegressor(CGCNN(8, 1), calibration_fraction=0.3, **SMALL)
    return regressor.fit(graphs[:70], y[:70])


def test_deviations_have_the_form_and_unit_of_the_property(fitted, alloys):
    graphs, y = alloys
    values, std = fitted.predict(graphs, return_std=True)
    np.testing.assert_array_equal(values, fitted.predict(graphs))
    assert values.shape == std.shape == y.shape
    assert (std > 0).all()
    scaled = clone(fitted).fit(graphs[:70], 1000.0 * y[:70])
    np.testing.assert_allclose(scaled.predict(graphs, return_std=True)[1], 1000.0 * std, rtol=0.05)


def test_several_properties(alloys):
    graphs, y = alloys
    both = np.stack([y, -5.0 * y], axis=1)
    both[::4, 1] = np.nan
    model = PropertyRegressor(CGCNN(8, 1), calibration_fraction=0.3, **SMALL).fit(graphs, both)
    values, std = model.predict(graphs, return_std=True)
    lower, upper = model.predict_interval(graphs, 0.8)
    assert values.shape == std.shape == lower.shape == both.shape
    assert (lower < values).all()
    assert (values < upper).all()


@pytest.mark.filterwarnings("error::RuntimeWarning")  # NumPy's, of the mean of nothing
def test_a_property_without_a_label_to_calibrate_with_is_named(alloys):
    graphs, y = alloys
    both = np.stack([y, y], axis=1)[:40]
    both[30:, 1] = np.nan
    held_out = PredefinedSplit(np.repeat([-1, 0], [30, 10]))
    model = PropertyRegressor(CGCNN(8, 1), calibration_fraction=held_out, **SMALL)
    with pytest.warns(DataQualityWarning, match="column 1 among the 10 .* deviations are NaN"):
        model.set_params(max_epochs=1).fit(graphs[:40], both)
    _, std = model.predict(graphs[:3], return_std=True)
    assert (std[:, 0] > 0).all()
    assert np.isnan(std[:, 1]).all()
    with pytest.raises(ValueError, match=r"label in column 1 of y .*there are 0"):
        model.predict_interval(graphs[:3], 0.5)
    residuals = np.array([[1.0, np.nan], [2.0, np.nan]])
    assert np.isnan(spread_factors(residuals, np.ones((2, 2)))).tolist() == [False, True]


@pytest.mark.parametrize(
    "settings",
    [
        {"pooling": "sum"},
        {"pooling": "attention"},
        {"readout": "early"},
        {"readout": "early", "pooling": "cumulants"},
        {"head_layers": 0},
        {"pooling": "max", "readout": "early"},
    ],
)
def test_every_linear_readout_is_linear_in_its_last_features(alloys, settings):
    from gnnpre.estimators._uncertainty import last_layer_features

    graphs, y = alloys
    model = PropertyRegressor(CGCNN(8, 1), calibration_fraction=0.3, dtype="float64", **SMALL)
    model.set_params(**settings, standardize=False).fit(graphs, y)
    features = last_layer_features(model.net_.module_, graphs)
    last = model.net_.module_.head.mlp[-1]
    weights = np.append(last.weight.detach().numpy()[0], last.bias.detach().numpy()[0])
    np.testing.assert_allclose(features @ weights, model.predict(graphs), rtol=1e-6, atol=1e-9)
    assert np.isfinite(model.predict(graphs, return_std=True)[1]).all()


def test_a_maximum_has_intervals_and_no_deviations(alloys):
    graphs, y = alloys
    model = PropertyRegressor(CGCNN(8, 1), calibration_fraction=0.3, pooling="max", **SMALL)
    lower, upper = model.fit(graphs, y).predict_interval(graphs)
    np.testing.assert_allclose(upper - lower, (upper - lower)[0])
    with pytest.raises(ValueError, match="pooling='max' of a late readout is not linear"):
        model.predict(graphs, return_std=True)


def test_last_layer_against_the_formula():
    rng = np.random.default_rng(0)
    train, other = rng.normal(size=(50, 4)), rng.normal(size=(20, 4))
    residuals = rng.normal(size=(20, 1))
    layer = LastLayer.fit(train, other, residuals)
    variance = np.einsum("ij,jk,ik->i", other, inv(train.T @ train), other)
    scale = np.sqrt(np.mean(residuals[:, 0] ** 2 / variance))
    np.testing.assert_allclose(layer.std(other)[:, 0], scale * np.sqrt(variance), rtol=1e-4)


def test_quantiles_cover_as_promised():
    # The promise of split conformal prediction, over many draws of calibration and new crystals.
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(2000):
        calibration = Calibration.fit(rng.standard_cauchy((19, 1)), None)
        covered.append(abs(rng.standard_cauchy()) <= calibration.quantiles(0.8)[0])
    assert np.mean(covered) == pytest.approx(0.8, abs=0.025)


def test_missing_scores_are_left_out():
    residuals = np.array([[1.0, np.nan], [-2.0, 0.5], [3.0, np.nan]])
    assert Calibration.fit(residuals, None).scores == [[1.0, 2.0, 3.0], [0.5]]
    assert Calibration.fit(residuals, np.full((3, 2), 0.5)).scores == [[2.0, 4.0, 6.0], [1.0]]


def test_too_few_crystals_for_a_confidence(fitted, alloys):
    with pytest.raises(ValueError, match=r"confidence=0.99 needs at least 99 .* there are 21"):
        fitted.predict_interval(alloys[0], 0.99)
    for wrong in (0.0, 1.0, 90, "90%"):
        with pytest.raises(ValueError, match=f"confidence={wrong!r}; expected"):
            fitted.predict_interval(alloys[0], wrong)


@pytest.mark.parametrize("confidence", [0.01, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999])
def test_the_number_of_crystals_that_a_confidence_needs(confidence):
    needed = crystals_for_confidence(confidence)
    Calibration([list(range(needed))]).quantiles(confidence)
    conformal_quantile(np.arange(needed), confidence)
    with pytest.raises(ValueError, match=f"needs at least {needed} crystals"):
        Calibration([list(range(needed - 1))]).quantiles(confidence)
    with pytest.raises(ValueError, match=f"needs at least {needed} crystals"):
        conformal_quantile(np.arange(needed - 1), confidence)


def test_wider_for_more_confidence(fitted, alloys):
    widths = [np.subtract(*fitted.predict_interval(alloys[0], c)[::-1]) for c in (0.5, 0.9)]
    assert (widths[0] < widths[1]).all()


def test_distance_is_about_one_in_training_and_grows_outside(fitted, alloys):
    graphs, _ = alloys
    assert np.median(fitted.distance(graphs[:70])) == pytest.approx(1.0, abs=0.2)
    strange = graphs[70:]
    strange.atomic_numbers[:] = 8
    with pytest.warns(UserWarning, match="not trained on: O"):
        assert fitted.distance(strange).min() > 1.5


def test_cloud_is_the_mahalanobis_distance():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(4000, 3)) @ rng.normal(size=(3, 3)) + 5.0
    centred = table - table.mean(axis=0)
    expected = np.sqrt(np.einsum("ij,jk,ik->i", centred, inv(np.cov(table.T)), centred))
    found = TrainingCloud.fit(table).distance(table)
    np.testing.assert_allclose(found, expected / np.median(expected), rtol=0.02)


def test_held_out_crystals_teach_the_network_nothing(alloys):
    graphs, y = alloys
    # The split is by the seed alone: other labels of held out crystals change no weight.
    model = PropertyRegressor(CGCNN(8, 1), calibration_fraction=0.3, **SMALL)
    first = clone(model).fit(graphs, y)
    moved = set()
    for row in range(0, 90, 18):
        poisoned = y.copy()
        poisoned[row] += 100.0
        other = clone(model).fit(graphs, poisoned)
        same = np.array_equal(other.predict(graphs), first.predict(graphs))
        wider = other.uncertainty_ != first.uncertainty_
        assert wider
        moved.add(same)
    assert moved == {True, False}


def test_groups_stay_together(alloys):
    graphs, y = alloys
    model = PropertyRegressor(
        CGCNN(8, 1), calibration_fraction=0.3, validation_fraction=0.2, **SMALL
    )
    model.fit(graphs, y, groups=np.repeat(np.arange(9), 10))
    # Of 9 groups 3 calibrate (0.3 rounded up) and of the 6 left 2 validate.
    assert model.data_ == {"n_crystals": 60, "n_train": 40, "n_valid": 20}
    assert len(model.uncertainty_["calibration"]["scores"][0]) == 30


def test_saved_with_the_model(fitted, alloys, tmp_path):
    fitted.save(tmp_path / "m.gnnpre")
    loaded = PropertyRegressor.load(tmp_path / "m.gnnpre")
    for ours, theirs in zip(
        fitted.predict(alloys[0], return_std=True),
        loaded.predict(alloys[0], return_std=True),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("n", [3, 5])
def test_very_few_crystals(alloys, n):
    graphs, y = alloys
    model = PropertyRegressor(CGCNN(8, 1), calibration_fraction=0.4, **SMALL)
    model.set_params(validation_fraction=0).fit(graphs[:n], y[:n])
    assert np.isfinite(model.predict(graphs, return_std=True)[1]).all()
    assert np.isfinite(model.distance(graphs)).all()


def held_out_rows():
    _, held = split_train_valid(90, 0.3, None, draw_seed(0) + 1)
    return held


def test_weights_that_leave_nothing_to_train_on(alloys):
    graphs, y = alloys
    model = PropertyRegressor(CGCNN(8, 1), calibration_fraction=0.3, max_epochs=1, random_state=0)
    weights = np.zeros(90)
    weights[held_out_rows()[0]] = 1.0
    with pytest.raises(ValueError, match=r"sample_weight is zero for all .* calibration_fraction"):
        model.fit(graphs, y, sample_weight=weights)


def test_crystals_without_a_weight_calibrate_nothing(alloys):
    graphs, y = alloys
    model = PropertyRegressor(CGCNN(8, 1), calibration_fraction=0.3, max_epochs=1, random_state=0)
    weights, spoilt = np.ones(90), y.copy()
    weights[::3], spoilt[::3] = 0.0, 100.0
    one, same = (clone(model).fit(graphs, z, sample_weight=weights) for z in (y, spoilt))
    assert one.uncertainty_ == same.uncertainty_
    weights = np.ones(90)
    weights[held_out_rows()] = 0.0
    with pytest.raises(ValueError, match=r"zero for all .* that calibration_fraction holds out"):
        model.fit(graphs, y, sample_weight=weights)


def test_without_crystals_to_calibrate_with(alloys):
    graphs, y = alloys
    model = PropertyRegressor(CGCNN(8, 1), max_epochs=1, random_state=0).fit(graphs, y)
    for ask in (
        lambda: model.predict(graphs, return_std=True),
        lambda: model.predict_interval(graphs),
        lambda: model.distance(graphs),
    ):
        with pytest.raises(ValueError, match="calibration_fraction=0"):
            ask()
    with pytest.raises(ValueError, match=r"calibration_fraction=1\.5"):
        model.set_params(calibration_fraction=1.5).fit(graphs, y)


@pytest.mark.parametrize(
    ("fraction", "groups"), [(0.99, None), (0.01, None), (0.8, np.arange(40) // 10)]
)
def test_too_few_crystals_to_calibrate_with(alloys, fraction, groups):
    graphs, y = alloys
    model = PropertyRegressor(CGCNN(8, 1), calibration_fraction=fraction, max_epochs=1)
    message = f"too few to hold out calibration_fraction={fraction}: expected at least one"
    with pytest.raises(ValueError, match=message):
        model.fit(graphs[:40], y[:40], groups=groups)


def test_coverage_on_real_crystals(data_dir):
    structures, y = read_matbench(data_dir / "downstream" / "phonons.json.gz")
    graphs = StructureToGraph(5.0).transform(structures[:700])
    y = np.asarray(y)[:700]
    train, test = next(ShuffleSplit(1, test_size=300, random_state=0).split(y))
    model = PropertyRegressor(
        CGCNN(16, 2),
        calibration_fraction=0.4,
        validation_fraction=0.1,
        max_epochs=10,
        batch_size=16,
        random_state=0,
    )
    model.fit(graphs[train], y[train])
    for confidence in (0.5, 0.8, 0.9):
        lower, upper = model.predict_interval(graphs[test], confidence)
        coverage = np.mean((lower <= y[test]) & (y[test] <= upper))
        # Three standard deviations: of 300 test crystals, and of 160 to calibrate with.
        spread = np.sqrt(confidence * (1 - confidence) * (1 / 300 + 1 / 160))
        assert abs(coverage - confidence) < 3 * spread
