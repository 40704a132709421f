"""Values of atoms and tensors are learnt: labels by formulas, held-out crystals, and rotations."""

import numpy as np
import pytest
from ase.neighborlist import neighbor_list
from scipy.spatial.transform import Rotation
from sklearn.metrics import r2_score

from gnnpre import PropertyRegressor, TorchMDNet
from gnnpre.datasets import make_emt_frames

ELECTRONEGATIVITY = {13: 3.2, 28: 4.4, 29: 4.5, 46: 4.5, 47: 4.4, 78: 5.6, 79: 5.8}  # eV


@pytest.fixture(scope="module")
def crystals():
    return [frame.to_ase_atoms() for frame in make_emt_frames(90, random_state=0)[0]]


def charges(atoms):
    """Charges (e) that equalise electronegativity in a screened field: a linear system."""
    i, j, r = neighbor_list("ijd", atoms, 5.0)
    system = 12.0 * np.eye(len(atoms) + 1)
    np.add.at(system, (i, j), 14.4 * np.exp(-r / 1.5) / r)
    system[-1], system[:, -1], system[-1, -1] = 1.0, 1.0, 0.0  # the charges add up to zero
    chi = [-ELECTRONEGATIVITY[number] for number in atoms.numbers]
    return np.linalg.solve(system, [*chi, 0.0])[:-1]


def bond_tensor(atoms):
    """Return the mean over atoms of a weighted sum of ``r r^T`` over neighbours."""
    i, _, r, vectors = neighbor_list("ijdD", atoms, 4.0)
    weights = (1 + np.cos(np.pi * r / 4.0)) * atoms.numbers[i] / 50
    return np.einsum("e,ei,ej->ij", weights, vectors, vectors) / len(atoms)


def fit(target, X, y):
    settings = {"max_epochs": 15, "batch_size": 8, "learning_rate": 5e-3, "random_state": 0}
    return PropertyRegressor(TorchMDNet(16, 1), target=target, **settings).fit(X, y)


def test_charges_of_held_out_crystals(crystals):
    y = [charges(atoms) for atoms in crystals]
    train, test = slice(0, 70), slice(70, None)
    model = fit("atom", crystals[train], y[train])
    numbers, values = (
        np.concatenate(rows) for rows in ([atoms.numbers for atoms in crystals[train]], y[train])
    )
    true = np.concatenate(y[test])
    constant = [
        values[numbers == number].mean() for atoms in crystals[test] for number in atoms.numbers
    ]
    score = model.score(crystals[test], y[test])
    # Charges depend on the surroundings: the element alone does not tell them.
    assert score > 0.8
    assert 1 - score < 0.5 * (1 - r2_score(true, constant))


def test_tensors_of_held_out_crystals_turn_with_them(crystals):
    y = np.array([bond_tensor(atoms) for atoms in crystals])
    model = fit("tensor", crystals[:70], y[:70])
    assert model.score(crystals[70:], y[70:]) > 0.8
    turn = Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix()
    turned = [atoms.copy() for atoms in crystals[70:]]
    for atoms in turned:
        atoms.set_cell(atoms.cell.array @ turn.T, scale_atoms=True)
    expected = turn @ model.predict(crystals[70:]) @ turn.T
    np.testing.assert_allclose(model.predict(turned), expected, atol=1e-4 * np.abs(y).max())
