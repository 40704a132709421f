"""Classes of crystals."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone, is_classifier
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    PredefinedSplit,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline

from gnnpre import CGCNN, ClassTargets, PropertyClassifier, StructureToGraph
from gnnpre.exceptions import DataQualityWarning
from gnnpre.objectives import LossTerm

SMALL = {"max_epochs": 3, "batch_size": 8, "random_state": 0}


@pytest.fixture
def classifier():
    return PropertyClassifier(CGCNN(8, 1), **SMALL)


@pytest.fixture(scope="module")
def labels(data):
    """Three classes by volume, as words."""
    return np.array(["small", "middle", "wide"])[np.searchsorted([14.0, 17.0], data.y)]


def test_probabilities_and_labels(classifier, data, labels):
    classifier.fit(data.structures, labels)
    assert classifier.classes_.tolist() == sorted(set(labels))
    probabilities = classifier.predict_proba(data.structures)
    assert probabilities.shape == (len(labels), len(set(labels)))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    expected = classifier.classes_[probabilities.argmax(axis=1)]
    np.testing.assert_array_equal(classifier.predict(data.structures), expected)
    logarithms = classifier.predict_log_proba(data.structures)
    np.testing.assert_allclose(np.exp(logarithms), probabilities, rtol=1e-5)
    assert is_classifier(classifier)


def test_learns(data):
    labels = data.y > np.median(data.y)
    classifier = PropertyClassifier(
        CGCNN(16, 2), max_epochs=60, learning_rate=1e-2, validation_fraction=0, random_state=0
    )
    assert classifier.fit(data.graphs, labels).score(data.graphs, labels) > 0.9


@pytest.mark.parametrize(
    "names",
    [
        *(["a", "b"], [0, 1], [False, True], [-3, 12], [1.0, 2.0]),
        np.array(["x", "y"], object),
        np.array(["x", "y"], np.dtypes.StringDType()),
    ],
)
def test_labels_of_any_kind(classifier, data, names, tmp_path):
    labels = np.asarray(names)[(data.y > np.median(data.y)).astype(int)]
    classifier.fit(data.graphs, labels)
    predicted = classifier.predict(data.graphs)
    assert set(predicted.tolist()) <= set(np.asarray(names).tolist())
    classifier.save(tmp_path / "c.gnnpre")
    loaded = PropertyClassifier.load(tmp_path / "c.gnnpre")
    np.testing.assert_array_equal(loaded.predict(data.graphs), predicted)
    assert loaded.classes_.dtype == classifier.classes_.dtype


def test_a_class_that_is_held_out_whole_is_warned_of(classifier, data, labels):
    rare = np.where(np.arange(len(labels)) < 2, "zz", labels)
    fold = np.where(rare == "zz", 0, -1)
    classifier.set_params(validation_fraction=PredefinedSplit(fold))
    with pytest.warns(DataQualityWarning, match="class number 3 .*no crystal is among the 18"):
        classifier.fit(data.graphs, rare)


def test_order_of_labels_decides_nothing(classifier, data):
    above = data.y > np.median(data.y)
    named = clone(classifier).fit(data.graphs, np.where(above, "b", "a"))
    numbered = clone(classifier).fit(data.graphs, above.astype(int))
    np.testing.assert_array_equal(
        named.predict_proba(data.graphs), numbered.predict_proba(data.graphs)
    )


def entropy_term(data, class_weight, numbers, sample_weight=None) -> LossTerm:
    objective = ClassTargets(3, class_weight=class_weight)
    targets = objective.make_targets(data.graphs, numbers)
    model = objective.build(CGCNN(8, 1).build(4.0), objective.layout(targets)).double()
    model.set_statistics(data.graphs, targets, np.arange(len(numbers)))
    batch = data.graphs.batch(dtype=torch.float64)
    wanted = targets.batch(np.arange(len(numbers)), torch.float64)
    if sample_weight is not None:
        wanted["sample_weight"] = torch.from_numpy(sample_weight)
    with torch.no_grad():
        predictions = model(batch)
    scores = predictions["scores"].numpy()
    return model.losses(predictions, wanted, batch)["classes"], np.exp(scores)


@pytest.mark.parametrize("class_weight", [None, (1.0, 2.0, 0.5), "balanced"])
def test_loss_is_the_weighted_cross_entropy_of_scikit_learn(data, class_weight):
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 3, size=len(data.y))
    sample_weight = rng.uniform(0.5, 2.0, size=len(numbers))
    term, odds = entropy_term(data, class_weight, numbers, sample_weight)
    if class_weight == "balanced":
        of_class = len(numbers) / (3 * np.bincount(numbers))
    else:
        of_class = np.array(class_weight or (1.0, 1.0, 1.0))
    weights = of_class[numbers] * sample_weight
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    expected = log_loss(numbers, probabilities, sample_weight=weights, labels=[0, 1, 2])
    # Balanced weights are kept in single precision.
    assert float(term.mean) == pytest.approx(expected, rel=1e-6)


def test_weights_of_classes_shift_the_predictions(classifier, data):
    labels = np.arange(len(data.y)) % 2
    classifier.set_params(max_epochs=20, learning_rate=0.01)
    means = [
        clone(classifier)
        .set_params(class_weight=weight)
        .fit(data.graphs, labels)
        .predict_proba(data.graphs)[:, 1]
        .mean()
        for weight in ({0: 5.0}, None, {1: 5.0})
    ]
    assert means[0] < means[1] < means[2]


def test_cross_validation_and_search_in_a_pipeline(classifier, data):
    labels = data.y > np.median(data.y)
    model = make_pipeline(StructureToGraph(4.0), classifier.set_params(max_epochs=1))
    scores = cross_val_score(model, data.structures, labels, cv=StratifiedKFold(2))
    assert scores.shape == (2,)
    search = GridSearchCV(
        model, {"propertyclassifier__pooling": ["mean", "max"]}, cv=2, scoring="roc_auc"
    )
    search.fit(data.structures, labels)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a"] * 20, "one class only, .*'a'"),
        (np.linspace(0.1, 0.9, 20), "continuous"),
        ([None, *["a", "b"] * 9, "a"], r"missing .* row 0"),
        (np.array([np.nan, *[0.0, 1.0] * 9, 1.0]), r"missing .* row 0"),
        (["a", "b"] * 3, r"y has shape \(6,\); X has 20 crystals"),
        (np.zeros((20, 2), int), r"shape \(20, 2\)"),
        (np.array(["a"] * 10 + [1] * 10, dtype=object), "y mixes labels"),
        ([Fraction(1, 2)] * 10 + [Fraction(1, 3)] * 10, "labels of type Fraction, .*not classes"),
        ([b"a", b"b"] * 10, "labels of type bytes, .*not classes"),
        (None, "y is None"),
    ],
)
def test_labels_that_make_no_sense(classifier, data, labels, message):
    with pytest.raises(ValueError, match=message):
        classifier.fit(data.graphs, labels)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("even", "class_weight='even'"),
        ({"c": 1.0}, "class_weight has a weight for 'c'"),
        ({"a": -1.0}, "class_weight"),
        ([1.0, 2.0], "dict from label"),
        (np.ones(2), "dict from label"),
        (pd.NA, "class_weight=<NA>"),
    ],
)
def test_weights_that_make_no_sense(classifier, data, weights, message):
    with pytest.raises(ValueError, match=message):
        classifier.set_params(class_weight=weights).fit(data.graphs, ["a", "b"] * 10)


def test_an_objective_wants_whole_numbers(data):
    for y in (["a", "b"] * 10, np.full(20, -1), np.full(20, 0.5)):
        with pytest.raises(ValueError, match="whole numbers from 0"):
            ClassTargets().make_targets(data.graphs, y)
    with pytest.raises(ValueError, match="y holds 5; n_classes=3"):
        ClassTargets(3).make_targets(data.graphs, np.full(20, 5))
    with pytest.raises(ValueError, match="class_weight has 2 numbers; there are 3"):
        ClassTargets(3, class_weight=(1.0, 1.0)).build(CGCNN(8, 1).build(4.0), {})
