"""Measure, print and store the ratios."""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import NOW, ROOT, Peer, origin_lines, revision, where_and_when

from .cores import table_of_cores
from .steps import LONG, N_CRYSTALS, make_fits, read_phonons
from .threads import table_of_threads, two_threads

RESULTS = ROOT / "benchmarks" / "results"
SCRIPT = Path(__file__).with_name("steps.py")
#: Largest share of the earlier time that a step of this batch size may take.
REQUIRED = {16: 0.6}
PROCESSES_REQUIRED = 1.8


def run(arguments: argparse.Namespace) -> None:
    """Run the parts; the page keeps the results of those that are left out."""
    file = RESULTS / "training.json"
    result: dict = json.loads(file.read_text()) if file.exists() else {}
    if not arguments.no_small:
        before = [name for name in arguments.before.split(",") if name]
        add(result, "small", small_batches(before, arguments.rounds, arguments.only))
    if not arguments.no_processes:
        add(result, "processes", two_processes(arguments.rounds, arguments.only))
        graphs, _ = read_phonons()
        result["costs"] = (graphs.edge_counts + graphs.atom_counts).tolist()
    if not arguments.no_threads:
        add(result, "threads", two_threads(make_fits(), arguments.rounds, arguments.only))
    lines = report(result)
    print("\n".join(lines))
    RESULTS.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / "training.md").write_text("\n".join([*lines, ""]))


def add(result: dict, name: str, seconds: dict) -> None:
    """Add the seconds of a part to those of other trainings that are there already."""
    earlier = result.get(name, {}).get("seconds", {})
    result[name] = {**where_and_when(), "seconds": {**earlier, **seconds}}


def small_batches(before: list[str], rounds: int, only: str) -> dict[str, dict[str, list[float]]]:
    """Return the seconds per step of each revision, taking turns."""
    with ExitStack() as stack:
        peers = {name: stack.enter_context(revision(name, SCRIPT)) for name in (*before, NOW)}
        names = [name for name in ask(peers[NOW], "names") if only in name]
        seconds = {name: {peer: [] for peer in peers} for name in names}
        for number in range(rounds + 1):
            for name in names:
                for label, peer in peers.items():
                    value = ask(peer, name)
                    if number:  # the first round warms up
                        seconds[name][label].append(value)
    return seconds


def ask(peer: Peer, question: str):
    """Return the answer of a process."""
    return peer.ask(question)[0]


def both_clocks() -> np.ndarray:
    """Return the seconds on the clock, and of this process's processor time."""
    return np.array([time.perf_counter(), time.process_time()])


def seconds_of_epochs(fit: Callable, batch_size: int, n_processes: int) -> list[float]:
    """Return the seconds of a step within epochs: processes take a while to start."""
    from gnnpre.training import _loop

    seconds, run_epoch = [], _loop.TrainingLoop._run_epoch

    def timed(*arguments: Any) -> None:
        start = both_clocks()
        run_epoch(*arguments)
        seconds.append(both_clocks() - start)

    _loop.TrainingLoop._run_epoch = timed
    try:
        fit(batch_size, LONG, n_processes=n_processes)
    finally:
        _loop.TrainingLoop._run_epoch = run_epoch
    # The first epoch warms up.
    return (np.median(seconds[1:], axis=0) / -(-N_CRYSTALS // batch_size)).tolist()


def two_processes(rounds: int, only: str) -> dict[str, dict[str, list[list[float]]]]:
    """Return the seconds per step of one process and of two, taking turns.

    Each on the clock, and of the processor for the process that leads: without a quiet machine, the
    ratio of the latter is what two free cores would come to if neither process had to wait.
    """
    torch.set_num_threads(1)
    fits = make_fits()
    seconds: dict[str, dict[str, list[list[float]]]] = {}
    for name, fit in fits.items():
        for size in (8, 16, 32, 128):
            label = f"{name}, batch {size}"
            if only not in label:
                continue
            row = seconds.setdefault(label, {"1": [], "2": []})
            for _ in range(rounds):
                for n in (1, 2):
                    row[str(n)].append(seconds_of_epochs(fit, size, n))
    return seconds


def report(result: dict) -> list[str]:
    """Return the page."""
    lines = ["# Trainings", "", "Written by `python -m benchmarks training`."]
    if "small" in result:
        lines += ["", "## Small batches", "", "Phonons at 5 Å. Milliseconds of processor time of"]
        lines += ["a step of `fit` (batch assembly, averages and clipping included), medians.", ""]
        lines += table_of_revisions(result["small"]["seconds"])
        lines += ["", *origin_lines(result["small"])]
    if "processes" in result:
        lines += ["", "## Two processes of one thread", ""]
        lines += ["Milliseconds of a step, medians: on the clock, and of the processor for the"]
        lines += ["process that leads, whose ratio leaves out the time that processes wait.", ""]
        lines += table_of_processes(result["processes"]["seconds"])
        lines += ["", "### More cores: computed, not measured", ""]
        lines += ["Times faster than one process, by a step of `c t s(p) + a log2(p)`: t of one"]
        lines += [
            "process, s the largest share of a batch of phonon crystals in a process, a what two"
        ]
        lines += [
            "processes exchange (weights and gradients) at each level of a tree, the least over"
        ]
        lines += ["the sizes of batches, and c by which two processes slow each other down.", ""]
        lines += table_of_cores(result["processes"]["seconds"], np.array(result["costs"]))
        lines += ["", *origin_lines(result["processes"])]
    if "threads" in result:
        lines += ["", "## Two threads", ""]
        lines += ["Milliseconds of a step on the clock, the fastest epoch; the work of a step that"]
        lines += ["gnnpre counts, and the number of threads that it chooses by that.", ""]
        lines += table_of_threads(result["threads"]["seconds"])
        lines += ["", *origin_lines(result["threads"])]
    return lines


def table_of_processes(seconds: dict[str, dict[str, list[list[float]]]]) -> list[str]:
    """Return the times of one process and of two, and their ratios."""
    header = ["training", "one", "two", "faster", "one, processor", "two, processor", "faster"]
    header += ["required"]
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for name, row in seconds.items():
        cells = [name]
        for column in (0, 1):
            one, two = (1e3 * statistics.median(v[column] for v in row[n]) for n in ("1", "2"))
            cells += [f"{one:.1f}", f"{two:.1f}", f"{one / two:.2f}"]
        lines.append(f"| {' | '.join([*cells, str(PROCESSES_REQUIRED)])} |")
    return lines


def table_of_revisions(seconds: dict[str, dict[str, list[float]]]) -> list[str]:
    """Return the times of the revisions, and the ratios of now to each of them."""
    labels = list(next(iter(seconds.values())))
    before = [label for label in labels if label != NOW]
    header = ["training", *labels, *(f"now / {label}" for label in before), "required"]
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for name, row in seconds.items():
        medians = {label: 1e3 * statistics.median(values) for label, values in row.items()}
        ratios = [f"{medians[NOW] / medians[label]:.2f}" for label in before]
        required = REQUIRED.get(int(name.rpartition(" ")[2]), "")
        cells = [name, *(f"{medians[label]:.2f}" for label in labels), *ratios, str(required)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines
