"""Batches that no StructureToGraph made: errors, not reads beyond the end of a tensor."""

import dataclasses

import pytest
import torch
from ase.build import bulk

from cases import BACKBONES, CUTOFF
from gnnpre import CGCNN, StructureToGraph
from gnnpre.backbones.messages import FilteredMessage, Neighbors, _kernel_sums


@pytest.fixture
def batch():
    return StructureToGraph(CUTOFF).transform([bulk("Cu"), bulk("Si")]).batch()


#: How to spoil a batch of 3 atoms, and the error.
DAMAGES = {
    "int32": (
        lambda b: {"edge_index": b.edge_index.int()},
        r"edge_index has dtype torch\.int32; expected int64",
    ),
    "far": (
        lambda b: {"edge_index": b.edge_index + 10**8},
        "names atom 100000002; expected 0 to 2",
    ),
    "end": (lambda b: {"edge_index": b.edge_index + 1}, "names atom 3; expected 0 to 2"),
    "negative": (lambda b: {"edge_index": b.edge_index - 5}, "names atom -5; expected 0 to 2"),
    "atomic_numbers": (
        lambda b: {"atomic_numbers": b.atomic_numbers[:2]},
        r"positions has shape \(3, 3\); expected \(2, 3\)",
    ),
    "positions": (lambda b: {"positions": b.positions[1:]}, r"positions has shape \(2, 3\)"),
    "batch": (lambda b: {"batch": b.batch[1:]}, r"batch has shape \(2,\); expected \(3,\)"),
    "edge_vectors": (
        lambda b: {"edge_vectors": b.edge_vectors[1:]},
        r"expected \(2, \d+\) for 2 crystals with 3 atoms and \d+ edges",
    ),
    "edge_shift": (lambda b: {"edge_shift": b.edge_shift[1:]}, "edge_shift has shape"),
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", BACKBONES)
def test_edges_that_do_not_fit_the_atoms(batch, name, damage, compiled):
    module = BACKBONES[name].build(CUTOFF, 12.5)
    module.compiled = compiled
    spoil, message = DAMAGES[damage]
    with pytest.raises(ValueError, match=message):
        module(dataclasses.replace(batch, **spoil(batch)))


@pytest.mark.parametrize("numbers", [[0, 14, 14], [29, 14, 101], [29, -1, 14]])
@pytest.mark.parametrize("name", BACKBONES)
def test_atomic_numbers_out_of_range(batch, name, numbers):
    module = BACKBONES[name].build(CUTOFF, 12.5)
    wrong = dataclasses.replace(batch, atomic_numbers=torch.tensor(numbers))
    match = (
        f"atomic_numbers hold {next(z for z in numbers if not 1 <= z <= 100)}; expected 1 to 100"
    )
    with pytest.raises(ValueError, match=match):
        module(wrong)


def test_an_empty_list_of_edges(batch):
    keys = {"edge_index": (2, 0), "edge_shift": (0, 3), "edge_vectors": (0, 3)}
    empty = dataclasses.replace(
        batch, **{key: getattr(batch, key).new_empty(shape) for key, shape in keys.items()}
    )
    neighbors = Neighbors.of(empty)
    (sums,) = neighbors.sum(FilteredMessage(), torch.empty(0, 4), torch.ones(3, 4))
    assert torch.equal(sums, torch.zeros(3, 4))


def test_ranges_for_threads_are_cut_once_for_all_layers(batch, monkeypatch):
    cut_pairs, calls = _kernel_sums.cut_pairs, []
    monkeypatch.setattr(_kernel_sums, "cut_pairs", lambda *x: calls.append(1) or cut_pairs(*x))
    module = CGCNN(8, 3).build(CUTOFF, 12.5)
    module.compiled = True
    module(batch).scalars.sum().backward()
    assert len(calls) == 1
