"""``python -m benchmarks scaling``: how time and memory grow.

One E+F+S training step of ``CGCNN(64, 3)`` (or of ``TorchMDNet(64, 3)``) at 5 Å in float32, against
crystals (steps of an epoch in batches of 32), atoms of a crystal (one supercell a step), edges (one
batch of as many crystals as it takes), batch size and threads; and the time to build the graphs.
Seconds are the best of some, of processor time (on the clock where threads are compared). Memory is
the growth of the resident memory in the step. Exponents are slopes of straight lines through the
logarithms, over all points and over the largest half of them.
"""

import argparse
import ctypes
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import ROOT, origin_lines, pin_to_one_core, resident, stopwatch, where_and_when
from speed.crystals import Crystals, plan, read_crystals, with_labels
from speed.training import Setting
from speed.works import TRAININGS

RESULTS = ROOT / "benchmarks" / "results" / "scaling.json"
BACKBONES = {"cgcnn": "cgcnn_64x3_forces_default", "torchmdnet": "et_64x3_forces_default"}
CRYSTALS = (128, 256, 512, 1024)
SUPERCELLS = (1, 2, 3, 4, 5, 6, 7, 8)  # of a cell of two atoms
EDGES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
BATCHES = (1, 4, 16, 64, 256)
THREADS = (1, 2)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backbone", choices=BACKBONES, default="cgcnn")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--most-edges", type=int, default=EDGES[-1])


