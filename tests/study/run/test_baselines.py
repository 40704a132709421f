"""Tables of compositions, and models on them."""

import numpy as np
import pytest
from pymatgen.core import Element, Lattice, Structure

from gnnpre.study import BASELINES, Study, run_study
from gnnpre.study.run._composition_table import PROPERTIES, composition_table
from study.small_studies import crystals, records_of, small_study, write_table


def test_table_has_parts_and_statistics_of_elements():
    salt = Structure(Lattice.cubic(5.6), ["Na", "Na", "Cl"], [[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0]])
    (row,) = composition_table([salt])
    share, statistics = row[:118], row[118:].reshape(5, len(PROPERTIES))
    assert share[10] == pytest.approx(2 / 3)
    assert share[16] == pytest.approx(1 / 3)
    assert np.count_nonzero(share) == 2
    electronegativity = PROPERTIES.index("X")
    sodium, chlorine = Element("Na").X, Element("Cl").X
    mean = (2 * sodium + chlorine) / 3
    deviation = (2 * abs(sodium - mean) + abs(chlorine - mean)) / 3
    expected = [mean, deviation, sodium, chlorine, chlorine - sodium]
    np.testing.assert_allclose(statistics[:, electronegativity], expected)


def test_every_element_has_finite_properties():
    cubic = [Structure(Lattice.cubic(4), [Element.from_Z(z)], [[0, 0, 0]]) for z in range(1, 119)]
    table = composition_table(cubic)
    assert np.isfinite(table).all()
    np.testing.assert_array_equal(table[:, :118], np.eye(118))


def test_all_baselines_run_and_beat_the_mean_where_composition_decides(tmp_path):
    structures = crystals(60)[0]
    y = np.array([structure.composition.weight for structure in structures])
    path = write_table(tmp_path / "alloys.json", 60, weight=y)
    empty = {"backbones": [], "strategies": [], "pretrainings": [], "baselines": BASELINES}
    assert run_study(small_study(path, **empty), tmp_path / "run").failed == {}
    errors = {r["strategy"]: r["metrics"]["mae"] for r in records_of(tmp_path / "run").values()}
    assert set(errors) == set(BASELINES) == set(Study(name="s", data=["jdft2d"]).baselines)
    assert errors["ridge_composition"] < 0.01 * errors["mean"]
    assert max(errors[name] for name in BASELINES[1:]) < 0.7 * errors["mean"]
