"""Batches: how they are cut, in which order they come, and what noise they get."""

import numpy as np
import pytest
import torch

from gnnpre import PropertyTargets
from gnnpre.training import BatchLoader, CrystalDataset
from gnnpre.training._loader import plan_batches

EDGES = np.array([10, 20, 30, 40, 500, 10, 0, 60, 20, 20])


class Noisy:
    """Stands in for a model that perturbs its batches."""

    perturbs = True

    def standardize(self, labels, batch):
        return labels

    def perturb(self, batch, targets, generator):
        return batch, {**targets, "noise": torch.rand(4, generator=generator)}


class Plain:
    perturbs = False

    def standardize(self, labels, batch):
        return labels

    def perturb(self, batch, targets, generator):
        return batch, targets


@pytest.fixture
def dataset(graphs):
    targets = PropertyTargets().make_targets(graphs, np.arange(len(graphs), dtype=float))
    return CrystalDataset(graphs, targets, np.arange(len(graphs)))


def make_loader(dataset, model=None, **changes):
    settings = {"batch_size": 6, "max_edges": None, "dtype": torch.float32, **changes}
    return BatchLoader(dataset, model or Plain(), **settings)


def orders(loader):
    return [targets["properties"][:, 0].long().tolist() for _, targets in loader]


@pytest.mark.parametrize("max_edges", [None, 1, 60, 100, 10**6])
@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_plan_holds_every_index_once_and_in_order(batch_size, max_edges):
    order = np.random.default_rng(0).permutation(len(EDGES))
    plan = plan_batches(order, EDGES, batch_size, max_edges)
    assert np.concatenate(plan).tolist() == order.tolist()
    assert all(0 < len(batch) <= batch_size for batch in plan)


@pytest.mark.parametrize("max_edges", [60, 100])
def test_plan_keeps_to_the_edge_budget_but_for_single_crystals(max_edges):
    plan = plan_batches(np.arange(len(EDGES)), EDGES, 100, max_edges)
    assert all(EDGES[batch].sum() <= max_edges or len(batch) == 1 for batch in plan)
    assert [4] in [batch.tolist() for batch in plan]  # above any budget here: alone


def test_plan_fills_batches_as_far_as_the_budgets_allow():
    by_edges = plan_batches(np.arange(len(EDGES)), EDGES, 100, 100)
    assert [batch.tolist() for batch in by_edges] == [[0, 1, 2, 3], [4], [5, 6, 7, 8], [9]]
    by_both = plan_batches(np.arange(len(EDGES)), EDGES, 2, 100)
    assert [len(batch) for batch in by_both] == [2, 2, 1, 2, 2, 1]


def test_plan_of_nothing_is_empty():
    for max_edges in (None, 10):
        assert plan_batches(np.arange(0), EDGES, 3, max_edges) == []


def test_without_generator_batches_come_in_order(dataset):
    subset = dataset.subset(np.array([5, 3, 9]))
    loader = make_loader(subset, batch_size=2)
    assert orders(loader) == [[5, 3], [9]]
    assert len(loader) == loader.n_batches == 2


def test_generator_shuffles_and_decides_the_order(dataset):
    first, same, other = (
        make_loader(dataset, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    epochs = [orders(first), orders(first)]
    assert epochs == [orders(same), orders(same)]
    assert epochs[0] != epochs[1]
    assert epochs[0] != orders(other)
    for epoch in epochs:
        assert sorted(np.concatenate(epoch)) == list(range(len(dataset)))


def test_crystal_and_targets_of_a_shuffled_batch_belong_together(dataset):
    for batch, targets in make_loader(dataset, generator=torch.Generator().manual_seed(0)):
        indices = targets["properties"][:, 0].long().numpy()
        expected = dataset.graphs.batch(indices)
        assert torch.equal(batch.positions, expected.positions)
        assert torch.equal(batch.edge_vectors, expected.edge_vectors)


def test_validation_noise_is_the_same_each_time_and_training_noise_is_not(dataset):
    def noise(loader):
        return torch.stack([targets["noise"] for _, targets in loader])

    valid = make_loader(dataset, Noisy())
    assert torch.equal(noise(valid), noise(valid))
    assert len(noise(valid).unique()) > 4  # but not from batch to batch
    train = make_loader(dataset, Noisy(), generator=torch.Generator().manual_seed(0))
    assert not torch.equal(noise(train), noise(train))


def test_number_of_batches_follows_the_order_under_an_edge_budget(dataset):
    loader = make_loader(dataset, max_edges=120, generator=torch.Generator().manual_seed(0))
    for _ in range(5):
        seen = sum(1 for _ in loader)
        assert loader.n_batches == seen


def test_loader_leaves_global_random_state_alone(dataset):
    before = torch.get_rng_state()
    for generator in (None, torch.Generator().manual_seed(0)):
        list(make_loader(dataset, Noisy(), generator=generator))
    assert torch.equal(before, torch.get_rng_state())


def test_dtype_reaches_batch_and_targets(dataset):
    batch, targets = next(iter(make_loader(dataset, dtype=torch.float64)))
    assert batch.edge_vectors.dtype == targets["properties"].dtype == torch.float64
