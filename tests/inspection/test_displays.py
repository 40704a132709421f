"""Displays show the numbers that they should, of any estimator with a network inside."""

import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from ase.build import bulk
from matplotlib import pyplot
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import BaggingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from gnnpre import CGCNN, PropertyClassifier, PropertyRegressor, StructureToGraph
from gnnpre.datasets import make_emt_property
from gnnpre.inspection import (
    CalibrationDisplay,
    EmbeddingMapDisplay,
    ErrorByElementDisplay,
    LossCurveDisplay,
    ParityDisplay,
)

SETTINGS = {"max_epochs": 2, "random_state": 0}


@pytest.fixture(autouse=True)
def _no_windows():
    matplotlib.use("Agg")
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def data():
    structures, y = make_emt_property(60, max_atoms=4, random_state=0)
    return structures[:40], y[:40], structures[40:], y[40:]


@pytest.fixture(scope="module")
def model(data):
    X, y, _, _ = data
    return PropertyRegressor(CGCNN(8, 1), calibration_fraction=0.4, **SETTINGS).fit(X, y)


def wrapped(model, data):
    """Return estimators that hold a fitted network, by name."""
    X, y, _, _ = data
    pipeline = make_pipeline(StructureToGraph(), PropertyRegressor(CGCNN(8, 1), **SETTINGS))
    network = PropertyRegressor(CGCNN(8, 1), **SETTINGS)
    return {
        "pipeline": pipeline.fit(X, y),
        "search": GridSearchCV(network, {"max_epochs": [1, 2]}, cv=2).fit(X, y),
        "transformed": TransformedTargetRegressor(network, func=np.log, inverse_func=np.exp).fit(
            X, y
        ),
        "frozen": FrozenEstimator(model),
    }


def test_losses_are_those_of_the_history(model):
    display = LossCurveDisplay.from_estimator(model)
    losses = {line.get_label(): list(line.get_ydata()) for line in display.ax_.lines}
    assert losses == {
        name: [row[name] for row in model.history_] for name in ("train_loss", "valid_loss")
    }
    assert display.ax_.get_yscale() == "log"


def test_negative_scores_are_on_a_linear_axis():
    display = LossCurveDisplay([{"r2": -0.5}, {"r2": 0.5}], columns=["r2"]).plot()
    assert display.ax_.get_yscale() == "linear"


def test_networks_inside_of_other_estimators_are_plotted(model, data):
    for name, estimator in wrapped(model, data).items():
        display = LossCurveDisplay.from_estimator(estimator)
        assert len(display.lines_[0].get_ydata()) in (1, 2), name
        map_ = EmbeddingMapDisplay.from_estimator(estimator, data[2], data[3])
        assert map_.coordinates.shape == (20, 2), name


def test_estimators_without_a_network_or_fit_are_refused(data):
    with pytest.raises(TypeError, match="expects a fitted Pretrainer"):
        LossCurveDisplay.from_estimator(DummyRegressor())
    with pytest.raises(NotFittedError):
        LossCurveDisplay.from_estimator(PropertyRegressor())
    with pytest.raises(ValueError, match=r"valid_force.*valid_loss"):
        LossCurveDisplay([{"valid_loss": 1.0}], columns=["valid_force"]).plot()
    with pytest.raises(ValueError, match="no epoch"):
        LossCurveDisplay([]).plot()


def test_parity_shows_predictions_and_intervals(model, data):
    _, _, X, y = data
    ax = pyplot.figure().add_subplot()
    display = ParityDisplay.from_estimator(model, X, y, confidence=0.8, unit="GPa", ax=ax)
    assert display.ax_ is ax
    points = ax.lines[-1].get_xydata()
    np.testing.assert_allclose(points, np.column_stack([y, model.predict(X)]), rtol=1e-6)
    lower, upper = model.predict_interval(X, 0.8)
    segments = np.array(ax.collections[0].get_segments())
    np.testing.assert_allclose(segments[:, :, 1], np.column_stack([lower, upper]), rtol=1e-6)
    inside = round(100 * np.mean((lower <= y) & (y <= upper)))
    assert f"{inside} % of labels" in ax.get_title(loc="left")
    assert f"{mean_absolute_error(y, model.predict(X)):.3g} GPa" in ax.get_title(loc="left")


