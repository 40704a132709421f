"""The features of a kernel machine that come from a pre-trained network."""

import numpy as np
import pytest
from sklearn.frozen import FrozenEstimator

from gnnpre import (
    CGCNN,
    Denoising,
    Mixture,
    Pretrainer,
    PropertyClassifier,
    PropertyRegressor,
    PropertyTargets,
    load_estimator,
)
from gnnpre.datasets import make_emt_property

SMALL = {"max_epochs": 2, "random_state": 0}


@pytest.fixture(scope="module")
def crystals():
    return make_emt_property(40, random_state=0, max_atoms=4)


@pytest.fixture(scope="module")
def mixture(crystals):
    X, y = crystals
    parts = [
        ("noise", Denoising(), 1.0),
        ("moduli", PropertyTargets(), 1.0),
        ("total", PropertyTargets(pooling="sum"), 1.0),
    ]
    labels = np.stack([y, y], axis=1)
    return Pretrainer(CGCNN(8, 2), Mixture(parts), **SMALL).fit(X, labels)


def kernel_of(pretrained, crystals, **parameters):
    regressor = PropertyRegressor(
        pretrained=pretrained, strategy="kernel", kernel_features=(), **parameters
    )
    return regressor.fit(*crystals)


def last_block(model, X):
    return model.kernel_.network.blocks(model._graphs_to_predict(X))[-1]


def test_properties_that_were_learnt_are_features(crystals, mixture):
    X, _ = crystals
    model = kernel_of(FrozenEstimator(mixture), crystals)
    predicted = mixture.predict(X)
    n_atoms = np.array([[len(structure)] for structure in X])
    # Two columns each; a sum, per atom, so that supercells stay alike.
    expected = np.hstack([predicted["moduli"], predicted["total"] / n_atoms])
    np.testing.assert_allclose(last_block(model, X), expected, rtol=1e-5)
    middle, end = (mixture.embed(X, layer=n, pooling="cumulants") for n in (1, -1))
    blocks = model.kernel_.network.blocks(model._graphs_to_predict(X))
    assert len(blocks) == 3
    np.testing.assert_allclose(blocks[0], middle, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(blocks[1], end, rtol=1e-4, atol=1e-6)


def test_the_property_of_a_fine_tuned_model_is_a_feature(crystals, tmp_path):
    X, _ = crystals
    source = PropertyRegressor(CGCNN(8, 2), **SMALL).fit(*crystals)
    model = kernel_of(FrozenEstimator(source), crystals)
    np.testing.assert_allclose(last_block(model, X)[:, 0], source.predict(X), rtol=1e-5)
    model.save(tmp_path / "model.gnnpre")
    loaded = load_estimator(tmp_path / "model.gnnpre")
    np.testing.assert_array_equal(last_block(loaded, X), last_block(model, X))


def test_a_model_without_properties_has_embeddings_alone(crystals):
    source = Pretrainer(CGCNN(8, 2), Denoising(), **SMALL).fit(crystals[0])
    model = kernel_of(FrozenEstimator(source), crystals)
    assert len(model.kernel_.network.blocks(model._graphs_to_predict(crystals[0]))) == 2


def test_precision_and_classes(crystals, mixture):
    X, y = crystals
    source = FrozenEstimator(mixture)
    single = kernel_of(source, crystals).predict(X)
    double = kernel_of(source, crystals, dtype="float64").predict(X)
    np.testing.assert_allclose(double, single, rtol=1e-2)
    classifier = PropertyClassifier(pretrained=source, strategy="kernel", kernel_features=())
    classifier.fit(X, y > np.median(y))
    assert last_block(classifier, X).shape == (40, 4)


def test_fine_tuning_does_not_change_it(crystals, mixture):
    X, _ = crystals
    source = FrozenEstimator(mixture)
    model = PropertyRegressor(pretrained=source, strategy="blended", **SMALL).fit(*crystals)
    kernel = kernel_of(source, crystals)
    graphs = model._graphs_to_predict(X)
    pairs = zip(
        model.kernel_.kernel.network.blocks(graphs),
        kernel.kernel_.network.blocks(graphs),
        strict=True,
    )
    for blended, frozen in pairs:
        np.testing.assert_allclose(blended, frozen, rtol=1e-5, atol=1e-6)
    assert not np.allclose(model.transform(X), mixture.transform(X))
