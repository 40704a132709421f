"""TwoViews: the views, the Gaussian test, and embeddings that do not collapse."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from cases import CUTOFF, SMALL, make_model, random_structures
from gnnpre import CGCNN, Pretrainer, StructureToGraph, TwoViews
from gnnpre.datasets import make_emt_frames
from gnnpre.objectives._two_views import gaussian_deviation, joined

STRUCTURES = list(random_structures().values())


@pytest.fixture(scope="module")
def graphs():
    return StructureToGraph(CUTOFF).transform(STRUCTURES)


def test_joined_batches_are_the_batch_of_all(graphs):
    both = joined([graphs.batch([0, 3]), graphs.batch([5, 1])])
    expected = graphs.batch([0, 3, 5, 1])
    for name in ("atomic_numbers", "edge_index", "edge_shift", "batch", "n_atoms", "cell"):
        assert torch.equal(getattr(both, name), getattr(expected, name)), name
    torch.testing.assert_close(both.edge_vectors, expected.edge_vectors)


def test_views_differ_in_what_is_perturbed(graphs):
    batch = graphs.batch(dtype=torch.float64)
    n_atoms, n_edges = len(batch.atomic_numbers), len(batch.edge_vectors)
    for objective, moves, masks in (
        (TwoViews(0.1, strain=0, mask=0), True, False),
        (TwoViews(0, strain=0.05, mask=0), True, False),
        (TwoViews(0, strain=0, mask=0.5), False, True),
    ):
        model = make_model(CGCNN(**SMALL), objective)
        seen, _ = model.perturb(batch, {}, torch.Generator().manual_seed(0))
        assert len(seen) == 2 * len(batch)
        first, second = seen.edge_vectors.split(n_edges)
        assert (not torch.allclose(first, second)) == moves
        one, two = seen.atomic_numbers.split(n_atoms)
        assert (not torch.equal(one, two)) == masks


def test_gaussian_deviation_against_an_integral():
    samples = np.random.default_rng(0).normal(0.5, 2.0, size=40)

    def integrand(t):
        empirical = np.exp(1j * t * samples).mean()
        return abs(empirical - np.exp(-(t**2) / 2)) ** 2 * np.exp(-(t**2) / 2)

    exact = 40 * quad(integrand, -3, 3)[0]
    value = gaussian_deviation(torch.from_numpy(samples)[:, None])
    assert float(value) == pytest.approx(exact, rel=0.01)


def test_gaussian_deviation_tells_collapse_and_spread_from_a_normal():
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(500, 8, generator=generator, dtype=torch.float64)
    small = gaussian_deviation(normal)
    for wrong in (torch.zeros_like(normal), 5.0 * normal, normal + 2.0, normal.sign()):
        assert gaussian_deviation(wrong) > 10.0 * small


def test_embeddings_do_not_collapse():
    structures, _ = make_emt_frames(64, max_atoms=6, random_state=0)
    graphs = StructureToGraph(4.0).transform(structures)
    settings = {"max_epochs": 40, "batch_size": 16, "learning_rate": 1e-2, "random_state": 0}
    spreads = {}
    for regularization in (1e-9, 0.2):
        objective = TwoViews(0.05, channels=4, regularization=regularization)
        model = Pretrainer(CGCNN(16, 2), objective, **settings).fit(graphs)
        spreads[regularization] = model.predict(graphs).std(axis=0).mean()
    assert spreads[0.2] > 0.3
    assert spreads[1e-9] < 0.1 * spreads[0.2]
