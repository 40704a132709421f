"""The published models, where their packages are installed."""

import numpy as np
import pytest
from ase.build import bulk

from gnnpre.foundation import FoundationFeatures
from gnnpre.graphs import as_crystals

CRYSTALS = [bulk("Cu"), bulk("NaCl", "rocksalt", a=5.64), bulk("Si"), bulk("Fe", cubic=True)]


@pytest.mark.parametrize("model", ["chgnet", "chgnet-r2scan", "chgnet-0.2.0", "diep"])
def test_real_models(model, tmp_path):
    pytest.importorskip(model.partition("-")[0])
    crystals = [*CRYSTALS, bulk("Ar", a=30.0)]
    rotated = [atoms.copy() for atoms in crystals]
    for atoms in rotated:
        atoms.rotate(40, (1, 2, 3), rotate_cell=True)
    features = FoundationFeatures(model, layer=(0, 1, -1), pooling="mean", cache=tmp_path)
    values = features.fit_transform(crystals)
    assert values.shape == (5, 192)
    assert np.isfinite(values).all()
    # Layers differ, crystals differ, rotations and supercells do not.
    assert np.abs(values[:, 64:128] - values[:, 128:]).max() > 0.01
    assert np.abs(values[0] - values[2]).max() > 0.01
    np.testing.assert_allclose(features.transform(rotated), values, atol=2e-3)
    (supercell,) = features.transform([bulk("Cu") * (2, 1, 1)])
    np.testing.assert_allclose(supercell, values[0], atol=2e-3)


def test_chgnet_features_are_those_of_the_package():
    chgnet = pytest.importorskip("chgnet.model")
    structures = as_crystals(CRYSTALS).to_structures()
    model = chgnet.CHGNet.load(use_device="cpu", verbose=False)
    third = FoundationFeatures("chgnet", layer=3, cache=False).transform(structures)
    for structure, values in zip(structures, third, strict=True):
        expected = model.predict_structure(structure, task="e", return_atom_feas=True)["atom_fea"]
        np.testing.assert_allclose(values, expected, atol=1e-5)
