"""Composition: statistics of elements against plain sums, and the transformer's contract."""

import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from pymatgen.core import Element
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from cases import random_structures
from gnnpre import StructureToGraph
from gnnpre.fingerprints import Composition
from gnnpre.fingerprints._composition import PROPERTIES, element_properties
from gnnpre.graphs import Crystals, as_crystals

STRUCTURES = list(random_structures().values())


def test_statistics_are_those_of_the_atoms():
    table = Composition(fractions=False).transform(STRUCTURES)
    names = Composition(fractions=False).get_feature_names_out().tolist()
    for row, atoms in zip(table, STRUCTURES, strict=True):
        numbers = np.array([Element.from_Z(z).X for z in atoms.numbers])
        for statistic in (np.mean, np.std, np.min, np.max, np.ptp):
            name = {"ptp": "range", "amin": "min", "amax": "max"}.get(
                statistic.__name__, statistic.__name__
            )
            column = names.index(f"{name}_electronegativity")
            assert row[column] == pytest.approx(statistic(numbers), abs=1e-12)


def test_fractions():
    water = Atoms("OHH", positions=[[0, 0, 0], [0, 0, 1], [0, 1, 0]])
    composition = Composition()
    table, names = composition.transform([water]), composition.get_feature_names_out().tolist()
    assert table.shape == (1, len(names))
    assert table[0, names.index("fraction_H")] == pytest.approx(2 / 3)
    assert table[0, [n.startswith("fraction") for n in names]].sum() == pytest.approx(1.0)


def test_every_element_has_every_property():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        element_properties.cache_clear()
        table = element_properties()
    assert np.isfinite(table).all()
    iron = dict(zip(PROPERTIES, table[25], strict=True))
    expected = {"d_valence": 6, "s_valence": 2, "group": 8, "period": 4, "electronegativity": 1.83}
    assert {name: iron[name] for name in expected} == expected


def test_same_for_structures_crystals_and_graphs():
    composition = Composition()
    expected = composition.transform(STRUCTURES)
    np.testing.assert_array_equal(composition.transform(as_crystals(STRUCTURES)), expected)
    graphs = StructureToGraph(3.0).transform(STRUCTURES)
    np.testing.assert_array_equal(composition.transform(graphs), expected)


def test_supercells_and_order_change_nothing():
    salt = bulk("NaCl", "rocksalt", a=5.64)
    one, many, reverse = Composition().transform([salt, salt * (2, 1, 3), salt[::-1]])
    np.testing.assert_allclose(many, one, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(reverse, one, rtol=1e-12, atol=1e-12)


def test_in_a_pipeline_with_pandas_output():
    pd = pytest.importorskip("pandas")
    composition = Composition(["group"], fractions=False).set_output(transform="pandas")
    table = composition.fit_transform(pd.Series(STRUCTURES, index=range(10, 18)))
    assert table.columns.tolist()[0] == "mean_group"
    assert table.index.tolist() == list(range(10, 18))
    model = make_pipeline(clone(composition), Ridge()).fit(STRUCTURES, np.arange(8.0))
    assert model.predict(STRUCTURES).shape == (8,)


@pytest.mark.parametrize("properties", ["group", ["mass"], [], ["group", "group"], 3, [["group"]]])
def test_bad_properties_are_named(properties):
    with pytest.raises(ValueError, match=r"^properties="):
        Composition(properties).fit(STRUCTURES)


def test_no_crystals():
    with pytest.raises(ValueError, match=r"0 crystals|empty"):
        Composition().fit([])
    with pytest.raises(TypeError):
        Composition().fit(3)
    assert isinstance(as_crystals(STRUCTURES), Crystals)