def test_intervals_of_a_pipeline_are_those_of_its_last_step(model, data):
    _, _, X, y = data
    pipeline = make_pipeline(StructureToGraph(), model)
    display = ParityDisplay.from_estimator(pipeline, X, y, confidence=0.8)
    np.testing.assert_allclose(display.lower, model.predict_interval(X, 0.8)[0], rtol=1e-5)


def test_missing_labels_are_left_out(data):
    _, _, X, y = data
    labels = y.copy()
    labels[3] = np.nan
    display = ParityDisplay.from_predictions(labels, y)
    assert len(display.ax_.lines[-1].get_xdata()) == 19
    errors = ErrorByElementDisplay.from_predictions(X, labels, y).counts
    complete = ErrorByElementDisplay.from_predictions(X, y, y).counts
    elements = {element.symbol for element in X[3].composition}
    assert {s for s in complete if errors.get(s, 0) != complete[s]} == elements


@pytest.mark.parametrize(
    ("y_true", "y_pred", "message"),
    [
        ([1.0, 2.0], [1.0], "y_pred has 1 rows, but y_true has 2"),
        ([np.nan, np.nan], [1.0, 2.0], "nothing to compare"),
        ([1.0, 2.0], [1.0, np.nan], "missing .* in row 1"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(y_true, y_pred, message):
    with pytest.raises(ValueError, match=message):
        ParityDisplay.from_predictions(y_true, y_pred)


def test_confidence_needs_intervals(data, model):
    _, _, X, y = data
    dummy = DummyRegressor().fit(np.zeros((len(X), 1)), y)
    with pytest.raises(ValueError, match="calibration_fraction"):
        ParityDisplay.from_estimator(dummy, X, y, confidence=0.9)
    with pytest.raises(ValueError, match="confidence=2"):
        ParityDisplay.from_estimator(model, X, y, confidence=2)


def test_several_targets_need_a_choice(data):
    X, y, X_test, y_test = data
    table = pd.DataFrame({"K": y, "half": y / 2})
    model = PropertyRegressor(CGCNN(8, 1), **SETTINGS).fit(X, table)
    tested = pd.DataFrame({"K": y_test, "half": y_test / 2})
    predicted = np.asarray(model.predict(X_test))
    for target, column in (("half", 1), (0, 0)):
        display = ParityDisplay.from_estimator(model, X_test, tested, target=target)
        np.testing.assert_allclose(display.y_true, tested.iloc[:, column])
        np.testing.assert_allclose(display.y_pred, predicted[:, column], rtol=1e-6)
    for target in (None, "volume", 2, True):
        with pytest.raises(ValueError, match="2 columns"):
            ParityDisplay.from_estimator(model, X_test, tested, target=target)


def test_columns_named_by_numbers_are_chosen_by_name(data):
    X, y, X_test, y_test = data
    model = PropertyRegressor(CGCNN(8, 1), **SETTINGS).fit(X, pd.DataFrame({1: y, 0: -y}))
    tested = pd.DataFrame({1: y_test, 0: -y_test})
    predicted = np.asarray(model.predict(X_test))
    for target, column in ((0, 1), (np.int64(1), 0), ("0", 1)):
        display = ParityDisplay.from_estimator(model, X_test, tested, target=target)
        np.testing.assert_allclose(display.y_true, tested.iloc[:, column])
        np.testing.assert_allclose(display.y_pred, predicted[:, column], rtol=1e-6)


def test_one_of_several_properties_is_paired_by_its_name(data):
    X, y, X_test, y_test = data
    model = PropertyRegressor(CGCNN(8, 1), **SETTINGS).fit(X, pd.DataFrame({"a": y, "b": 2 * y}))
    display = ParityDisplay.from_estimator(model, X_test, pd.DataFrame({"b": 2 * y_test}))
    np.testing.assert_allclose(display.y_pred, model.predict(X_test)["b"], rtol=1e-6)
    with pytest.raises(ValueError, match="1 column, but 2 are predicted: a, b"):
        ParityDisplay.from_estimator(model, X_test, pd.DataFrame({"c": y_test}))


def test_predictions_of_another_number_of_columns_are_refused(data):
    X, y, X_test, y_test = data
    model = PropertyRegressor(CGCNN(8, 1), **SETTINGS).fit(X, np.column_stack([y, 2 * y]))
    display = ParityDisplay.from_estimator(model, X_test, 2 * y_test, target=1)
    np.testing.assert_allclose(display.y_pred, model.predict(X_test)[:, 1], rtol=1e-6)
    with pytest.raises(ValueError, match="y has 3 columns, but 2 are predicted"):
        ParityDisplay.from_estimator(model, X_test, np.column_stack([y_test] * 3), target=1)


def test_intervals_of_the_model_that_an_ensemble_began_with_are_not_its_own(model, data):
    X, y, X_test, y_test = data
    bagging = BaggingRegressor(model, n_estimators=2, random_state=0)
    bagging.fit(pd.DataFrame({"structure": X}), y)
    table = pd.DataFrame({"structure": X_test})
    with pytest.raises(ValueError, match="BaggingRegressor does not predict"):
        ParityDisplay.from_estimator(bagging, table, y_test, confidence=0.5)
    with pytest.raises(TypeError, match="BaggingRegressor has no predict_interval"):
        CalibrationDisplay.from_estimator(bagging, table, y_test)
    with pytest.raises(TypeError, match="expects a fitted"):
        LossCurveDisplay.from_estimator(bagging)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: CalibrationDisplay.from_predictions([1], [1], [1], confidences=0.5), "confidenc"),
        (lambda: CalibrationDisplay.from_predictions([1], [1], [1], confidences="a"), "confidenc"),
        (lambda: ParityDisplay.from_predictions([1.0], [1.0], unit=1), "^unit=1"),
        (lambda: ParityDisplay.from_estimator(1e9, [bulk("Cu")], [1.0]), "^estimator is 1000"),
        (lambda: EmbeddingMapDisplay.from_embeddings(np.eye(4), value_label=2), "^value_label=2"),
        (lambda: LossCurveDisplay([{"train_loss": 1.0}], columns=3.0).plot(), "^columns=3.0"),
        (lambda: LossCurveDisplay([{"train_loss": 1.0}], columns=[pd.NA]).plot(), "^columns="),
        (lambda: LossCurveDisplay([{"train_loss": 1.0}], columns=np.array(3)).plot(), "^columns="),
        (lambda: ErrorByElementDisplay.from_predictions([bulk("Cu")], 1.0, [1.0]), "^y_true"),
    ],
)
def test_arguments_of_other_types_are_named(draw, message):
    with pytest.raises((TypeError, ValueError), match=message):
        draw()


