"""Speed of the fingerprints, symmetry functions beside dscribe's, in one run.

    GNNPRE_DATA=... python benchmarks/fingerprints_speed.py --peer-python peer/bin/python
    GNNPRE_DATA=... python benchmarks/fingerprints_speed.py --scale

The first takes the crystals of one file, every atom turned into silicon, as dscribe makes a block
of features for each pair of elements; dscribe needs an environment of its own
(benchmarks/peers/dscribe.txt). Contenders take turns on one pinned core with one thread; medians
count. Both start from positions and cells (dscribe from ASE atoms, gnnpre from pymatgen structures
that were unpickled a moment ago) and end in arrays, one for each crystal; ``from graphs`` starts
from packed graphs, as pre-training does. The second streams 37,000 crystals. Results go to
benchmarks/results/fingerprints_speed.{json,md}.
"""

import argparse
import gc
import json
import os
import pickle
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import (
    ROOT,
    Peer,
    in_words,
    origin_lines,
    pin_to_one_core,
    race,
    resident,
    serve,
    where_and_when,
)

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

RESULTS = ROOT / "benchmarks" / "results" / "fingerprints_speed.json"
FILE, N_CRYSTALS = "alexandria-random-1k", 400
SCALE_FILE = "mp_form_gap_37k.json.gz"
CUTOFF, SILICON = 5.0, 14
RS = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5)
ANGLES = {"eta": (0.03,), "zeta": (1.0, 4.0), "lambda": (-1.0, 1.0)}
NEIGHBORS = "neighbours alone"  # dscribe's least: its sum of cutoffs, one feature
WORK = {
    NEIGHBORS: (),
    "8 G2": ("g2",),
    "4 G4": ("g4",),
    "4 G5": ("g5",),
    "8 G2 + 4 G4": ("g2", "g4"),
}
GMP_SETTINGS = {"sigmas": (0.1, 0.2, 0.3), "orders": (-1, 0, 1, 2)}


def read_crystals(folder: Path) -> list[tuple]:
    from ase.io import read

    frames = read(folder / "upstream" / f"{FILE}.extxyz.gz", index=f":{N_CRYSTALS}")
    return [(a.cell.array, a.numbers, a.get_scaled_positions(wrap=False)) for a in frames]


def run_dscribe(crystals: list[tuple], work: str) -> tuple[float, int]:
    import numpy as np
    from ase import Atoms
    from dscribe.descriptors import ACSF

    atoms = [
        Atoms(np.full(len(numbers), SILICON), cell=cell, scaled_positions=places, pbc=True)
        for cell, numbers, places in crystals
    ]
    angles = [
        [eta, zeta, sign]
        for eta in ANGLES["eta"]
        for zeta in ANGLES["zeta"]
        for sign in ANGLES["lambda"]
    ]
    chosen = {
        "g2": {"g2_params": [[4.0, rs] for rs in RS]},
        "g4": {"g4_params": angles},
        "g5": {"g5_params": angles},
    }
    settings = {key: value for function in WORK[work] for key, value in chosen[function].items()}
    acsf = ACSF(species=[SILICON], r_cut=CUTOFF, periodic=True, **settings)
    start = time.process_time()
    features = [acsf.create(each) for each in atoms]
    return time.process_time() - start, sum(len(rows) for rows in features)


def serve_peer(path: str) -> None:
    crystals = pickle.loads(Path(path).read_bytes())
    serve(lambda: {"dscribe": lambda work: run_dscribe(crystals, work)})


def as_structures(crystals: list[tuple], element: int | None) -> list:
    from pymatgen.core import Lattice, Structure

    return [
        Structure(Lattice(cell), numbers if element is None else [element] * len(numbers), places)
        for cell, numbers, places in crystals
    ]


def contender(fingerprint, pickled: bytes) -> Callable:
    def run(*_) -> tuple[float, int]:
        X = pickle.loads(pickled)
        gc.collect()
        start = time.process_time()
        features = fingerprint.transform(X)
        return time.process_time() - start, sum(len(rows) for rows in features)

    return run


