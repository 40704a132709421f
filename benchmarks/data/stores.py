"""A store on disk beside crystals in memory: writing, reading, and training epochs."""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from common import ROOT, resident

from gnnpre import TorchMDNet
from gnnpre.datasets import open_crystals, read_parquet, write_crystals
from gnnpre.estimators import Pretrainer
from gnnpre.graphs import StructureToGraph
from gnnpre.objectives import PropertyTargets

from .files import DATA

__all__ = ["measure", "measure_apart"]

TARGET = "formation_energy_eV_per_atom"
CUTOFF = 5.0
# The process may use a second core, where there is one: graphs are built beside the steps.
CODE = "import json, sys; from data.stores import measure; print(json.dumps(measure(*{args})))"


def measure_apart(n_crystals: int, n_epochs: int) -> dict[str, float]:
    """Run :func:`measure` in a process of its own, which is not pinned to one core."""
    code = CODE.format(args=(n_crystals, n_epochs))
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'benchmarks'}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(n_crystals: int, n_epochs: int) -> dict[str, float]:
    """Write a store, read it, and train on it and on the same crystals in memory.

    Parameters
    ----------
    n_crystals : int
        Number of crystals.
    n_epochs : int
        Epochs of both trainings; the first one is not counted.

    Returns
    -------
    dict
        Rates (crystals/s), the ratio of the times of an epoch, the largest difference of weights,
        and the peak memory (GB) before anything is held in memory but the store's batches.
    """
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    path = DATA / "structures" / "mp_155k.parquet"
    with TemporaryDirectory() as folder:
        # 1. write and read
        crystals, y = read_parquet(path, TARGET, columns=[])
        is_labelled = y.notna().to_numpy()
        crystals, y = crystals[is_labelled][:n_crystals], y[is_labelled][:n_crystals]
        start = time.process_time()
        write_crystals(Path(folder), [(crystals, y)])
        written = time.process_time() - start
        del crystals
        start = time.process_time()
        crystals = open_crystals(folder).load(info=False)
        read = time.process_time() - start
        # 2. train on both by turns, in the same order
        store = open_crystals(folder, shuffle_rows=n_crystals)
        graphs = StructureToGraph(cutoff=CUTOFF)
        from_disk = _train(graphs.transform(store), y.to_numpy(), n_epochs)
        peak = resident("VmHWM")
        from_memory = _train(graphs.transform(crystals), y.to_numpy(), n_epochs)
    return {
        "written": n_crystals / written,
        "read": n_crystals / read,
        "ratio": _epoch_seconds(from_disk) / _epoch_seconds(from_memory),
        "difference": _difference(from_disk, from_memory),
        "peak": peak,
    }


def _train(graphs, y, n_epochs: int) -> Pretrainer:
    trainer = Pretrainer(
        TorchMDNet(64, 2),
        PropertyTargets(),
        max_epochs=n_epochs,
        validation_fraction=0,
        random_state=0,
        device="cpu",
    )
    return trainer.fit(graphs, y)


def _epoch_seconds(trainer: Pretrainer) -> float:
    return statistics.median(row["dur"] for row in trainer.history_[1:])


def _difference(first: Pretrainer, second: Pretrainer) -> float:
    states = [trainer.net_.module_.state_dict() for trainer in (first, second)]
    return max(float((states[0][name] - states[1][name]).abs().max()) for name in states[0])
