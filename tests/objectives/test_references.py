"""Reference energies of elements."""

import numpy as np
import pytest
from ase import Atoms

from gnnpre import StructureToGraph
from gnnpre.objectives._references import element_counts, fit_reference_energies, size_dependence

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
    counts = element_counts(graphs.to_crystals(), 118).toarray()
    expected = np.zeros((3, 118), dtype=int)
    expected[0, [0, 7]] = [2, 1]
    expected[1, 117] = 1
    expected[2, [7, 25]] = [2, 2]
    np.testing.assert_array_equal(counts, expected)


def test_recovers_element_energies():
    fitted = fit_reference_energies(FULL_RANK, FULL_RANK @ TRUE)
    seen = TRUE != 0
    np.testing.assert_allclose(fitted[seen], TRUE[seen], rtol=1e-10)


def test_is_the_minimum_of_the_squares_per_atom():
    rng = np.random.default_rng(0)
    energy = FULL_RANK @ TRUE + rng.normal(size=len(FULL_RANK))
    n_atoms = FULL_RANK.sum(axis=1)

    def loss(energies: np.ndarray) -> float:
        return (((FULL_RANK @ energies - energy) / n_atoms) ** 2).sum()

    fitted = fit_reference_energies(FULL_RANK, energy)
    for element in (0, 7, 12, 25):
        for step in (-0.01, 0.01):
            moved = fitted.copy()
            moved[element] += step
            assert loss(moved) > loss(fitted)


def test_fixed_stoichiometries_are_singular_but_predict_the_totals():
    energy = SINGULAR @ np.where(np.arange(N_ELEMENTS) == 13, -5.4, -3.3)
    assert np.linalg.matrix_rank(SINGULAR) < 3
    fitted = fit_reference_energies(SINGULAR, energy)
    assert np.abs(fitted).max() < 10.0
    np.testing.assert_allclose(SINGULAR @ fitted, energy, rtol=1e-10)
    # Nothing distinguishes the two elements, so their energies are equal.
    assert fitted[10] == pytest.approx(fitted[16])


def test_elements_never_seen_get_the_mean_per_atom():
    energy = FULL_RANK @ TRUE
    fitted = fit_reference_energies(FULL_RANK, energy)
    mean = (energy / FULL_RANK.sum(axis=1)).mean()
    np.testing.assert_allclose(fitted[TRUE == 0], mean, rtol=1e-12)


def test_one_crystal():
    fitted = fit_reference_energies(make_counts([{11: 1, 17: 1}]), np.array([-6.0]))
    np.testing.assert_allclose(fitted, -3.0)


def test_large_cells_weigh_no_more_than_small_ones():
    """A supercell in place of its cell changes nothing."""
    energy = FULL_RANK @ TRUE + np.random.default_rng(0).normal(size=len(FULL_RANK))
    copies = np.array([1, 8, 1, 2, 27, 1, 3])
    fitted = fit_reference_energies(FULL_RANK * copies[:, None], energy * copies)
    np.testing.assert_allclose(fitted, fit_reference_energies(FULL_RANK, energy), rtol=1e-9)


def all_electron(numbers: np.ndarray) -> np.ndarray:
    """About the total energies of atoms with all electrons, in eV."""
    return -16.0 * numbers**2.4


@pytest.mark.parametrize("n_frames", [1, 2, 5, 60, 25_000])
@pytest.mark.parametrize("size", [1.0, 1e3, 1e6])
def test_what_remains_does_not_depend_on_offsets_of_the_elements(n_frames, size):
    """With fewer frames than elements too, and with more than one block of the factorisation."""
    rng = np.random.default_rng(n_frames)
    counts = np.zeros((n_frames, N_ELEMENTS), dtype=np.int64)
    elements = rng.choice(40, size=(n_frames, 3))
    np.add.at(counts, (np.arange(n_frames)[:, None], elements), rng.integers(1, 9, (n_frames, 3)))
    energy = rng.normal(size=n_frames) * counts.sum(axis=1)
    offsets = size * rng.normal(size=N_ELEMENTS) + all_electron(np.arange(1, N_ELEMENTS + 1))
    residuals = [
        (total - counts @ fit_reference_energies(counts, total)) / counts.sum(axis=1)
        for total in (energy, energy + counts @ offsets)
    ]
    np.testing.assert_allclose(residuals[1], residuals[0], atol=1e-8)


def test_offset_per_cell():
    rng = np.random.default_rng(0)
    counts = FULL_RANK[rng.integers(len(FULL_RANK), size=200)] * rng.integers(1, 4, size=(200, 1))
    energy = counts @ TRUE + 0.01 * rng.normal(size=200)
    offset, explained, _ = size_dependence(counts, energy + 1e6)
    assert offset == pytest.approx(1e6, rel=1e-6)
    assert explained > 0.999
    assert size_dependence(counts, energy).by_offset < 0.5
