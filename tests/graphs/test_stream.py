"""Batches piece by piece."""

import numpy as np
import pytest
import torch

from gnnpre.datasets import make_emt_frames
from gnnpre.graphs import GraphSettings, StructureToGraph, stream_batches, stream_graphs


@pytest.fixture(scope="module")
def structures():
    return make_emt_frames(12, random_state=0)[0]


def edges_of(batches, cutoff):
    """Sorted lengths of the edges within a cutoff, over all batches."""
    lengths = np.concatenate([batch.distances.numpy() for batch in batches])
    return np.sort(lengths[lengths < cutoff])


def stream(X, cutoff=4.0, max_atoms=20):
    return list(stream_batches(X, lambda numbers: cutoff, max_atoms, torch.float64))


def test_parts_hold_all_crystals_in_order(structures):
    batches = stream(structures)
    numbers = np.concatenate([batch.atomic_numbers.numpy() for batch in batches])
    np.testing.assert_array_equal(numbers, np.concatenate([s.atomic_numbers for s in structures]))
    assert len(batches) > 2
    assert all(len(batch.positions) <= 20 or len(batch) == 1 for batch in batches)


def test_a_crystal_larger_than_a_part_is_a_part(structures):
    batches = stream(structures, max_atoms=1)
    assert [len(batch) for batch in batches] == [1] * len(structures)


@pytest.mark.parametrize(
    "settings", [{"cutoff": 4.0}, {"cutoff": 5.5}, {"cutoff": 3.0}, {"max_neighbors": 2}]
)
def test_graphs_give_the_edges_that_structures_do(structures, settings):
    graphs = StructureToGraph(**settings).transform(structures)
    expected = edges_of(stream(structures), 4.0)
    np.testing.assert_allclose(edges_of(stream(graphs), 4.0), expected, atol=1e-9)


def test_cutoff_follows_the_elements_of_a_part(structures):
    seen = []

    def cutoff(numbers):
        seen.append(set(numbers.tolist()))
        return 3.0

    batches = list(stream_batches(structures, cutoff, 20, torch.float32))
    assert [set(batch.atomic_numbers.tolist()) for batch in batches] == seen
    assert batches[0].edge_vectors.dtype == torch.float32


def test_a_bad_structure_is_named_by_its_number_in_all(structures):
    bad = structures[0].copy()
    bad.append(bad[0].specie, bad[0].frac_coords)
    with pytest.raises(ValueError, match="Structure 7: atoms"):
        stream([*structures[:7], bad], max_atoms=8)


def test_graphs_part_by_part_are_those_of_all(structures):
    pieces = list(stream_graphs(structures, GraphSettings(cutoff=4.0), 5))
    assert [len(piece) for piece in pieces] == [5, 5, 2]
    whole = StructureToGraph(cutoff=4.0).transform(structures)
    vectors = torch.cat([piece.batch().edge_vectors for piece in pieces])
    torch.testing.assert_close(vectors, whole.batch().edge_vectors)


def test_errors_count_crystals_through_all_parts(structures):
    bad = structures[0].copy()
    bad.append("H", [0.0, 0.0, 0.0])
    bad.append("H", [0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="Structure 7"):
        list(stream_graphs([*structures[:7], bad], GraphSettings(cutoff=4.0), 3))