def main(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    name = BACKBONES[arguments.backbone]
    # Shuffled, as crystals that follow each other in the file are alike in size.
    structures = read_crystals(max(CRYSTALS)).structures
    crystals = with_labels([structures[i] for i in plan(len(structures), len(structures))[0]])
    studies = {
        "threads": over_threads(name, crystals, arguments),  # before the others pin the process
        "crystals": over_crystals(name, crystals, arguments),
        "atoms": over_atoms(name, arguments),
        "edges": over_edges(name, crystals, arguments),
        "batch": over_batches(name, crystals, arguments),
    }
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[arguments.backbone] = {"studies": studies, **where_and_when()}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    lines = ["# Scaling", "", "Written by `python -m benchmarks scaling`."]
    for backbone, result in results.items():
        lines += ["", f"## {backbone}", "", *study_lines(result)]
    RESULTS.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def measure(trainer: Any, indices: list[int], repeats: int, clock: int = 0) -> dict[str, float]:
    """Return the best seconds of a step, and the growth of memory in MB in one of them."""
    trainer.step(indices)
    release_memory()
    before = resident("VmRSS")
    if before is not None:
        Path("/proc/self/clear_refs").write_text("5")
    seconds = [stopwatch(lambda: trainer.step(indices))[0][clock] for _ in range(repeats)]
    growth = {} if before is None else {"mb": 1e3 * (resident("VmHWM") - before)}
    return {"seconds": min(seconds), **growth}


def release_memory() -> None:
    """Make the C library return memory of earlier steps to the system."""
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def make_trainer(name: str, crystals: Crystals) -> tuple[Setting, Any]:
    setting = Setting(TRAININGS[name], crystals)
    return setting, setting.trainer(setting.our_model(), [], 1)


def over_crystals(name: str, crystals: Crystals, arguments: argparse.Namespace) -> list[dict]:
    points = []
    for count in CRYSTALS:
        subset = with_labels(crystals.structures[:count])
        built, _ = stopwatch(partial(TRAININGS[name].graphs.transform, subset.structures))
        _, trainer = make_trainer(name, subset)
        trainer.batches = [list(range(i, i + 32)) for i in range(0, count, 32)]
        trainer.steps = len(trainer.batches)
        seconds, work = trainer()
        points.append(
            {"size": count, "edges": work["edges"], "seconds": seconds[0], "graphs_s": built[0]}
        )
    return points


def over_atoms(name: str, arguments: argparse.Namespace) -> list[dict]:
    from pymatgen.core import Lattice, Structure

    cell = Structure(Lattice.cubic(3.2), ["Ni", "Al"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    points, graphs = [], TRAININGS[name].graphs
    for times in SUPERCELLS:
        structure = cell * (times, times, times)
        structure.perturb(0.02)
        fresh = [structure.copy() for _ in range(3)]
        built = min(stopwatch(partial(graphs.transform, [one]))[0][0] for one in fresh)
        setting, trainer = make_trainer(name, with_labels([structure]))
        measured = measure(trainer, [0], arguments.repeats)
        edges = len(setting.graphs.edge_shift)
        points.append({"size": len(structure), "edges": edges, **measured, "graphs_s": built})
    return points


def over_edges(name: str, crystals: Crystals, arguments: argparse.Namespace) -> list[dict]:
    setting, trainer = make_trainer(name, crystals)
    total = np.cumsum(np.tile(setting.graphs.edge_counts, 20))
    points = []
    for least in EDGES:
        if least <= min(arguments.most_edges, total[-1]):
            count = int(np.searchsorted(total, least)) + 1
            indices = [i % len(setting.graphs) for i in range(count)]
            measured = measure(trainer, indices, arguments.repeats)
            points.append(
                {"size": int(total[count - 1]), "edges": int(total[count - 1]), **measured}
            )
    return points


def over_batches(name: str, crystals: Crystals, arguments: argparse.Namespace) -> list[dict]:
    setting, trainer = make_trainer(name, crystals)
    points = []
    for size in BATCHES:
        indices = list(range(size))
        measured = measure(trainer, indices, arguments.repeats)
        edges = int(setting.graphs.edge_counts[indices].sum())
        points.append({"size": size, "edges": edges, **measured})
    return points


def over_threads(name: str, crystals: Crystals, arguments: argparse.Namespace) -> list[dict]:
    setting, trainer = make_trainer(name, crystals)
    indices = list(range(256))
    edges = int(setting.graphs.edge_counts[indices].sum())
    points = []
    for threads in THREADS:
        torch.set_num_threads(threads)
        measured = measure(trainer, indices, arguments.repeats + 1, clock=1)
        points.append({"size": threads, "edges": edges, **measured})
    torch.set_num_threads(1)
    pin_to_one_core()
    return points


def exponent(points: list[dict], key: str) -> str:
    """Slope over all points and over the largest half of them."""
    positive = [p for p in points if p.get(key, 0) > 0]
    if len(positive) < 2:
        return "unknown"
    x, y = (np.log([p[name] for p in positive]) for name in ("size", key))
    half = min(len(x) // 2, len(x) - 2)
    return f"{np.polyfit(x, y, 1)[0]:.2f} (largest half {np.polyfit(x[half:], y[half:], 1)[0]:.2f})"


def study_lines(result: dict) -> list[str]:
    titles = {
        "crystals": "Crystals (an epoch in batches of 32)",
        "atoms": "Atoms of one crystal (a step of batch 1)",
        "edges": "Edges of a batch",
        "batch": "Crystals of a batch",
        "threads": "Threads (a step of 256 crystals, on the clock)",
    }
    lines = []
    for name, title in titles.items():
        points = result["studies"][name]
        lines += [
            f"### {title}",
            "",
            "| size | edges | s | µs per edge | MB | bytes per edge | graphs, s |",
            "|---|---|---|---|---|---|---|",
            *map(point_line, points),
            "",
        ]
        keys = {"seconds": "time", "mb": "memory", "graphs_s": "graphs"}
        exponents = [
            f"{label} {exponent(points, k)}" for k, label in keys.items() if k in points[0]
        ]
        lines += [f"Exponents: {', '.join(exponents)}.", ""]
    return [*lines, *origin_lines(result)]


def point_line(point: dict) -> str:
    edges, mb, built = point["edges"], point.get("mb"), point.get("graphs_s")
    cells = [
        point["size"],
        edges,
        f"{point['seconds']:.4f}",
        f"{1e6 * point['seconds'] / edges:.2f}",
    ]
    cells += ["", ""] if mb is None else [f"{mb:.0f}", f"{1e6 * mb / edges:.0f}"]
    cells.append("" if built is None else f"{built:.4f}")
    return "| " + " | ".join(map(str, cells)) + " |"
