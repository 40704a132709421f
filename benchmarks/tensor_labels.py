"""How well are values of atoms and tensors of real crystals learnt, and do tensors turn?

    python benchmarks/tensor_labels.py [--crystals 300] [--epochs 40]

Needs the variable GNNPRE_DATA. Public data have few charges and tensors, so labels are computed by
formulas that the networks do not know, from ASE's neighbour lists:

- charges that equalise electronegativity (Rappe and Goddard, 1991) with a screened interaction,
  for the crystals of MatBench's phonons set: a linear system for each crystal, no sum over bonds;
- the tensor ``sum_ij w(r) (Z_i + Z_j) r r^T`` of neighbours within 4 Å, divided by the atoms;
- the stress (GPa) of density-functional frames at high temperatures and pressures (mpf-TP).

A fifth is held out; of the frames, a fifth of the formulas. R² of values of atoms is beside the one
of the mean of each element, R² of tensors is in the Frobenius norm. Rotated crystals have to have
rotated tensors.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list
from pymatgen.core import Element
from scipy.spatial.transform import Rotation
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupShuffleSplit

from gnnpre import PropertyRegressor, TorchMDNet
from gnnpre.datasets import read_frames, read_matbench
from gnnpre.graphs import Crystals

EV_PER_CUBIC_ANGSTROM = 160.21766  # GPa
COULOMB = 14.399645  # eV Å
CUTOFF = 4.0  # Å


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crystals", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=40)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = Path(os.environ["GNNPRE_DATA"])
    crystals, _ = read_matbench(data / "downstream" / "phonons.json.gz")
    crystals = crystals[: arguments.crystals]
    rows = np.random.default_rng(0).permutation(len(crystals))
    train, test = rows[len(rows) // 5 :], rows[: len(rows) // 5]
    settings = {"max_epochs": arguments.epochs, "random_state": 0, "diagnose": False}
    report_charges(crystals, train, test, settings)
    tensors = np.array([bond_tensor(atoms) for atoms in as_atoms(crystals)])
    report_tensors("bond tensor", crystals, tensors, train, test, settings)
    frames, labels = read_frames(data / "upstream" / "mpf-TP.extxyz.gz")
    small = np.flatnonzero(np.array(frames.n_atoms) <= 10)[: arguments.crystals]
    frames, labels = frames[small], labels[small]
    splitter = GroupShuffleSplit(1, test_size=0.2, random_state=0)
    train, test = next(splitter.split(small, groups=labels.groups("formula")))
    stress = EV_PER_CUBIC_ANGSTROM * labels.stress
    report_tensors("stress in GPa", frames, stress, train, test, settings)


def as_atoms(crystals: Crystals) -> list[Atoms]:
    return [structure.to_ase_atoms() for structure in crystals]


def equalised_charges(atoms: Atoms) -> np.ndarray:
    """Return charges (e) that equalise electronegativity, with a sum of zero."""
    i, j, r = neighbor_list("ijd", atoms, 6.0)
    interaction = np.zeros((len(atoms), len(atoms)))
    # Screened as by a dielectric, so that the sum over periodic images converges.
    np.add.at(interaction, (i, j), COULOMB * np.exp(-r / 1.5) / r)
    chi = [Element.from_Z(z).X for z in atoms.numbers]
    electronegativity = np.nan_to_num(2.0 * np.array(chi), nan=2.0)
    system = np.ones((len(atoms) + 1, len(atoms) + 1))
    system[:-1, :-1] = interaction + 12.0 * np.eye(len(atoms))
    system[-1, -1] = 0.0
    return np.linalg.solve(system, np.append(-electronegativity, 0.0))[:-1]


def bond_tensor(atoms: Atoms) -> np.ndarray:
    """Return the weighted sum of ``r r^T`` over neighbours, per atom."""
    i, j, r, vectors = neighbor_list("ijdD", atoms, CUTOFF)
    weights = (1 + np.cos(np.pi * r / CUTOFF)) * (atoms.numbers[i] + atoms.numbers[j]) / 100
    return np.einsum("e,ei,ej->ij", weights, vectors, vectors) / len(atoms)


def report_charges(crystals, train, test, settings) -> None:
    charges = [equalised_charges(atoms) for atoms in as_atoms(crystals)]
    start = time.monotonic()
    model = PropertyRegressor(TorchMDNet(32, 2), target="atom", **settings)
    model.fit(crystals[train], [charges[row] for row in train])
    predicted = np.concatenate(list(model.predict(crystals[test])))
    true = np.concatenate([charges[row] for row in test])
    seen, values = crystals[train].atomic_numbers, np.concatenate([charges[r] for r in train])
    means = [values[seen == z].mean() if (seen == z).any() else 0.0 for z in range(119)]
    constant = np.array(means)[crystals[test].atomic_numbers]
    print(
        f"charges: R2 {r2_score(true, predicted):.3f} (mean of the element "
        f"{r2_score(true, constant):.3f}), mean absolute error "
        f"{np.abs(true - predicted).mean():.4f} e ({np.abs(true - constant).mean():.4f}), "
        f"{len(train)} crystals, {time.monotonic() - start:.0f} s",
        flush=True,
    )


def report_tensors(name, crystals, y, train, test, settings) -> None:
    start = time.monotonic()
    model = PropertyRegressor(TorchMDNet(32, 2), target="tensor", **settings)
    model.fit(crystals[train], y[train])
    predicted = model.predict(crystals[test])
    isotropic = np.trace(y[train], axis1=1, axis2=2).mean() / 3 * np.eye(3)
    error, constant = (np.abs(y[test] - values).mean() for values in (predicted, isotropic))
    turn = Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix()
    residue = np.abs(model.predict(rotated(crystals[test], turn)) - turn @ predicted @ turn.T).max()
    print(
        f"{name}: R2 {model.score(crystals[test], y[test]):.3f}, mean absolute error of a "
        f"component {error:.3f} (mean isotropic tensor {constant:.3f}), largest difference after "
        f"a rotation {residue:.1e}, {len(train)} crystals, {time.monotonic() - start:.0f} s",
        flush=True,
    )


def rotated(crystals: Crystals, turn: np.ndarray) -> Crystals:
    return Crystals(
        atomic_numbers=crystals.atomic_numbers,
        positions=crystals.positions @ turn.T,
        cell=crystals.cell @ turn.T,
        n_atoms=crystals.n_atoms,
        pbc=crystals.pbc,
    )


if __name__ == "__main__":
    main()
