"""Numbers of dscribe's ACSF, for tests/fingerprints/test_wacsf.py.

gnnpre does not depend on dscribe, so this runs in an environment of its own (that of
benchmarks/peers/dscribe.txt) and imports nothing of gnnpre:

    python -m venv peer && peer/bin/pip install -r benchmarks/peers/dscribe.txt
    peer/bin/python benchmarks/dscribe_oracle.py

It writes small skewed cells of one element, as dscribe weights no neighbour by its atomic number,
and the values of G2, G4 and G5 for their atoms. Its cutoff function is the cosine, and its sums run
over unordered pairs of neighbours, as gnnpre's do. It takes too few images of atoms that lie out of
their cell, so it gets them wrapped into it.
"""

import json
import sys
from importlib.metadata import version
from itertools import product
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.geometry import cellpar_to_cell
from dscribe.descriptors import ACSF

CUTOFF = 4.0
G2 = {"eta": [0.5, 4.0], "rs": [0.0, 2.5]}
G4 = {"eta": [0.01, 0.2], "zeta": [1.0, 1.5, 16.0], "lambda": [-1.0, 0.5, 1.0]}
G5 = {"eta": [0.03, 0.3], "zeta": [1.0, 2.0, 5.0], "lambda": [-1.0, 0.5, 1.0]}
CELLS = {
    "one atom": ([2.6, 2.9, 3.1, 83, 72, 98], [[0.1, 0.7, 0.4]]),
    "skewed": ([3.4, 4.2, 4.5, 46, 59, 67], [[0.0, 0.0, 0.0], [0.45, 0.6, 0.4]]),
    "outside": ([3.9, 3.6, 4.4, 119, 80, 65], [[0.1, 0.2, -0.3], [0.6, 1.7, 0.1], [2.1, 0.7, 0.6]]),
}
OUTPUT = Path(__file__).parents[1] / "tests" / "fingerprints" / "dscribe_reference.json"


def make_crystals() -> dict[str, Atoms]:
    """Silicon in cells that are smaller than the cutoff, numbers rounded to be short."""
    crystals = {}
    for name, (parameters, fractions) in CELLS.items():
        cell = cellpar_to_cell(parameters).round(4)
        positions = (np.array(fractions) @ cell).round(4)
        crystals[name] = Atoms("Si" * len(positions), positions, cell=cell, pbc=True)
    return crystals


def make_descriptor() -> ACSF:
    return ACSF(
        r_cut=CUTOFF,
        g2_params=list(product(*G2.values())),
        g4_params=list(product(*G4.values())),
        g5_params=list(product(*G5.values())),
        species=["Si"],
        periodic=True,
    )


def main() -> None:
    descriptor, crystals = make_descriptor(), []
    for name, atoms in make_crystals().items():
        wrapped = atoms.copy()
        wrapped.wrap()
        g1_to_g5 = descriptor.create(wrapped)
        crystals.append(
            {
                "name": name,
                "cell": atoms.cell.array.tolist(),
                "positions": atoms.positions.tolist(),
                # Without G1, the sum of the cutoff function alone.
                "features": g1_to_g5[:, 1:].tolist(),
            }
        )
    result = {
        "made_by": f"benchmarks/dscribe_oracle.py, dscribe {version('dscribe')}",
        "cutoff": CUTOFF,
        "g2": G2,
        "g4": G4,
        "g5": G5,
        "crystals": crystals,
    }
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT
    path.write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