def test_many_points_are_counted():
    y = np.random.default_rng(0).normal(size=1000)
    display = ParityDisplay.from_predictions(y, y, lower=y - 1, upper=y + 1)
    (hexagons,) = display.ax_.collections
    assert hexagons.get_array().sum() == 1000
    assert "100 % of labels" in display.ax_.get_title(loc="left")


def test_error_by_element_is_the_mean_over_crystals_with_it(data):
    _, _, X, y = data
    errors = np.arange(len(y), dtype=float)
    display = ErrorByElementDisplay.from_predictions(X, y, y + errors)
    for symbol in ("Cu", "Pt"):
        with_it = [e for s, e in zip(X, errors, strict=True) if symbol in s.composition]
        assert display.errors[symbol] == pytest.approx(np.mean(with_it))
        assert display.counts[symbol] == len(with_it)
    graphs = StructureToGraph().transform(X)
    same = ErrorByElementDisplay.from_predictions(graphs, y, y + errors)
    assert same.errors == pytest.approx(display.errors)


def test_rare_elements_have_no_number(data):
    _, _, X, y = data
    display = ErrorByElementDisplay.from_predictions(X, y, y + 1.0, min_crystals=6)
    rare = {symbol for symbol, count in display.counts.items() if count < 6}
    texts = [text.get_text() for text in display.ax_.texts]
    numbers = {s for s, n in zip(texts[::2], texts[1::2], strict=True) if n}
    assert rare
    assert numbers == set(display.counts) - rare


