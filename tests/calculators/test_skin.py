"""Neighbour lists with a skin hold exactly the edges of a new search, whatever has moved."""

import numpy as np
import pytest
import torch
from ase.build import bulk, fcc111, molecule

from gnnpre.calculators._skin import SkinGraphs
from gnnpre.graphs import Crystals, GraphSettings, as_crystals, build_graphs

SETTINGS = GraphSettings(cutoff=4.0)
START = as_crystals(
    [bulk("Cu", cubic=True).repeat((2, 1, 1)), fcc111("Al", (2, 2, 2), vacuum=5), molecule("CH4")]
)


def moved(crystals, displacements, strain=None):
    deformation = np.eye(3) if strain is None else np.eye(3) + strain
    return Crystals(
        atomic_numbers=crystals.atomic_numbers,
        positions=crystals.positions @ deformation + displacements,
        cell=crystals.cell @ deformation,
        n_atoms=crystals.n_atoms,
        pbc=crystals.pbc,
    )


def sorted_edges(batch):
    table = torch.cat([batch.edge_index.T, batch.edge_shift, batch.edge_vectors], dim=1).numpy()
    return table[np.lexsort(table[:, :5].T)]


def assert_same_edges(batch, crystals):
    expected = build_graphs(crystals, SETTINGS).batch(dtype=torch.float64)
    np.testing.assert_allclose(sorted_edges(batch), sorted_edges(expected), atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_edges_equal_a_new_search_after_each_of_many_steps(seed):
    random = np.random.default_rng(seed)
    lists, crystals = SkinGraphs(SETTINGS, skin=0.4), START
    for _ in range(12):
        strain = 0.003 * random.standard_normal((3, 3))
        steps = 0.03 * random.standard_normal(crystals.positions.shape)
        crystals = moved(crystals, steps, strain)
        assert_same_edges(lists.batch(crystals, torch.float64), crystals)
    assert 1 < lists.n_searches < 12


def test_moving_everything_alike_needs_one_search():
    lists = SkinGraphs(SETTINGS, skin=0.5)
    lists.batch(START, torch.float64)
    assert_same_edges(lists.batch(moved(START, 0.04), torch.float64), moved(START, 0.04))
    assert lists.n_searches == 1


def test_an_atom_that_moves_by_half_the_skin_needs_a_search():
    lists = SkinGraphs(SETTINGS, skin=0.5)
    lists.batch(START, torch.float64)
    steps = np.zeros_like(START.positions)
    steps[3, 0] = 0.249
    lists.batch(moved(START, steps), torch.float64)
    assert lists.n_searches == 1
    steps[3, 0] = 0.251
    lists.batch(moved(START, steps), torch.float64)
    assert lists.n_searches == 2


@pytest.mark.parametrize("change", ["atomic_numbers", "pbc", "n_atoms"])
def test_other_atoms_need_a_search(change):
    lists = SkinGraphs(SETTINGS, skin=0.5)
    lists.batch(as_crystals([bulk("Cu", cubic=True)]), torch.float64)
    atoms = bulk("Cu", cubic=True)
    if change == "atomic_numbers":
        atoms.numbers[0] = 47
    elif change == "pbc":
        atoms.pbc = (True, True, False)
    else:
        atoms = atoms[:3]
    crystals = as_crystals([atoms])
    assert_same_edges(lists.batch(crystals, torch.float64), crystals)
    assert lists.n_searches == 2


def test_a_cut_of_the_neighbours_is_searched_each_time():
    settings = GraphSettings(cutoff=4.0, max_neighbors=12)
    lists = SkinGraphs(settings, skin=0.5)
    for _ in range(2):
        batch = lists.batch(START, torch.float64)
    assert lists.n_searches == 2
    assert batch.edge_vectors.shape == build_graphs(START, settings).batch().edge_vectors.shape
