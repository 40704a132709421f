"""Reference energies of elements."""

import numpy as np
import pytest
from ase import Atoms

from gnnpre import StructureToGraph
from gnnpre.objectives._references import REFERENCES, element_counts, fit_reference_energies

N_ELEMENTS = 100


def make_counts(formulas: list[dict[int, int]]) -> np.ndarray:
    """Rows of atoms per element from ``{Z: count}``."""
    counts = np.zeros((len(formulas), N_ELEMENTS), dtype=np.int64)
    for row, formula in enumerate(formulas):
        for number, count in formula.items():
            counts[row, number - 1] = count
    return counts


FULL_RANK = make_counts(
    [{1: 2, 8: 1}, {8: 4, 26: 2}, {26: 8}, {1: 1}, {1: 1, 8: 3, 26: 2}, {13: 12, 8: 1}, {13: 1}]
)
TRUE = np.zeros(N_ELEMENTS)
TRUE[[0, 7, 12, 25]] = [-1.1, -4.9, -3.7, -8.2]
# A:B is 1:1 everywhere, and C is always alone: energies of A and of B cannot be told apart.
SINGULAR = make_counts([{11: 1, 17: 1}, {11: 4, 17: 4}, {14: 2}, {11: 2, 17: 2}])


def test_element_counts():
    structures = [Atoms("H2O"), Atoms("Og"), Atoms("OFeFeO")]
    for atoms in structures:
        atoms.positions = np.arange(len(atoms))[:, None] * [1.5, 0, 0]
    graphs = StructureToGraph(4.0).transform(structures)
    counts = element_counts(graphs, 118)
    expected = np.zeros((3, 118), dtype=int)
    expected[0, [0, 7]] = [2, 1]
    expected[1, 117] = 1
    expected[2, [7, 25]] = [2, 2]
    np.testing.assert_array_equal(counts, expected)


def test_minimum_norm_recovers_element_energies():
    found = fit_reference_energies(FULL_RANK, FULL_RANK @ TRUE, "minimum_norm")
    seen = TRUE != 0
    np.testing.assert_allclose(found[seen], TRUE[seen], rtol=1e-10)


def test_ridge_recovers_element_energies_from_many_crystals():
    counts = np.tile(FULL_RANK, (200, 1))
    found = fit_reference_energies(counts, counts @ TRUE, "ridge")
    seen = TRUE != 0
    np.testing.assert_allclose(found[seen], TRUE[seen], rtol=1e-4)


def test_ridge_is_the_minimum_of_its_loss():
    rng = np.random.default_rng(0)
    energy = FULL_RANK @ TRUE + rng.normal(size=len(FULL_RANK))
    n_atoms = FULL_RANK.sum(axis=1)
    fractions, per_atom = FULL_RANK / n_atoms[:, None], energy / n_atoms
    mean = per_atom.mean()

    def loss(energies: np.ndarray) -> float:
        return ((fractions @ energies - per_atom) ** 2).sum() + 1e-3 * (
            (energies - mean) ** 2
        ).sum()

    found = fit_reference_energies(FULL_RANK, energy, "ridge")
    for element in (0, 7, 50):
        for step in (-0.01, 0.01):
            moved = found.copy()
            moved[element] += step
            assert loss(moved) > loss(found)


@pytest.mark.parametrize(("method", "tolerance"), [("minimum_norm", 1e-10), ("ridge", 5e-3)])
def test_fixed_stoichiometries_are_singular_but_predict_the_totals(method, tolerance):
    energy = SINGULAR @ np.where(np.arange(N_ELEMENTS) == 13, -5.4, -3.3)
    assert np.linalg.matrix_rank(SINGULAR) < 3
    found = fit_reference_energies(SINGULAR, energy, method)
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 10.0
    np.testing.assert_allclose(SINGULAR @ found, energy, rtol=tolerance)
    # Nothing tells the two apart, so nothing is told apart.
    assert found[10] == pytest.approx(found[16])


@pytest.mark.parametrize("method", REFERENCES)
def test_elements_never_seen_get_the_mean_per_atom(method):
    energy = FULL_RANK @ TRUE
    found = fit_reference_energies(FULL_RANK, energy, method)
    mean = (energy / FULL_RANK.sum(axis=1)).mean()
    np.testing.assert_allclose(found[TRUE == 0], mean, rtol=1e-12)


@pytest.mark.parametrize("method", REFERENCES)
def test_one_crystal(method):
    found = fit_reference_energies(make_counts([{11: 1, 17: 1}]), np.array([-6.0]), method)
    np.testing.assert_allclose(found, -3.0)


@pytest.mark.parametrize("method", REFERENCES)
def test_large_cells_weigh_no_more_than_small_ones(method):
    """A supercell in place of its cell changes nothing."""
    energy = FULL_RANK @ TRUE + np.random.default_rng(0).normal(size=len(FULL_RANK))
    copies = np.array([1, 8, 1, 2, 27, 1, 3])
    found = fit_reference_energies(FULL_RANK * copies[:, None], energy * copies, method)
    np.testing.assert_allclose(found, fit_reference_energies(FULL_RANK, energy, method), rtol=1e-9)
