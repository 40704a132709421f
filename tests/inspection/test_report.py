"""The report of an estimator: a page that loads nothing and shows the numbers."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from gnnpre import (
    CGCNN,
    ForceField,
    Pretrainer,
    PropertyClassifier,
    PropertyEnsemble,
    PropertyRegressor,
    StructureToGraph,
)
from gnnpre.datasets import make_emt_frames, make_emt_property
from gnnpre.estimators import KernelRegressor
from gnnpre.fingerprints import Composition
from gnnpre.graphs import Crystals
from gnnpre.inspection import _report_numbers, report
from inspection.test_page import check_self_contained

SETTINGS = {"max_epochs": 2, "random_state": 0}


@pytest.fixture(scope="module")
def data():
    structures, y = make_emt_property(50, max_atoms=4, random_state=0)
    return structures[:30], y[:30], structures[30:], y[30:]


@pytest.fixture(scope="module")
def model(data):
    regressor = PropertyRegressor(CGCNN(8, 1), calibration_fraction=0.2, **SETTINGS)
    return regressor.fit(*data[:2])


def text_of(path):
    return "\n".join(check_self_contained(path.read_text()).text)


def test_report_of_a_regressor(model, data, tmp_path):
    _, _, X, y = data
    ids = [f"<mp-{number}>" for number in range(20)]
    path = report(
        model, X, y, tmp_path / "r.html", ids=ids, unit="GPa", title="A & B", notes=["By EMT."]
    )
    assert path == tmp_path / "r.html"
    text = text_of(path)
    error = np.abs(model.predict(X) - y)
    assert f"{error.mean():.2f} GPa" in text
    worst = text.index(f"<mp-{error.argmax()}>")
    assert worst == min(text.index(name) for name in ids if name in text)
    for expected in ("A & B", "By EMT.", "confidence of 80 %", "CGCNN(hidden_channels=8", "Map of"):
        assert expected in text


def test_report_is_of_the_predictions_that_are_passed(data, tmp_path):
    X, y, _, _ = data
    model = PropertyRegressor(CGCNN(8, 1), **SETTINGS)
    predicted = cross_val_predict(model, X, y, cv=2)
    text = text_of(report(model.fit(X, y), X, y, tmp_path / "r.html", y_pred=predicted))
    assert f"{mean_absolute_error(y, predicted):.2f}" in text
    assert "had not seen the crystal" in text
    assert "Fraction of labels within" not in text


def test_report_of_several_targets_with_gaps(data, tmp_path):
    X, y, X_test, y_test = data
    model = PropertyRegressor(CGCNN(8, 1), **SETTINGS).fit(X, np.column_stack([y, y / 2]))
    tested = pd.DataFrame({"K": y_test, "half": y_test / 2})
    tested.loc[:4, "half"] = np.nan
    text = text_of(report(model, X_test, tested, tmp_path / "r.html", target="half"))
    errors = np.abs(model.predict(X_test)[5:, 1] - y_test[5:] / 2)
    assert f"{errors.mean():.2f}" in text
    with pytest.raises(ValueError, match="target=None"):
        report(model, X_test, tested, tmp_path / "none.html")
    assert not (tmp_path / "none.html").exists()


def test_report_of_a_classifier(data, tmp_path):
    X, y, X_test, y_test = data
    limit = np.median(y)
    model = PropertyClassifier(CGCNN(8, 1), **SETTINGS).fit(X, np.where(y > limit, "hard", "soft"))
    labels = np.where(y_test > limit, "hard", "soft")
    text = text_of(report(model, X_test, labels, tmp_path / "r.html"))
    assert f"{np.mean(model.predict(X_test) == labels):.4f}" in text
    assert "Confusion" in text


def test_classes_of_another_type_are_the_same_classes(data, tmp_path):
    X, y, X_test, y_test = data
    model = PropertyClassifier(CGCNN(8, 1), **SETTINGS).fit(X, (y > np.median(y)).astype(int))
    labels = y_test > np.median(y)
    accuracy = f"{np.mean(model.predict(X_test) == labels):.4f}"
    for equal in (labels, labels.astype(float)):
        assert accuracy in text_of(report(model, X_test, equal, tmp_path / "r.html"))
    with pytest.raises(ValueError, match=r"y has labels such as '(hard|soft)', none .* \[0, 1\]"):
        report(model, X_test, np.where(labels, "hard", "soft"), tmp_path / "r.html")


def test_report_of_a_force_field(tmp_path):
    frames, labels = make_emt_frames(16, random_state=0)
    model = Pretrainer(CGCNN(8, 1), ForceField(), **SETTINGS).fit(frames[:10], labels[:10])
    text = text_of(report(model, frames[10:], labels[10:], tmp_path / "r.html"))
    errors = np.abs(model.predict(frames[10:]).forces - labels[10:].forces)
    assert f"{errors.mean():.4f}" in text
    assert "eV/atom" in text


@pytest.mark.parametrize("name", ["pipeline", "kernel", "ensemble"])
def test_report_of_other_estimators(data, tmp_path, name):
    X, y, X_test, y_test = data
    network = PropertyRegressor(CGCNN(8, 1), **SETTINGS)
    kernel = make_pipeline(Composition(), KernelRegressor())
    estimator = {
        "pipeline": make_pipeline(StructureToGraph(), network),
        "kernel": kernel,
        "ensemble": PropertyEnsemble(members=[("kernel", kernel)], cv=2, random_state=0),
    }[name].fit(X, y)
    text = text_of(report(estimator, X_test, y_test, tmp_path / "r.html"))
    assert ("Map of the crystals" in text) == (name == "pipeline")
    assert ("out of fold" in text) == (name == "ensemble")


def test_errors_come_before_any_file(model, data, tmp_path):
    _, _, X, y = data
    with pytest.raises(ValueError, match="X has 20 crystals, but y has 19"):
        report(model, X, y[1:], tmp_path / "r.html")
    with pytest.raises(ValueError, match=r"ids has shape .*X has 20 crystals"):
        report(model, X, y, tmp_path / "r.html", ids=["a"])
    with pytest.raises(FileNotFoundError, match="no folder"):
        report(model, X, y, tmp_path / "none" / "r.html")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        report(model, X, y, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("y", 1.5),
        ("y", None),
        ("ids", 3.0),
        ("ids", {"a": 1}),
        ("notes", "a"),
        ("notes", [1]),
        ("unit", None),
        ("title", 3),
        ("estimator", 3.0),
        ("y_pred", 1),
        ("y_pred", ["a"] * 20),
    ],
)
def test_arguments_of_other_types_are_named(model, data, tmp_path, name, value):
    _, _, X, y = data
    arguments = {"estimator": model, "y": y, name: value}
    with pytest.raises((TypeError, ValueError), match=rf"^{name}\b|but {name} has 1 rows"):
        report(X=X, path=tmp_path / "r.html", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_map_of_a_sample_has_the_rows_by_position(monkeypatch):
    """The steps before a network may return a Series, whose index names other rows."""
    structures, y = make_emt_property(12, random_state=0)
    series = pd.Series(structures, index=np.arange(len(y))[::-1])
    pipeline = make_pipeline(
        FunctionTransformer(pd.Series.copy), PropertyRegressor(CGCNN(4, 1), max_epochs=1)
    ).fit(series, y)
    drawn = []
    monkeypatch.setattr(_report_numbers, "MAX_MAP", 5)
    monkeypatch.setattr(
        _report_numbers.EmbeddingMapDisplay,
        "from_estimator",
        lambda network, X, values, **settings: drawn.append((list(X), values)),
    )
    evaluation = SimpleNamespace(
        estimator=pipeline, X=series, crystals=Crystals.from_structures(structures), unit=None
    )
    _report_numbers.embedding_plot(evaluation, y)
    ((sample, values),) = drawn
    assert len(sample) == 5
    assert [structures.index(one) for one in sample] == [list(y).index(value) for value in values]
