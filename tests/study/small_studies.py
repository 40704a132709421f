"""Studies that take a second: crystals of two atoms, networks of eight channels."""

import json
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write as write_atoms
from pymatgen.core import Lattice, Structure

from gnnpre import CGCNN, Denoising, StructureToGraph
from gnnpre.study import DataSet, Network, Pretraining, Strategy, Study

ELEMENTS = ("Al", "Cu", "Ag", "Au", "Ni", "Pd")
#: What a record has that differs from run to run.
TIMES = ("seconds", "core_seconds", "finished", "history", "machine", "commit")


def crystals(n: int, seed: int = 0) -> tuple[list[Structure], np.ndarray]:
    """Make crystals, and a property that they decide."""
    rng = np.random.default_rng(seed)
    structures, y = [], []
    for _ in range(n):
        a, pair = rng.uniform(2.8, 3.4), rng.choice(ELEMENTS, 2)
        sites = [[0, 0, 0], [0.5, 0.5, rng.uniform(0.45, 0.55)]]
        structures.append(Structure(Lattice.cubic(a), list(pair), sites))
        y.append(10 * a + structures[-1].composition.weight / 100)
    return structures, np.array(y)


def write_table(path: Path, n: int = 30, seed: int = 0, **columns) -> Path:
    """Write crystals in MatBench's format; the target is ``K`` unless columns are given."""
    structures, y = crystals(n, seed)
    columns = columns or {"K": y}
    rows = [
        [structure.as_dict(), *(None if np.isnan(v[i]) else float(v[i]) for v in columns.values())]
        for i, structure in enumerate(structures)
    ]
    table = {"index": list(range(n)), "columns": ["structure", *columns], "data": rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(table))
    return path


def write_frames(path: Path, n: int = 12, seed: int = 1) -> Path:
    """Write frames with energies, forces and stresses; the last has a huge force."""
    rng = np.random.default_rng(seed)
    frames = []
    for number, structure in enumerate(crystals(n, seed)[0]):
        atoms = Atoms(
            [str(site.specie) for site in structure],
            positions=structure.cart_coords,
            cell=structure.lattice.matrix,
            pbc=True,
        )
        force = rng.normal(0, 0.1, 3) if number < n - 1 else np.array([100.0, 0.0, 0.0])
        atoms.calc = SinglePointCalculator(
            atoms, energy=-3.0 + rng.normal(), forces=[force, -force], stress=0.01 * np.ones(6)
        )
        frames.append(atoms)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atoms(path, frames, format="extxyz")
    return path


def small_study(path: Path, **changes) -> Study:
    """Declare a study with a row of each kind, on a file that :func:`write_table` wrote."""
    declared = {
        "name": "small",
        "data": [DataSet(name="alloys", path=path, unit="GPa")],
        "backbones": [Network(name="tiny", backbone=CGCNN(8, 1, n_radial=8))],
        "pretrainings": [Pretraining(name="noise", objective=Denoising(), sources=[str(path)])],
        "strategies": [
            Strategy(name="scratch"),
            Strategy(name="noise", pretraining="noise"),
            Strategy(name="kernel_head", pretraining="noise", kind="kernel"),
            Strategy(name="three", pretraining="noise", members=3),
        ],
        "graphs": StructureToGraph(cutoff=3.5),
        "seeds": [1],
        "baselines": ["mean", "ridge_composition"],
        "pretraining": {"max_epochs": 2, "batch_size": 8},
        "finetuning": {"max_epochs": 3, "batch_size": 8},
    }
    return Study(**{**declared, **changes})


def records_of(folder: Path) -> dict[str, dict]:
    """Read all records, without what differs from run to run."""
    records = {}
    for path in sorted((folder / "records").iterdir()):
        record = json.loads(path.read_text())
        records[path.name] = {k: v for k, v in record.items() if k not in TIMES} | {
            "losses": [{k: v for k, v in row.items() if k != "dur"} for row in record["history"]]
        }
    return records
