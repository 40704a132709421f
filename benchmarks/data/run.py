"""Measure, print and store the rates."""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import ROOT, origin_lines, pin_to_one_core, stopwatch, where_and_when

from gnnpre.datasets import read_aselmdb, read_frames, read_parquet

from .files import DATA, frames_of_twenty_atoms, write_aselmdb, write_extxyz
from .stores import measure_apart

__all__ = ["run"]

RESULTS = ROOT / "benchmarks" / "results"
PARQUET = DATA / "structures" / "mp_155k.parquet"
ASE_FRAMES = 300  # enough to tell the rate of what is ten times slower
# In a process of its own, whose memory has not grown by anything else.
GRAPHS = """
import sys, time
from gnnpre import StructureToGraph
from gnnpre.datasets import read_parquet
start = time.process_time()
crystals, _ = read_parquet(sys.argv[1], "band_gap_eV", columns=[])
graphs = StructureToGraph(cutoff=5.0).fit_transform(crystals)
seconds = time.process_time() - start
from common import resident
print(len(crystals), seconds, resident("VmHWM"), graphs.edge_index.shape[1])
"""


def run(arguments: argparse.Namespace) -> None:
    pin_to_one_core()
    rows = []
    crystals, _ = read_parquet(PARQUET, "band_gap_eV", columns=[])
    raw = sum(
        array.nbytes
        for array in (crystals.atomic_numbers, crystals.positions, crystals.cell, crystals.pbc)
    )
    rows.append(_row("Crystals in memory, of the raw arrays", crystals.nbytes / raw, "x", "< 1.2"))
    n = len(crystals)
    del crystals
    read = lambda: read_parquet(PARQUET, "band_gap_eV", columns=[])  # noqa: E731
    rate = _rate(read, n, arguments.rounds)
    rows.append(_row("Parquet (LeMat's columns) to Crystals", rate, "rows/s", "100,000"))
    with TemporaryDirectory() as folder:
        rows += _frame_rows(Path(folder), arguments)
    if not arguments.no_graphs:
        rows += _graph_rows()
    if arguments.store_crystals:
        rows += _store_rows(arguments.store_crystals)
    result = {"rows": rows, "arguments": vars(arguments), **where_and_when()}
    lines = _lines(result)
    print("\n".join(lines))
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "data.json").write_text(json.dumps(result, indent=1, default=str) + "\n")
    (RESULTS / "data.md").write_text("\n".join(lines) + "\n")


def _rate(read: Callable[[], Any], n: int, rounds: int) -> float:
    seconds = [stopwatch(read)[0][0] for _ in range(rounds + 1)][1:]
    return n / statistics.median(seconds)


def _frame_rows(folder: Path, arguments: argparse.Namespace) -> list[dict]:
    from ase.io import iread

    crystals, labels = frames_of_twenty_atoms(arguments.frames)
    mean = f"{labels.n_atoms.mean():.0f} atoms"
    text = write_extxyz(folder / "frames.extxyz", crystals, labels)
    database = write_aselmdb(folder / "frames.aselmdb", crystals, labels)
    readers = {
        "aselmdb": (lambda: read_aselmdb(database), arguments.frames, "25,000"),
        "extended XYZ": (lambda: read_frames(text), arguments.frames, "10,000"),
        "extended XYZ with ASE": (
            lambda: list(iread(text, index=f":{ASE_FRAMES}", format="extxyz")),
            ASE_FRAMES,
            "",
        ),
    }
    return [
        _row(f"{name}, frames of {mean}", _rate(read, n, arguments.rounds), "frames/s", required)
        for name, (read, n, required) in readers.items()
    ]


def _graph_rows() -> list[dict]:
    command = [sys.executable, "-c", GRAPHS, str(PARQUET)]
    environment_path = f"{ROOT / 'benchmarks'}:{ROOT}"
    output = subprocess.run(
        ["env", f"PYTHONPATH={environment_path}", *command],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    n, seconds, peak, edges = output.split()
    name = f"{int(n):,} crystals, Parquet to graphs at 5 Å ({int(edges):,} edges)"
    return [
        _row(f"{name}, processor time", float(seconds), "s", "< 20"),
        _row(f"{name}, peak memory", float(peak), "GB", "< 2.5"),
    ]


def _store_rows(n_crystals: int) -> list[dict]:
    measured = measure_apart(n_crystals, n_epochs=4)
    return [
        _row("Crystals to a store", measured["written"], "crystals/s", ""),
        _row("a store to Crystals", measured["read"], "crystals/s", ""),
        _row("training epoch from a store, of one from memory", measured["ratio"], "x", "< 1.05"),
        _row("largest difference of the weights", measured["difference"], "", "0"),
        _row(f"training on {n_crystals:,} from a store, peak memory", measured["peak"], "GB", ""),
    ]


def _row(name: str, value: float, unit: str, required: str) -> dict:
    return {"name": name, "value": value, "unit": unit, "required": required}


def _lines(result: dict) -> list[str]:
    lines = ["# Reading data", "", "Written by `python -m benchmarks data`.", ""]
    lines += origin_lines(result)
    lines += ["", "| | measured | required |", "|---|---|---|"]
    for row in result["rows"]:
        digits = 0 if row["value"] > 100 else 2
        value = f"{row['value']:,.{digits}f} {row['unit']}"
        lines.append(f"| {row['name']} | {value} | {row['required']} |")
    return lines
