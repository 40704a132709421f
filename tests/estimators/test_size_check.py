"""Properties that grow with the cell, learnt by a readout that is a mean over atoms."""

import warnings

import numpy as np
import pytest

from gnnpre import (
    CGCNN,
    Mixture,
    Pretrainer,
    PropertyRegressor,
    PropertyTargets,
    StructureToGraph,
)
from gnnpre.datasets import make_emt_property, read_matbench
from gnnpre.estimators._size_check import grows_with_cell
from gnnpre.exceptions import DataQualityWarning

MESSAGE = r"y grows with the number of atoms .*pooling='sum'.*y / n_atoms"


@pytest.fixture(scope="module")
def crystals():
    structures, y = make_emt_property(60, random_state=0, max_atoms=12)
    graphs = StructureToGraph(cutoff=4.0).transform(structures)
    return graphs, y, graphs.atom_counts


def fit(graphs, y, **parameters):
    model = PropertyRegressor(CGCNN(4, 1), max_epochs=1, random_state=0, **parameters)
    return model.fit(graphs, y)


def quiet(function, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataQualityWarning)
        return function(*args, **kwargs)


@pytest.mark.parametrize("unit", [1.0, 1e-19, 1e12])
@pytest.mark.parametrize("n", [20, 60])
def test_a_heat_capacity_per_cell_is_noticed_in_any_unit(crystals, n, unit):
    graphs, _, n_atoms = crystals
    with pytest.warns(DataQualityWarning, match=MESSAGE) as caught:
        fit(graphs[:n], 24.94 * unit * n_atoms[:n])
    assert caught[0].filename == __file__


@pytest.mark.parametrize("pooling", ["mean", "attention", "max"])
def test_energies_per_cell_are_noticed_with_any_mean(crystals, pooling):
    graphs, _, n_atoms = crystals
    per_atom = -8.0 + np.random.default_rng(0).normal(size=len(n_atoms))
    with pytest.warns(DataQualityWarning, match=rf"pooling='{pooling}' predicts the same"):
        fit(graphs, per_atom * n_atoms, pooling=pooling)


@pytest.mark.parametrize("n", [20, 60])
@pytest.mark.parametrize("spread", [0.0, 0.02, 0.3])
def test_a_property_of_the_material_under_a_sum_is_noticed(crystals, n, spread):
    graphs, _, _ = crystals
    y = 3.0 + 1e-3 * np.arange(n) + spread * np.random.default_rng(0).normal(size=n)
    with pytest.warns(DataQualityWarning, match="does not grow with .* pooling='mean'") as caught:
        fit(graphs[:n], y, pooling="sum")
    assert caught[0].filename == __file__
    quiet(fit, graphs[:n], y)
    # A perceptron behind the sum may learn either.
    quiet(fit, graphs[:n], y, pooling="sum", readout="early")


def test_a_bulk_modulus_under_a_sum_is_noticed(crystals):
    graphs, y, _ = crystals
    with pytest.warns(DataQualityWarning, match="does not grow with the number of atoms"):
        fit(graphs, y, pooling="sum")


def test_a_sum_over_atoms_is_what_they_need(crystals):
    graphs, _, n_atoms = crystals
    quiet(fit, graphs, 24.94 * n_atoms, pooling="sum")


def test_properties_of_the_material_are_left_in_peace(crystals):
    graphs, y, n_atoms = crystals
    quiet(fit, graphs, y)
    quiet(fit, graphs, y / n_atoms)  # falls with the size, by whatever accident
    quiet(fit, graphs, np.full(len(y), 3.0))


def test_the_column_is_named(crystals):
    graphs, y, n_atoms = crystals
    with pytest.warns(DataQualityWarning, match="y, in column 1, grows"):
        fit(graphs, np.stack([y, 3.0 * n_atoms], axis=1))


def test_cells_of_one_size_do_not_tell(crystals):
    _, _, n_atoms = crystals
    fractions = np.random.default_rng(0).dirichlet(np.ones(4), len(n_atoms))
    assert not grows_with_cell(fractions @ np.arange(4.0), fractions, np.full(len(n_atoms), 5))


@pytest.mark.parametrize("mixed", [False, True])
def test_a_pretrainer_notices_too(crystals, mixed):
    graphs, _, n_atoms = crystals
    objective = Mixture([("capacity", PropertyTargets(), 1.0)]) if mixed else PropertyTargets()
    pretrainer = Pretrainer(CGCNN(4, 1), objective, max_epochs=1, random_state=0)
    with pytest.warns(DataQualityWarning, match=MESSAGE):
        pretrainer.fit(graphs, 24.94 * n_atoms)


SETS = ["jdft2d", "phonons", "perovskites", "adsorption", "refractive_index", "mp_elastic_5k"]


@pytest.mark.parametrize("name", SETS)
def test_real_properties(data_dir, name):
    crystals, table = read_matbench(data_dir / "downstream" / f"{name}.json.gz")
    rows = np.random.default_rng(0).permutation(len(crystals))[:600]
    chosen = crystals[rows]
    row_of_atom = np.repeat(np.arange(len(chosen)), chosen.n_atoms)
    counts = np.zeros((len(chosen), 120))
    np.add.at(counts, (row_of_atom, chosen.atomic_numbers), 1)
    fractions = counts[:, counts.any(axis=0)] / chosen.n_atoms[:, None]
    values = np.asarray(table, dtype=float).reshape(len(crystals), -1)[rows]
    assert not any(grows_with_cell(column, fractions, chosen.n_atoms) for column in values.T)
