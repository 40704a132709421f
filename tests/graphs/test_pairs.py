"""Edges in pairs: i -> j with j -> i."""

import numpy as np
import pytest
import torch

from gnnpre.graphs import StructureToGraph
from gnnpre.graphs._pairs import find_pairs
from tests.cases import CUTOFF, random_structures


@pytest.fixture(scope="module")
def crystals():
    return list(random_structures().values())


@pytest.fixture(scope="module")
def batch(crystals):
    return StructureToGraph(cutoff=CUTOFF).transform(crystals).batch(dtype=torch.float64)


def directed(batch, edges, reverse):
    """Edges as a set of (source, target, shift)."""
    source, target = batch.edge_index[:, edges]
    shift = batch.edge_shift[edges].int()
    if reverse:
        source, target, shift = target, source, -shift
    return {(int(a), int(b), *map(int, s)) for a, b, s in zip(source, target, shift, strict=True)}


def test_each_edge_and_its_reverse_make_one_pair(batch):
    pairs = batch.pairs
    assert pairs.target.shape == (2, len(batch.edge_shift) // 2)
    everything = directed(batch, torch.arange(len(batch.edge_shift)), reverse=False)
    halves = [directed(batch, pairs.edges, reverse) for reverse in (False, True)]
    assert halves[0] | halves[1] == everything
    assert not halves[0] & halves[1]


def test_both_directions_name_their_atoms(batch):
    pairs = batch.pairs
    torch.testing.assert_close(pairs.target[0], batch.target[pairs.edges])
    torch.testing.assert_close(pairs.source[0], batch.source[pairs.edges])
    torch.testing.assert_close(pairs.target[1], pairs.source[0])
    torch.testing.assert_close(pairs.source[1], pairs.target[0])


def test_edges_without_reverse_stay_single(crystals):
    nearest = StructureToGraph(cutoff=CUTOFF, max_neighbors=3, neighbor_cut="exact")
    batch = nearest.transform(crystals).batch()
    assert batch.pairs.target.shape == (1, len(batch.edge_shift))
    torch.testing.assert_close(batch.pairs.target[0], batch.target)


@pytest.mark.parametrize("change", ["shift", "target", "missing"])
def test_one_edge_that_differs_is_seen(batch, change):
    index, shift = batch.edge_index.clone(), batch.edge_shift.clone()
    source, target = index
    # Between different atoms, an edge keeps its half whatever its shift is.
    row = int(torch.nonzero(target - source > 1)[0, 0])
    if change == "shift":
        shift[row, 0] += 1
    elif change == "target":
        index[1, row] = index[0, row] + 1
    else:
        keep = np.delete(np.arange(len(shift)), row)
        index, shift = index[:, keep], shift[keep]
    assert find_pairs(index, shift).target.shape[0] == 1


def test_batches_that_are_moved_keep_their_pairs(batch):
    pairs = batch.pairs
    assert batch.with_edge_vectors(2 * batch.edge_vectors).pairs is pairs
    assert batch.displaced(torch.zeros_like(batch.positions)).pairs is pairs


def test_vectors_of_a_pair_are_opposite(batch):
    shifts = batch.edge_shift[batch.pairs.edges].to(batch.cell.dtype)
    crystal = batch.batch[batch.pairs.target[0]]
    offset = torch.einsum("ei,eij->ej", shifts, batch.cell[crystal])
    forward = batch.positions[batch.pairs.source[0]] + offset
    torch.testing.assert_close(
        batch.edge_vectors[batch.pairs.edges], forward - batch.positions[batch.pairs.target[0]]
    )