def test_map_keeps_distances_of_a_plane():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(25, 2)) @ rng.normal(size=(2, 7))
    display = EmbeddingMapDisplay.from_embeddings(plane, method="pca")
    distances = [np.linalg.norm(t[:, None] - t, axis=-1) for t in (plane, display.coordinates)]
    np.testing.assert_allclose(*distances, atol=1e-10)


def test_map_has_a_colour_for_each_class():
    names = np.array([f"class {number}" for number in range(12)])
    display = EmbeddingMapDisplay(np.zeros((12, 2)), names).plot()
    assert len(np.unique(display.points_.get_facecolors(), axis=0)) == 12


def test_map_colours_numbers_classes_and_missing_values(model, data):
    _, _, X, y = data
    labels = y.copy()
    labels[:4] = np.nan
    display = EmbeddingMapDisplay.from_estimator(model, X, labels)
    np.testing.assert_array_equal(display.points_.get_array(), y[4:])
    classes = np.where(y > np.median(y), "hard", "soft")
    legend = EmbeddingMapDisplay.from_estimator(model, X, classes).ax_.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["hard", "soft"]


def test_map_takes_tensors_that_are_being_trained():
    values = torch.arange(4.0, requires_grad=True)
    display = EmbeddingMapDisplay.from_embeddings(torch.eye(4).requires_grad_(), values)
    again = EmbeddingMapDisplay(display.coordinates, values).plot()
    np.testing.assert_array_equal(again.points_.get_array(), [0.0, 1.0, 2.0, 3.0])


def test_map_refuses_too_few_crystals_and_an_absent_umap(monkeypatch):
    with pytest.raises(ValueError, match="3 at least"):
        EmbeddingMapDisplay.from_embeddings(np.ones((2, 3)))
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match="pip install umap-learn"):
        EmbeddingMapDisplay.from_embeddings(np.ones((5, 3)), method="umap")


def test_calibration_counts_labels_within_intervals(model, data):
    _, _, X, y = data
    display = CalibrationDisplay.from_estimator(model, X, y, confidences=[0.3, 0.8])
    for confidence, coverage in zip(display.confidences, display.coverages, strict=True):
        lower, upper = model.predict_interval(X, confidence)
        assert coverage == np.mean((lower <= y) & (y <= upper))
    points = display.ax_.lines[-1].get_xydata()
    np.testing.assert_array_equal(points[:, 1], display.coverages)


def test_calibration_of_standard_deviations_finds_those_that_are_too_small():
    y = np.random.default_rng(0).normal(size=2000)
    display = CalibrationDisplay.from_predictions(y, np.zeros(2000), np.full(2000, 0.5))
    # Half a standard deviation: an interval of 68 % holds 38 % (erf(0.5 / sqrt 2)).
    assert np.interp(0.683, display.confidences, display.coverages) == pytest.approx(
        0.383, abs=0.04
    )
    with pytest.raises(ValueError, match="y_std has -1"):
        CalibrationDisplay.from_predictions([1.0], [1.0], [-1.0])


def test_calibration_needs_intervals(data):
    X, y, _, _ = data
    classifier = PropertyClassifier(CGCNN(8, 1), **SETTINGS).fit(X, y > np.median(y))
    with pytest.raises(TypeError, match=r"sklearn\.calibration"):
        CalibrationDisplay.from_estimator(classifier, X, y)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    with pytest.raises(ImportError, match=r"gnnpre\[plot\]"):
        LossCurveDisplay([{"train_loss": 1.0}]).plot()


def test_ax_has_to_be_axes():
    with pytest.raises(TypeError, match="ax is of type Figure"):
        LossCurveDisplay([{"train_loss": 1.0}]).plot(pyplot.figure())
