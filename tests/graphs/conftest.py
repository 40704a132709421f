"""Structures and graphs that several of the tests here use."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from pymatgen.core import Lattice, Structure

from gnnpre.graphs import CrystalGraphs, FrameLabels, StructureToGraph
from gnnpre.graphs._crystal_graphs import FIELDS


@pytest.fixture
def salt() -> Structure:
    sodium = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    chlorine = [[0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]
    return Structure(Lattice.cubic(5.64), ["Na"] * 4 + ["Cl"] * 4, sodium + chlorine)


@pytest.fixture
def silicon() -> Structure:
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return Structure(Lattice.cubic(5.43), ["Si"] * 8, np.vstack([corners, corners + 0.25]))


@pytest.fixture
def iron() -> Structure:
    return Structure(Lattice.cubic(2.87), ["Fe", "Fe"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture
def structures(salt, silicon, iron) -> list[Structure | Atoms]:
    """Both libraries, one to eight atoms, every kind of periodicity, one atom without neighbour."""
    return [
        salt,
        bulk("Cu", "fcc", a=3.61),
        silicon,
        molecule("H2O"),
        fcc111("Al", (1, 1, 3), vacuum=6.0),
        iron,
        Atoms("He"),
        Structure(Lattice(np.diag([3.0, 3.1, 20.0]), pbc=(True, True, False)), ["C"], [[0, 0, 0]]),
    ]


@pytest.fixture
def graphs(structures) -> CrystalGraphs:
    return StructureToGraph(cutoff=4.0).transform(structures)


@pytest.fixture(scope="session")
def assert_same_graphs() -> Callable[[CrystalGraphs, CrystalGraphs], None]:
    def check(graphs: CrystalGraphs, expected: CrystalGraphs) -> None:
        assert graphs.settings == expected.settings
        for name in FIELDS:
            tensor, reference = getattr(graphs, name), getattr(expected, name)
            assert tensor.dtype == reference.dtype, name
            assert torch.equal(tensor, reference), name

    return check


@pytest.fixture
def labels(graphs) -> FrameLabels:
    """Labels of the graphs, whose energies and forces are their numbers."""
    n_atoms = graphs.n_atoms.numpy()
    return FrameLabels(
        n_atoms,
        energy=np.arange(8.0),
        forces=np.repeat(np.arange(8.0), n_atoms)[:, None] * np.ones(3),
        info={"run": [0, 0, 1, 1, 2, 2, 3, 3]},
    )