class SearchAlone:
    """Build graphs, as every fingerprint does first."""

    def transform(self, X) -> list:
        from gnnpre import CrystalGraphs, StructureToGraph

        graphs = X if isinstance(X, CrystalGraphs) else StructureToGraph(CUTOFF).transform(X)
        return [graphs.positions]


def symmetry_functions(work: str, dtype: str):
    from gnnpre import WACSF

    if work == NEIGHBORS:
        return SearchAlone()

    left_out = [function for function in ("g2", "g4", "g5") if function not in WORK[work]]
    angles = {
        f"{function}_{name}": values for function in ("g4", "g5") for name, values in ANGLES.items()
    }
    empty = {f"{function}_eta": () for function in left_out}
    return WACSF(CUTOFF, dtype=dtype, **{"g2_rs": RS, **angles, **empty})


def compare(folder: Path, peer_python: str | None, repeats: int) -> dict:
    crystals = read_crystals(folder)
    atoms = sum(len(numbers) for _, numbers, _ in crystals)
    structures = pickle.dumps(as_structures(crystals, SILICON))
    graphs, neighbors = packed(as_structures(crystals, SILICON), CUTOFF)
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        peer = Peer(peer_python, __file__, crystals, Path(temporary)) if peer_python else None
        for work in WORK:
            contenders = {
                f"{dtype}{source}": contender(symmetry_functions(work, dtype), X)
                for dtype in ("float64", "float32")
                for source, X in (("", structures), (", from graphs", graphs))
            }
            if peer:
                contenders["dscribe"] = peer.contender("dscribe")
            rows[work] = microseconds(race(contenders, repeats, work), atoms)
        if peer:
            peer.close()
    rows |= multipoles_and_densities(crystals, folder, repeats)
    return {
        "crystals": len(crystals),
        "atoms": atoms,
        "neighbors": neighbors,
        "repeats": repeats,
        "rows": rows,
        "peer_versions": peer.versions if peer else None,
        **where_and_when(),
    }


def packed(structures: list, cutoff: float) -> tuple[bytes, float]:
    from gnnpre import StructureToGraph

    graphs = StructureToGraph(cutoff).transform(structures)
    return pickle.dumps(graphs), len(graphs.edge_shift) / len(graphs.positions)


def microseconds(results: dict[str, dict], atoms: int) -> dict[str, float]:
    return {name: result["median"] / atoms * 1e6 for name, result in results.items()}


def multipoles_and_densities(crystals: list[tuple], folder: Path, repeats: int) -> dict:
    """EAD and GMP, on the crystals as they are."""
    import numpy as np

    from gnnpre import EAD, GMP

    file = folder / "gmp" / "NC-SR.gpsp"
    cases = {
        "EAD, L=2, 8 radial": EAD(CUTOFF, L=2, rs=RS),
        "GMP, orders -1 to 2, sigmas to 0.3 Å, NC-SR": GMP(**GMP_SETTINGS, densities=file),
        "GMP, orders -1 to 2, sigmas to 0.3 Å, built-in": GMP(**GMP_SETTINGS),
        "GMP, defaults (orders -1 to 3, sigmas to 1 Å)": GMP(),
    }
    rows = {}
    for name, fingerprint in cases.items():
        covered = set(fingerprint._tables()) if isinstance(fingerprint, GMP) else set(range(119))
        chosen = [each for each in crystals if set(each[1].tolist()) <= covered]
        numbers = np.concatenate([each[1] for each in chosen])
        structures = as_structures(chosen, None)
        graphs, neighbors = packed(structures, fingerprint.needed_cutoff(numbers))
        contenders = {}
        for dtype in ("float64", "float32"):
            single = fingerprint.__class__(**{**fingerprint.get_params(), "dtype": dtype})
            contenders[dtype] = contender(single, pickle.dumps(structures))
            contenders[f"{dtype}, from graphs"] = contender(single, graphs)
        rows[f"{name} ({neighbors:.0f} neighbours)"] = microseconds(
            race(contenders, repeats), len(numbers)
        )
    return rows


