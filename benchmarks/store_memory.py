"""Memory of training and prediction on a store, for several numbers of crystals.

    python benchmarks/store_memory.py --crystals 250000 500000 1000000

The crystals are those of structures/mp_155k.parquet in the folder that GNNPRE_DATA names, strained
and rattled anew for each repetition, with energies, forces and stresses of a simple model. Each
number of crystals has a store of its own, which is written unless it is in ``--folder`` already,
and each work runs in a process of its own. Results go to benchmarks/results/store_memory.{json,md},
beside those of earlier calls for other works and numbers.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from common import ROOT, origin_lines, resident, where_and_when

from gnnpre import CGCNN, EAD, ForceField, Pretrainer, PropertyRegressor, StructureToGraph
from gnnpre.datasets import open_crystals, read_parquet, write_crystals
from gnnpre.graphs import Crystals, FrameLabels
from gnnpre.objectives import FingerprintTargets

RESULTS = ROOT / "benchmarks" / "results"
PARQUET = Path(os.environ.get("GNNPRE_DATA", "")) / "structures" / "mp_155k.parquet"
STRAIN, RATTLE = 0.02, 0.03  # of the cell; Å
STIFFNESS, MODULUS = 2.0, 0.6  # eV/Å^2; eV/Å^3
BATCH_ROWS = 16_384


def main() -> None:
    """Write the stores, measure, and store the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crystals", type=int, nargs="+", default=[250_000, 500_000, 1_000_000])
    parser.add_argument("--seconds", type=float, default=20.0, help="of training, at most")
    parser.add_argument("--works", nargs="+", default=list(WORKS), choices=list(WORKS))
    parser.add_argument("--folder", type=Path, help="keep the stores in this folder")
    parser.add_argument("--work", nargs=3, metavar=("WORK", "STORE", "OUTPUT"), help="run one work")
    arguments = parser.parse_args()
    if arguments.work:
        return run_work(*arguments.work, arguments.seconds)
    path = RESULTS / "store_memory.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    with TemporaryDirectory() as folder:
        for n in arguments.crystals:
            store = (arguments.folder or Path(folder)) / f"crystals_{n}"
            if not (store / "manifest.json").exists():
                write_crystals(store, batches_of(n))
            for work in arguments.works:
                rows = [row for row in rows if (row["work"], row["crystals"]) != (work, n)]
                rows.append(measure(work, store, n, arguments.seconds))
    rows.sort(key=lambda row: (row["work"], row["crystals"]))
    result = {"rows": rows, **where_and_when()}
    lines = report(result)
    print("\n".join(lines))
    path.write_text(json.dumps(result, indent=1, default=str) + "\n")
    (RESULTS / "store_memory.md").write_text("\n".join(lines) + "\n")


def batches_of(n_crystals: int) -> Iterator[functools.partial]:
    """Yield functions that return batches: the source again and again, distorted by other seeds."""
    source, _ = read_parquet(PARQUET, "band_gap_eV", columns=[])
    order = np.random.default_rng(0).permutation(len(source))
    for start in range(0, n_crystals, BATCH_ROWS):
        rows = order[np.arange(start, min(start + BATCH_ROWS, n_crystals)) % len(source)]
        yield distorted(source[rows], start)


def distorted(crystals: Crystals, seed: int) -> tuple[Crystals, FrameLabels]:
    """Return crystals strained and rattled, with labels of a simple model."""
    rng = np.random.default_rng(seed)
    n, n_atoms = len(crystals), crystals.n_atoms
    strain = rng.normal(scale=STRAIN, size=(n, 3, 3))
    strain = (strain + strain.transpose(0, 2, 1)) / 2
    deformation = np.eye(3) + strain
    moves = rng.normal(scale=RATTLE, size=crystals.positions.shape)
    positions = np.einsum("ni,nij->nj", crystals.positions, np.repeat(deformation, n_atoms, axis=0))
    new = Crystals(
        atomic_numbers=crystals.atomic_numbers,
        positions=positions + moves,
        cell=crystals.cell @ deformation,
        pbc=crystals.pbc,
        n_atoms=n_atoms,
    )
    volume = np.abs(np.linalg.det(new.cell))
    springs = np.add.reduceat((moves**2).sum(axis=1), crystals.offsets[:-1])
    elements = np.add.reduceat(-0.1 * crystals.atomic_numbers, crystals.offsets[:-1])
    elastic = 0.5 * MODULUS * volume * (strain**2).sum(axis=(1, 2))
    labels = FrameLabels(
        n_atoms,
        energy=elements + 0.5 * STIFFNESS * springs + elastic,
        forces=-STIFFNESS * moves,
        stress=MODULUS * strain,
        info={"gap": rng.normal(size=n)},
    )
    return new, labels


