"""Crystals are accepted wherever a list of structures is, with the same results."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from gnnpre import (
    CGCNN,
    EAD,
    Denoising,
    ForceField,
    Pretrainer,
    PropertyClassifier,
    PropertyRegressor,
    StructureToGraph,
)
from gnnpre.datasets import make_emt_frames, make_emt_property
from gnnpre.graphs import Crystals, GraphSettings, stream_graphs
from gnnpre.model_selection import (
    CompositionKFold,
    ContentMemory,
    PrototypeKFold,
    drop_leaks,
    leak_audit,
    structure_groups,
)

CUTOFF = 4.0


@pytest.fixture(scope="module")
def data():
    structures, y = make_emt_property(20, random_state=0)
    return structures, Crystals.from_structures(structures), y


@pytest.fixture
def regressor():
    return PropertyRegressor(CGCNN(8, 1), max_epochs=1, random_state=0)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_cross_validation(data, regressor, n_jobs):
    structures, crystals, y = data
    for model in (regressor, make_pipeline(StructureToGraph(CUTOFF), regressor)):
        expected = cross_val_score(model, structures, y, cv=3)
        np.testing.assert_array_equal(
            cross_val_score(model, crystals, y, cv=3, n_jobs=n_jobs), expected
        )


def test_search(data, regressor):
    _, crystals, y = data
    search = GridSearchCV(regressor, {"learning_rate": [1e-3, 1e-2]}, cv=2).fit(crystals, y)
    assert search.predict(crystals).shape == y.shape


def test_estimators(data, regressor):
    structures, crystals, y = data
    classifier = PropertyClassifier(CGCNN(8, 1), max_epochs=1, random_state=0)
    pretrainer = Pretrainer(CGCNN(8, 1), Denoising(), max_epochs=1, random_state=0)
    for model, target in ((regressor, y), (classifier, y > np.median(y)), (pretrainer, None)):
        model.fit(structures, target)
        expected = model.transform(structures)
        model.fit(crystals, target)
        np.testing.assert_array_equal(model.transform(crystals), expected)
        np.testing.assert_array_equal(model.transform(structures), expected)


def test_force_field():
    frames, labels = make_emt_frames(8, random_state=0)
    model = Pretrainer(CGCNN(8, 1), ForceField(), max_epochs=1, random_state=0)
    expected = model.fit(frames, labels).predict(frames).energy
    crystals = Crystals.from_structures(frames)
    np.testing.assert_array_equal(model.fit(crystals, labels).predict(crystals).energy, expected)


def test_fingerprints(data):
    structures, crystals, _ = data
    fingerprint = EAD(cutoff=CUTOFF, pooling="mean")
    np.testing.assert_array_equal(
        fingerprint.fit_transform(crystals), fingerprint.transform(structures)
    )


@pytest.mark.parametrize("splitter", [CompositionKFold(3), PrototypeKFold(3)], ids=str)
def test_splitters(data, splitter):
    structures, crystals, _ = data
    for (_, test), (_, expected) in zip(
        splitter.split(crystals), splitter.split(structures), strict=True
    ):
        np.testing.assert_array_equal(test, expected)


def test_leaks_and_groups(data):
    structures, crystals, _ = data
    expected = leak_audit(structures[:12], structures[6:])
    np.testing.assert_array_equal(leak_audit(crystals[:12], crystals[6:]).level, expected.level)
    np.testing.assert_array_equal(
        drop_leaks(crystals[:12], crystals[6:]), drop_leaks(structures[:12], structures[6:])
    )
    np.testing.assert_array_equal(structure_groups(crystals), structure_groups(structures))


def test_content_memory(data, tmp_path):
    structures, crystals, _ = data
    cached = ContentMemory(tmp_path).cache(len)
    assert not cached.check_call_in_cache(crystals)
    cached(crystals)
    assert cached.check_call_in_cache(Crystals.from_structures(structures))
    assert not cached.check_call_in_cache(crystals[::-1])


def test_streams(data, assert_same_graphs):
    structures, crystals, _ = data
    pieces = stream_graphs(crystals, GraphSettings(cutoff=CUTOFF), 7)
    for piece, expected in zip(
        pieces, stream_graphs(structures, GraphSettings(cutoff=CUTOFF), 7), strict=True
    ):
        assert_same_graphs(piece, expected)


def test_processes_search_the_same_edges(data, assert_same_graphs):
    many = Crystals.concatenate([data[1]] * 8)
    graphs = StructureToGraph(CUTOFF, n_jobs=2).transform(many)
    assert_same_graphs(graphs, StructureToGraph(CUTOFF).transform(many))