def stream_many(folder: Path) -> dict:
    """Pooled fingerprints of 37,000 structures, one after the other, and the peak of memory."""
    from gnnpre import EAD, GMP, WACSF
    from gnnpre.datasets import read_matbench

    structures, _ = read_matbench(folder / "downstream" / SCALE_FILE)
    rows = {}
    for fingerprint in (EAD(pooling="mean"), WACSF(pooling="mean"), GMP(pooling="mean")):
        fingerprint.transform(structures[:100])
        gc.collect()
        before = resident("VmRSS")
        if before is not None:
            Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        start = time.perf_counter()
        features = fingerprint.transform(structures)
        seconds = time.perf_counter() - start
        peak = resident("VmHWM")
        rows[type(fingerprint).__name__] = {
            "seconds": seconds,
            "features": features.shape[1],
            "growth_gb": None if before is None else peak - before,
            "peak_gb": peak,
        }
    return {"file": SCALE_FILE, "crystals": len(structures), "rows": rows, **where_and_when()}


def speed_lines(speed: dict) -> list[str]:
    names = list(dict.fromkeys(name for row in speed["rows"].values() for name in row))
    lines = [
        f"{speed['crystals']} crystals of `{FILE}`, {speed['atoms']} atoms, "
        f"{speed['neighbors']:.1f} neighbours an atom at {CUTOFF:g} Å; medians of "
        f"{speed['repeats']} alternating repeats, µs of processor time an atom. Unless it says "
        "otherwise a time starts from structures and holds the search for neighbours.",
        "",
        "| features | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for work, row in speed["rows"].items():
        cells = [f"{row[name]:.1f}" if name in row else "" for name in names]
        lines.append(f"| {work} | " + " | ".join(cells) + " |")
    ratios = [
        f"{work} {row['dscribe'] / row['float64']:.1f}x"
        for work, row in speed["rows"].items()
        if "dscribe" in row
    ]
    if ratios:
        lines += ["", f"dscribe's time over gnnpre's in float64: {', '.join(ratios)}."]
        lines += ["", f"dscribe: {in_words(speed['peer_versions'])}."]
    return [*lines, "", *origin_lines(speed)]


def scale_lines(scale: dict) -> list[str]:
    lines = [
        f"{scale['crystals']} structures of `{scale['file']}`, one row each (`pooling='mean'`).",
        "",
        "| fingerprint | features | s | growth of the peak (GB) | peak, structures included (GB) |",
        "|---|---|---|---|---|",
    ]
    for name, row in scale["rows"].items():
        growth, peak = (
            "?" if row[k] is None else f"{row[k]:.2f}" for k in ("growth_gb", "peak_gb")
        )
        lines.append(f"| {name} | {row['features']} | {row['seconds']:.1f} | {growth} | {peak} |")
    return [*lines, "", *origin_lines(scale)]


def write(section: str, result: dict) -> None:
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[section] = result
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    lines = ["# Fingerprints: speed", "", "Written by `benchmarks/fingerprints_speed.py`."]
    if "speed" in results:
        lines += ["", "## An atom", "", *speed_lines(results["speed"])]
    if "scale" in results:
        lines += ["", "## Many crystals", "", *scale_lines(results["scale"])]
    RESULTS.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", default=os.environ.get("GNNPRE_DSCRIBE_PYTHON"))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--scale", action="store_true", help="37,000 crystals")
    parser.add_argument("--serve-peer", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve_peer:
        return serve_peer(arguments.serve_peer)
    if "GNNPRE_DATA" not in os.environ:
        parser.error("set GNNPRE_DATA to the folder that holds upstream/ and downstream/")
    pin_to_one_core()
    import torch

    torch.set_num_threads(1)
    folder = Path(os.environ["GNNPRE_DATA"])
    if arguments.scale:
        write("scale", stream_many(folder))
    else:
        write("speed", compare(folder, arguments.peer_python, arguments.repeats))


if __name__ == "__main__":
    main()
