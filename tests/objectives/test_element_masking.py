"""ElementMasking: which atoms are masked, and losses against plain formulas."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from cases import CUTOFF, SMALL, make_model, random_structures
from gnnpre import CGCNN, ElementMasking, Pretrainer, StructureToGraph

STRUCTURES = list(random_structures().values())


@pytest.fixture(scope="module")
def graphs():
    return StructureToGraph(CUTOFF).transform(STRUCTURES)


def masked(graphs, objective, seed=0):
    model = make_model(CGCNN(**SMALL), objective)
    batch = graphs.batch(dtype=torch.float64)
    seen, targets = model.perturb(batch, {}, torch.Generator().manual_seed(seed))
    return model, batch, seen, targets["elements"]


def test_only_elements_of_masked_atoms_change(graphs):
    model, batch, seen, elements = masked(graphs, ElementMasking(0.5))
    hidden = elements >= 0
    assert 0 < hidden.sum() < len(hidden)
    assert (seen.atomic_numbers[hidden] == model.mask_number).all()
    assert torch.equal(seen.atomic_numbers[~hidden], batch.atomic_numbers[~hidden])
    assert torch.equal(elements[hidden] + 1, batch.atomic_numbers[hidden])
    assert torch.equal(seen.edge_vectors, batch.edge_vectors)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 1.0])
def test_fraction(fraction):
    graphs = StructureToGraph(CUTOFF).transform([bulk("Cu", cubic=True) * (5, 5, 5)] * 4)
    *_, elements = masked(graphs, ElementMasking(fraction))
    assert (elements >= 0).double().mean().item() == pytest.approx(fraction, abs=0.03)


@pytest.mark.parametrize("loss", ["cross_entropy", "scaled_cosine"])
def test_losses_of_masked_atoms(graphs, loss):
    model, _, seen, elements = masked(graphs, ElementMasking(0.5, loss, gamma=3.0))
    scores = model(seen)["elements"].detach()
    rows = np.flatnonzero(elements.numpy() >= 0)
    values = []
    for row in rows:
        score, element = scores[row].numpy(), int(elements[row])
        if loss == "cross_entropy":
            values.append(np.log(np.exp(score).sum()) - score[element])
        else:
            values.append((1 - score[element] / np.linalg.norm(score)) ** 3)
    term = model.losses({"elements": scores}, {"elements": elements}, seen)["elements"]
    assert term.mean.item() == pytest.approx(np.mean(values), rel=1e-10)
    assert float(term.count) == len(rows)


def test_predictions_are_probabilities(graphs):
    model = Pretrainer(CGCNN(**SMALL), ElementMasking(), max_epochs=1, random_state=0)
    probabilities = model.fit(graphs).predict(graphs)
    assert [p.shape for p in probabilities] == [(len(atoms), 100) for atoms in STRUCTURES]
    np.testing.assert_allclose(np.concatenate(probabilities).sum(axis=1), 1.0, rtol=1e-10)


def test_elements_of_a_perovskite_are_learnt_from_their_sites():
    """Three kinds of site, which distances tell apart."""
    frames = []
    for strain in np.linspace(0.97, 1.03, 24):
        cell = 3.9 * strain * np.eye(3)
        sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
        frames.append(Atoms("SrTiO3", scaled_positions=sites, cell=cell, pbc=True))
    model = Pretrainer(
        CGCNN(16, 2), ElementMasking(0.3), max_epochs=40, learning_rate=1e-2, random_state=0
    ).fit(frames)
    assert model.history_[-1]["train_loss"] < 0.3 * model.history_[0]["train_loss"]


def test_the_mask_element_is_refused(graphs):
    frames = [bulk("Cu"), Atoms("Fm", cell=3 * np.eye(3), pbc=True)]
    with pytest.raises(ValueError, match="Crystal 1 of X holds the element of atomic number 100"):
        Pretrainer(CGCNN(**SMALL), ElementMasking(), validation_fraction=0).fit(frames)
