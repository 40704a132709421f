"""Embeddings of the force field in the package, as features of kernel machines."""

import json
import shutil
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from gnnpre import Pretrainer, PropertyEnsemble, PropertyRegressor, StructureToGraph, load_estimator
from gnnpre.datasets import make_emt_property
from gnnpre.estimators import _force_field_features
from gnnpre.estimators._ensemble_members import default_members
from gnnpre.estimators._force_field_features import ForceFieldFeatures
from gnnpre.estimators._kernel_head import FeatureBlocks
from gnnpre.exceptions import UnseenElementWarning
from gnnpre.graphs import Crystals


@pytest.fixture(scope="module")
def data():
    return make_emt_property(30, random_state=0)


def test_features_are_embeddings_of_the_model(data, monkeypatch):
    structures, _ = data
    monkeypatch.setattr(_force_field_features, "BLOCK", 7)
    table = ForceFieldFeatures().fit(structures).transform(structures)
    force_field = Pretrainer.load("gnnpre-1-forces")
    last = force_field.set_params(embedding_pooling="cumulants").transform(structures)
    np.testing.assert_allclose(table[:, -last.shape[1] :], last, rtol=1e-4, atol=1e-5)
    assert table.shape == (30, 2 * last.shape[1])


def test_features_do_not_depend_on_the_container(data):
    structures, _ = data
    expected = ForceFieldFeatures().transform(structures)
    graphs = StructureToGraph(3.0).transform(structures)
    for container in (Crystals.from_structures(structures), graphs):
        np.testing.assert_allclose(ForceFieldFeatures().transform(container), expected, atol=1e-6)


def test_threads_share_the_model(data):
    structures, _ = data
    _force_field_features._load_model.cache_clear()
    expected = ForceFieldFeatures().transform(structures)
    with ThreadPoolExecutor(4) as pool:
        tables = list(pool.map(lambda _: ForceFieldFeatures().transform(structures), range(8)))
    for table in tables:
        np.testing.assert_allclose(table, expected, atol=1e-6)


def test_other_weights_never_take_their_place(data, tmp_path):
    structures, y = data
    regressor = PropertyRegressor(pretrained="gnnpre-1", strategy="kernel", random_state=0)
    path = tmp_path / "model.gnnpre"
    regressor.fit(structures, y).save(path)
    np.testing.assert_array_equal(
        load_estimator(path).predict(structures), regressor.predict(structures)
    )
    checksum = ForceFieldFeatures(
        _force_field_features.shipped_checksum("gnnpre-1-forces")
    ).checksum
    older = tmp_path / "older.gnnpre"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(older, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith(".json"):
                assert json.loads(content)
                content = content.replace(checksum.encode(), b"0" * 64)
            target.writestr(name, content)
    assert older.read_bytes() != shutil.copy(path, tmp_path / "copy").read_bytes()
    with pytest.raises(ValueError, match="other weights of gnnpre-1-forces"):
        load_estimator(older).predict(structures)


def test_member_without_a_network(data):
    names = ("composition", "force_field")
    members = dict(default_members("gnnpre-1", names, 1, "cpu"))
    assert members["embedding"].kernel_features == names
    assert members["fingerprint"].features == ["composition"]
    members = dict(default_members("gnnpre-1", ("force_field",), 1, "cpu"))
    assert list(members) == ["network", "embedding"]
    assert "force_field" in PropertyEnsemble("gnnpre-1").kernel_features


def test_they_are_computed_on_the_device_of_the_network(data, monkeypatch):
    structures, _ = data
    devices = []

    def compute(self, crystals, device):
        devices.append(device)
        return np.zeros((len(crystals), 2))

    monkeypatch.setattr(ForceFieldFeatures, "compute", compute)
    structures = Crystals.from_structures(structures)
    network = SimpleNamespace(device="cuda:3", blocks=lambda crystals, rows: [])
    FeatureBlocks({"force_field": ForceFieldFeatures()}).compute(network, structures)
    assert devices == ["cuda:3"]


def test_elements_that_the_force_field_has_never_seen_are_named(data):
    structures, y = data
    gas = [Structure(Lattice.cubic(6.0 + i), ["Ne"], [[0, 0, 0]]) for i in range(2)]
    regressor = PropertyRegressor(
        pretrained="gnnpre-1", strategy="kernel", device="cpu", random_state=0
    )
    pattern = r"gnnpre-1-forces has never seen: Ne \(rows 30, 31\).*2 of 32"
    with pytest.warns(UnseenElementWarning, match=pattern):
        regressor.fit([*structures, *gas], np.append(y, [0.1, 0.2]))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnseenElementWarning)
        regressor.fit(structures, y).predict(structures)
    with pytest.warns(UnseenElementWarning, match=r"has never seen: Ne \(rows 0, 1\)"):
        regressor.predict(gas)
