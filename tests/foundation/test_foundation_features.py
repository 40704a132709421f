"""FoundationFeatures: pooling, layers, cache and errors with a small model."""

import io
import sqlite3
import sys

import numpy as np
import pytest
from ase.build import bulk, molecule
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVR

from gnnpre import StructureToGraph
from gnnpre.foundation import FoundationFeatures, _features
from gnnpre.foundation._adapter import Adapter
from gnnpre.foundation._chgnet import CHGNetAdapter
from gnnpre.graphs import as_crystals

CRYSTALS = [bulk("Cu"), bulk("NaCl", "rocksalt", a=5.64), bulk("Si"), bulk("Fe", cubic=True)]


class Counting(Adapter):
    """Features of an atom: its number, volume per atom, and layer; counts crystals."""

    package = "chgnet"
    weights = ("0.3.0",)
    n_layers = 4
    n_features = 3
    elements = frozenset(range(1, 30))
    computed = 0

    def __init__(self, weights, device):
        assert weights == "0.3.0"

    def features(self, structures, layers):
        Counting.computed += len(structures)
        return [
            {
                layer: np.array([[s.specie.Z, x.volume / len(x), layer] for s in x], np.float32)
                for layer in layers
            }
            for x in structures
        ]


@pytest.fixture(autouse=True)
def counting(monkeypatch):
    """Use the adapter above in place of CHGNet."""
    monkeypatch.setitem(_features.ADAPTERS, "chgnet", Counting)
    _features.load_adapter.cache_clear()
    Counting.computed = 0
    yield
    _features.load_adapter.cache_clear()


def test_rows_are_atoms_or_crystals():
    atoms = FoundationFeatures(cache=False).fit_transform(CRYSTALS)
    assert [values.shape for values in atoms] == [(1, 3), (2, 3), (2, 3), (2, 3)]
    mean = FoundationFeatures(pooling="mean", cache=False).fit_transform(CRYSTALS)
    np.testing.assert_allclose(mean, [values.mean(axis=0) for values in atoms], rtol=1e-6)
    total = FoundationFeatures(pooling="sum", cache=False).fit_transform(CRYSTALS)
    np.testing.assert_allclose(total, [values.sum(axis=0) for values in atoms], rtol=1e-6)
    cumulants = FoundationFeatures(pooling="cumulants", cache=False).fit_transform(CRYSTALS)
    np.testing.assert_allclose(cumulants[1, :9:3], [14.0, 9.0, 0.0], atol=1e-12)


def test_layers_are_joined_in_the_order_asked_for():
    (first, *_) = FoundationFeatures(layer=(-1, 0), cache=False).transform(CRYSTALS)
    assert first[0, [2, 5]].tolist() == [4.0, 0.0]
    for layers in (range(2), np.array([0, 1])):
        assert FoundationFeatures(layer=layers, cache=False).transform(CRYSTALS)[0].shape[1] == 6
    features = FoundationFeatures(layer=[0, 4], pooling="mean", cache=False)
    names = features.get_feature_names_out()
    assert names[0] == "mean_chgnet_layer0_0"
    assert len(names) == features.transform(CRYSTALS).shape[1] == 6


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batches_and_containers_change_nothing(batch_size):
    expected = FoundationFeatures(pooling="mean", cache=False).transform(CRYSTALS)
    features = FoundationFeatures(pooling="mean", cache=False, batch_size=batch_size)
    for X in (CRYSTALS, as_crystals(CRYSTALS), StructureToGraph(3.0).transform(CRYSTALS)):
        np.testing.assert_allclose(features.transform(X), expected)