def train_forces(store, graphs, output: Path, settings: dict) -> None:
    """Train on energies, forces and stresses: reference energies take a pass of their own."""
    Pretrainer(CGCNN(16, 1), ForceField(forces=10.0, stress=10.0), **settings).fit(graphs)


def train_fingerprints(store, graphs, output: Path, settings: dict) -> None:
    """Train on fingerprints, which a pass computes."""
    fingerprint = EAD(graphs.cutoff, rs=(1.0, 2.0, 3.0, 4.0))
    Pretrainer(CGCNN(16, 1), FingerprintTargets(fingerprint), **settings).fit(graphs)


def train_property(store, graphs, output: Path, settings: dict) -> None:
    """Train on a property, whose scaler is fitted before."""
    PropertyRegressor(CGCNN(16, 1), **settings).fit(graphs, store.info["gap"])


def predict(store, graphs, output: Path, settings: dict) -> None:
    """Train on some of the crystals, then predict energies and forces of all to Parquet."""
    few = StructureToGraph(cutoff=graphs.cutoff).transform(store[:2000])
    objective = ForceField(forces=10.0, stress=10.0)
    Pretrainer(CGCNN(16, 1), objective, **settings).fit(few).predict_to_parquet(store, output)


WORKS = {
    "forces": train_forces,
    "fingerprints": train_fingerprints,
    "property": train_property,
    "predict": predict,
}
#: Å; a shorter one saves time, and the memory that grows with the crystals is the same.
CUTOFFS = {"forces": 5.0, "fingerprints": 3.0, "property": 3.0, "predict": 3.0}


def run_work(name: str, folder: str, output: str, seconds: float) -> None:
    """Run one work and print its times and peak memory."""
    store = open_crystals(folder)
    settings = {
        **{"max_epochs": 1, "batch_size": 64, "random_state": 0, "max_time": seconds},
        "validation_fraction": 0.01,  # a pass of its own, which max_time does not cut short
    }
    start, clock = time.process_time(), time.perf_counter()
    before = resident("VmHWM")
    graphs = StructureToGraph(cutoff=CUTOFFS[name]).transform(store)
    graphs.edge_counts  # noqa: B018, the pass that counts them
    counted, pass_seconds = resident("VmHWM"), time.process_time() - start
    WORKS[name](store, graphs, Path(output), settings)
    measured = {
        "libraries": before,
        "pass": counted,
        "pass_seconds": pass_seconds,
        "peak": resident("VmHWM"),
        "end": resident("VmRSS"),
        "seconds": time.process_time() - start,
        "clock": time.perf_counter() - clock,
    }
    print(json.dumps(measured))


def measure(work: str, store: Path, n: int, seconds: float) -> dict:
    """Return the measurements of one work, in a process of its own."""
    with TemporaryDirectory() as folder:
        arguments = ["--seconds", str(seconds), "--work", work, str(store), f"{folder}/out.parquet"]
        command = [sys.executable, __file__, *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{work} failed on {n} crystals")
    measured = json.loads(done.stdout.splitlines()[-1])
    row = {"work": work, "crystals": n, "limit": seconds, **measured}
    print(row, flush=True)
    return row


def report(result: dict) -> list[str]:
    """Return the page."""
    lines = ["# Memory of stores", "", "Written by `python benchmarks/store_memory.py`.", ""]
    lines += origin_lines(result)
    lines += [
        "",
        "Crystals of the Materials Project, strained and rattled; CGCNN(16, 1), batches of 64, for",
        "a limited time of training. Peak memory of the process in GB: after its imports, after",
        "the pass that counts edges, and at the end. At most 1.5 is required.",
        "",
        "| work | cutoff, Å | crystals | imports | pass | peak | seconds (pass, training, all) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        numbers = [f"{row[key]:.2f}" for key in ("libraries", "pass", "peak")]
        times = f"{row['pass_seconds']:.0f}, at most {row['limit']:g}, {row['seconds']:.0f}"
        cutoff = f"{CUTOFFS[row['work']]:g}"
        cells = [row["work"], cutoff, f"{row['crystals']:,}", *numbers, times]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
