"""The crystals that everyone gets: a fixed selection of real ones, and labels of no meaning."""

import gzip
import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

FILE = "mp_form_gap_37k.json.gz"
FEWEST_ATOMS, MOST_ATOMS = 2, 20


class Crystals(NamedTuple):
    """Structures, and random but fixed labels of frames and of one property."""

    structures: list
    energy: np.ndarray  # (n,)
    forces: list[np.ndarray]  # (n_atoms, 3) each
    stress: np.ndarray  # (n, 3, 3)
    values: np.ndarray  # (n,)


def read_crystals(count: int) -> Crystals:
    """Take crystals of 2 to 20 atoms evenly from the file."""
    from pymatgen.core import Structure

    path = Path(os.environ["GNNPRE_DATA"]) / "downstream" / FILE
    table = json.loads(gzip.decompress(path.read_bytes()))
    rows = [row[0] for row in table["data"] if is_of_size(row[0])]
    if not 0 < count <= len(rows):
        raise ValueError(f"--crystals is {count}; {FILE} has {len(rows)} of 2 to 20 atoms.")
    chosen = [rows[i * len(rows) // count] for i in range(count)]
    return with_labels([Structure.from_dict(row) for row in chosen])


def is_of_size(row: dict) -> bool:
    return FEWEST_ATOMS <= len(row["sites"]) <= MOST_ATOMS


def with_labels(structures: list) -> Crystals:
    """Return random labels: the cost of a step does not depend on them."""
    rng = np.random.default_rng(0)
    n_atoms = [len(structure) for structure in structures]
    stress = rng.normal(scale=0.05, size=(len(structures), 3, 3))
    return Crystals(
        structures,
        energy=rng.normal(-4.0, 1.0, size=len(structures)) * np.array(n_atoms),
        forces=[rng.normal(size=(n, 3)) for n in n_atoms],
        stress=stress + stress.transpose(0, 2, 1),
        values=rng.normal(size=len(structures)),
    )


def plan(n_crystals: int, batch_size: int) -> list[list[int]]:
    """Cut a fixed shuffle of the crystals into whole batches."""
    order = np.random.default_rng(1).permutation(n_crystals)
    size = min(batch_size, n_crystals)
    return [order[i : i + size].tolist() for i in range(0, n_crystals - size + 1, size)]