class TestCache:
    def test_no_crystal_is_computed_twice(self, tmp_path):
        features = FoundationFeatures(pooling="mean", cache=tmp_path, batch_size=2)
        first = features.transform(CRYSTALS[:3])
        assert Counting.computed == 3
        second = clone(features).transform(CRYSTALS[::-1])
        assert Counting.computed == 4
        np.testing.assert_array_equal(second[::-1][:3], first)

    def test_content_and_layer_decide(self, tmp_path):
        features = FoundationFeatures(pooling="mean", cache=tmp_path)
        features.transform(CRYSTALS)
        stretched = [atoms.copy() for atoms in CRYSTALS]
        for atoms in stretched:
            atoms.set_cell(1.01 * atoms.cell, scale_atoms=True)
        assert (features.transform(stretched)[:, 1] > features.transform(CRYSTALS)[:, 1]).all()
        assert Counting.computed == 8
        assert features.set_params(layer=2).transform(CRYSTALS)[0, 2] == 2.0

    def test_default_is_the_folder_of_gnnpre(self, tmp_path, monkeypatch):
        monkeypatch.setenv("GNNPRE_HOME", str(tmp_path))
        FoundationFeatures().transform(CRYSTALS)
        assert (tmp_path / "features" / "features.sqlite").exists()

    def test_a_damaged_file_is_warned_of_and_does_without(self, tmp_path):
        (tmp_path / "features.sqlite").write_bytes(b"damaged" * 1000)
        with pytest.warns(UserWarning, match="cannot be used.*they are computed"):
            values = FoundationFeatures(pooling="mean", cache=tmp_path).transform(CRYSTALS)
        assert np.isfinite(values).all()

    def test_a_stored_pickle_is_not_loaded(self, tmp_path):
        features = FoundationFeatures(pooling="mean", cache=tmp_path)
        expected = features.transform(CRYSTALS)
        buffer = io.BytesIO()
        np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        with sqlite3.connect(tmp_path / "features.sqlite") as connection:
            connection.execute("UPDATE features SET value = ?", (buffer.getvalue(),))
        with pytest.warns(UserWarning, match="cannot be used"):
            np.testing.assert_array_equal(features.transform(CRYSTALS), expected)


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"model": "mace"}, "^model='mace'"),
        ({"layer": 5}, "^layer=5"),
        ({"layer": -6}, "^layer=-6"),
        ({"layer": (1, 1)}, r"^layer=\(1, 1\)"),
        ({"layer": ()}, r"^layer=\(\)"),
        ({"layer": "last"}, "^layer='last'"),
        ({"pooling": "max"}, "^pooling='max'"),
        ({"batch_size": 0}, "^batch_size=0"),
        ({"cache": None}, "^cache=None"),
        ({"device": "tpu"}, "^device='tpu'"),
    ],
)
def test_bad_parameters_are_named(parameters, match):
    with pytest.raises(ValueError, match=match):
        FoundationFeatures(**parameters).fit(CRYSTALS)


def test_crystals_that_the_model_does_not_know_are_named():
    features = FoundationFeatures(cache=False)
    with pytest.raises(ValueError, match="Crystal 1 of X holds Ga"):
        features.transform([bulk("Cu"), bulk("GaAs", "zincblende", a=5.65)])
    with pytest.raises(ValueError, match="Crystal 1 of X is not periodic in all directions"):
        features.transform([bulk("Cu"), molecule("H2O")])


def test_a_missing_package_names_the_command(monkeypatch):
    monkeypatch.setitem(_features.ADAPTERS, "chgnet", CHGNetAdapter)
    monkeypatch.setitem(sys.modules, "chgnet", None)
    with pytest.raises(ImportError, match=r'pip install "gnnpre\[chgnet\]"'):
        FoundationFeatures().fit(CRYSTALS)


def test_in_a_pipeline():
    model = make_pipeline(FoundationFeatures(pooling="cumulants", cache=False), SVR())
    assert model.fit(CRYSTALS, np.arange(4.0)).predict(CRYSTALS).shape == (4,)
    table = (
        FoundationFeatures(pooling="mean", cache=False)
        .set_output(transform="pandas")
        .fit_transform(CRYSTALS)
    )
    assert table.columns[0] == "mean_chgnet_layer4_0"
