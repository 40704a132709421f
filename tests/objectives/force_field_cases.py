"""Labels of a force field that several test files share."""

import numpy as np

from cases import random_structures
from gnnpre import FrameLabels

STRUCTURES = list(random_structures().values())


def with_gaps(labels: FrameLabels) -> FrameLabels:
    """Some energies, single force components and whole stresses missing."""
    energy, forces, stress = labels.energy.copy(), labels.forces.copy(), labels.stress.copy()
    energy[[1, 4]] = np.nan
    forces[:3] = np.nan
    forces[5, 1] = np.nan
    stress[0] = np.nan
    return FrameLabels(labels.n_atoms, energy=energy, forces=forces, stress=stress)
