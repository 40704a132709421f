"""Models and batches that the tests of denoising share."""

import numpy as np
from pymatgen.core import Structure

from cases import SMALL, perfect_crystals, random_structures
from gnnpre import CGCNN

STRUCTURES = list(random_structures().values())


CGCNN_SMALL = CGCNN(**SMALL)


FIT = {"max_epochs": 2, "batch_size": 4, "random_state": 0}


def crystals() -> list[Structure]:
    """Rock salts and zincblendes of several sizes, the cubic cells of eight atoms."""
    from pymatgen.io.ase import AseAtomsAdaptor

    cells = [perfect_crystals()[name] for name in ("Si", "NaCl")]
    return [
        AseAtomsAdaptor.get_structure(cell).copy().scale_lattice(volume * factor)
        for cell in cells
        for volume, factor in [(cell.get_volume(), f) for f in np.linspace(0.95, 1.05, 8)]
    ]


def rattle(structures, noise):
    rng, noisy, moves = np.random.default_rng(5), [], []
    for structure in structures:
        move = rng.normal(scale=noise, size=(len(structure), 3))
        copied = structure.copy()
        for atom, vector in enumerate(move):
            copied.translate_sites([atom], vector, frac_coords=False, to_unit_cell=False)
        noisy.append(copied)
        moves.append(move)
    return noisy, moves
