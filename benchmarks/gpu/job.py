"""What all parts share: device, sizes, data, time left, and a file of results."""

import gzip
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnnpre import FrameLabels
from gnnpre.datasets import make_emt_frames


class Job:
    """One part of a run.

    Parameters
    ----------
    name : str
        Name of the part.
    out : Path
        Folder of the results.
    rehearse : bool
        Whether it runs on the CPU at tiny sizes.
    limit : float
        Seconds after which the part is killed.
    """

    def __init__(self, name: str, out: Path, rehearse: bool, limit: float) -> None:
        self.file = out / f"{name}.json"
        self.out = out
        self.rehearse = rehearse
        self.device = "cpu" if rehearse else "cuda"
        self.deadline = time.monotonic() + 0.9 * limit * (4 if rehearse else 1)
        self.results: dict[str, Any] = {}

    def size(self, full: int, tiny: int) -> int:
        """Return a size for the GPU, or one for a rehearsal."""
        return tiny if self.rehearse else full

    @property
    def has_time(self) -> bool:
        """Whether there is time for another measurement."""
        return time.monotonic() < self.deadline

    def record(self, key: str, value: Any) -> None:
        """Keep a result, on disk at once: the part may be killed any time."""
        self.results[key] = value
        self.file.write_text(json.dumps(self.results, indent=1))
        print(key, value, flush=True)

    def seconds(self, run: Callable[[], Any], repeats: int = 10, warm_up: int = 3) -> float:
        """Return the seconds of a call, between two synchronisations around some."""
        repeats, warm_up = (2, 1) if self.rehearse else (repeats, warm_up)
        for _ in range(warm_up):
            run()
        self.synchronize()
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        self.synchronize()
        return (time.perf_counter() - start) / repeats

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device == "cuda":
            torch.cuda.synchronize()


def read_table(
    name: str, count: int, n_atoms: tuple[int, float] = (1, np.inf)
) -> tuple[list, np.ndarray] | None:
    """Return structures and the values of a file in ``GNNPRE_DATA``; None without it.

    Structures have so many atoms: to build others takes seconds.
    """
    from pymatgen.core import Structure

    path = Path(os.environ.get("GNNPRE_DATA", "")) / "downstream" / name
    if not path.is_file():
        return None
    rows = json.loads(gzip.decompress(path.read_bytes()))["data"]
    rows = [row for row in rows if n_atoms[0] <= len(row[0]["sites"]) <= n_atoms[1]][:count]
    structures = [Structure.from_dict(row[0]) for row in rows]
    return structures, np.array([[float(value) for value in row[1:]] for row in rows])


def property_data(count: int) -> tuple[list, np.ndarray, str]:
    """Return structures and a property: phonons, or energies of alloys computed on the spot."""
    if (table := read_table("phonons.json.gz", count)) is not None:
        return table[0], table[1][:, 0], "phonons"
    structures, labels = make_emt_frames(count, random_state=0)
    return structures, labels.energy / labels.n_atoms, "alloys by EMT"


def frame_data(count: int) -> tuple[list, FrameLabels, str]:
    """Return structures with random labels, real crystals where they are at hand."""
    table = read_table("mp_form_gap_37k.json.gz", count, (2, 20))
    if table is None:
        return *make_emt_frames(count, random_state=0), "alloys by EMT"
    structures = table[0]
    rng = np.random.default_rng(0)
    n_atoms = [len(structure) for structure in structures]
    stress = rng.normal(scale=0.05, size=(len(structures), 3, 3))
    labels = FrameLabels(
        n_atoms,
        energy=rng.normal(-4.0, 1.0, size=len(structures)) * np.array(n_atoms),
        forces=rng.normal(size=(sum(n_atoms), 3)),
        stress=stress + stress.transpose(0, 2, 1),
    )
    return structures, labels, "Materials Project, random labels"
