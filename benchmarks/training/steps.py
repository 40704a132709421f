"""Seconds per step of whole trainings, in a process that runs one revision of gnnpre.

A step is the difference of two fits of different length: what a fit takes to start cancels. The
script runs under revisions of any age, so it uses nothing but the estimators.
"""

import gzip
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import serve

from gnnpre import (
    CGCNN,
    CrystalGraphs,
    ForceField,
    FrameLabels,
    Pretrainer,
    PropertyRegressor,
    StructureToGraph,
    TorchMDNet,
)

N_CRYSTALS, SHORT, LONG = 1024, 1, 3
BATCHES = (16, 64)
BACKBONES = {"TorchMDNet(64, 2)": TorchMDNet(64, 2), "CGCNN(64, 3)": CGCNN(64, 3)}


def read_phonons() -> tuple[CrystalGraphs, np.ndarray]:
    """Return graphs of the first crystals of the phonon set, and their frequencies."""
    from pymatgen.core import Structure

    path = Path(os.environ["GNNPRE_DATA"]) / "downstream" / "phonons.json.gz"
    rows = json.loads(gzip.decompress(path.read_bytes()))["data"][:N_CRYSTALS]
    graphs = StructureToGraph(5.0).transform([Structure.from_dict(row[0]) for row in rows])
    return graphs, np.array([float(row[1]) for row in rows])


def random_frames(graphs: CrystalGraphs) -> FrameLabels:
    """Return random labels: what a step costs does not depend on them."""
    rng = np.random.default_rng(0)
    n, n_atoms = len(graphs), graphs.atom_counts
    stress = rng.normal(scale=0.02, size=(n, 3, 3))
    return FrameLabels(
        n_atoms,
        energy=rng.normal(size=n) * n_atoms,
        forces=rng.normal(size=(int(n_atoms.sum()), 3)),
        stress=stress + stress.transpose(0, 2, 1),
    )


def make_fits() -> dict[str, Callable]:
    """Return each training as a function of batch size and epochs."""
    graphs, y = read_phonons()
    frames = random_frames(graphs)

    def fit_property(backbone, batch_size, epochs, **more):
        settings = {"max_epochs": epochs, "batch_size": batch_size, "random_state": 0}
        PropertyRegressor(
            backbone, validation_fraction=0.0, ema_decay=0.99, **settings, **more
        ).fit(graphs, y)

    def fit_frames(backbone, batch_size, epochs, **more):
        settings = {"max_epochs": epochs, "batch_size": batch_size, "random_state": 0}
        Pretrainer(
            backbone, ForceField(), validation_fraction=0.0, ema_decay=0.99, **settings, **more
        ).fit(graphs, frames)

    fits = {}
    for name, backbone in BACKBONES.items():
        for task, fit in (("property", fit_property), ("E+F+S", fit_frames)):
            fits[f"{name}, {task}"] = lambda *a, b=backbone, f=fit, **k: f(b, *a, **k)
    return fits


def seconds_per_step(fit: Callable, batch_size: int, clock: Callable[[], float]) -> float:
    """Return the seconds of a step on a clock."""
    times = []
    for epochs in (SHORT, LONG):
        start = clock()
        fit(batch_size, epochs)
        times.append(clock() - start)
    steps = (LONG - SHORT) * -(-N_CRYSTALS // batch_size)
    return (times[1] - times[0]) / steps


def make_contenders() -> dict[str, Callable]:
    """Return the contenders by name; each answers with seconds of the processor."""
    torch.set_num_threads(1)
    contenders = {
        f"{name}, batch {size}": lambda f=fit, s=size: [seconds_per_step(f, s, time.process_time)]
        for name, fit in make_fits().items()
        for size in BATCHES
    }
    return {"names": lambda: [list(contenders)], **contenders}


if __name__ == "__main__":
    if "--serve-peer" not in sys.argv:
        raise SystemExit("`python -m benchmarks training` starts this script.")
    serve(make_contenders)
