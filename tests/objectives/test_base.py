"""Targets of batches."""

import numpy as np
import pytest
import torch

from gnnpre.objectives import Targets

N_ATOMS = np.array([2, 1, 4, 3])


@pytest.fixture
def targets() -> Targets:
    rng = np.random.default_rng(0)
    return Targets(
        N_ATOMS,
        {
            "energy": torch.tensor(rng.normal(size=4)),
            "stress": torch.tensor(rng.normal(size=(4, 3))),
        },
        {"forces": torch.tensor(rng.normal(size=(10, 3)))},
    )


@pytest.mark.parametrize("indices", [[0], [3, 1], [2, 2, 0], [0, 1, 2, 3], []])
def test_batch_has_the_rows_of_plain_indexing(targets, indices):
    batch = targets.batch(np.array(indices, dtype=np.int64), torch.float64)
    forces = targets.atom["forces"].split(N_ATOMS.tolist())
    expected = [forces[index] for index in indices] or [torch.empty(0, 3, dtype=torch.float64)]
    assert torch.equal(batch["energy"], targets.crystal["energy"][indices])
    assert torch.equal(batch["stress"], targets.crystal["stress"][indices])
    assert torch.equal(batch["forces"], torch.cat(expected))


def test_batch_has_the_precision_asked_for(targets):
    batch = targets.batch(np.array([1, 2]), torch.float32)
    assert {values.dtype for values in batch.values()} == {torch.float32}


def test_length_and_copy(targets):
    copy = targets.to("cpu")
    assert len(copy) == len(targets) == 4
    assert copy.crystal.keys() == targets.crystal.keys()
    indices = np.array([2, 0])
    for name, values in targets.batch(indices, torch.float64).items():
        assert torch.equal(copy.batch(indices, torch.float64)[name], values)


def test_later_columns_do_not_reach_the_mapping_that_was_given():
    crystal = {"energy": torch.zeros(4)}
    Targets(N_ATOMS, crystal).crystal["sample_weight"] = torch.ones(4)
    assert set(crystal) == {"energy"}
