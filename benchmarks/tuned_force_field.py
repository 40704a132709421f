"""Is a force field learnt from fewer frames if it starts from gnnpre-1-forces?

    GNNPRE_DATA=... python benchmarks/tuned_force_field.py [--frames 20 100] [--epochs 50]

Frames of five systems that gnnpre-1-forces has not been trained on: MgO, SrTiO3 and Ag-Au of
polymlp (functionals and pseudopotentials that are not its own), Si and Ge of mlearn. For each
system, as many frames as asked for are drawn to learn from, and 100 others to test on. Rows are
the network from scratch, ``Pretrainer(pretrained="gnnpre-1-forces")``, and that model as it is
but for the energies of the elements, which are fitted. Writes results/tuned_force_field.md.
"""

import argparse
import os
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from common import origin_lines, where_and_when

from gnnpre import FrameLabels, Pretrainer, TorchMDNet
from gnnpre.datasets import read_frames
from gnnpre.graphs import Crystals

RESULTS = Path(__file__).parent / "results" / "tuned_force_field.md"
MODEL = "gnnpre-1-forces"
SYSTEMS = {
    "MgO": ("polymlp", {"Mg", "O"}),
    "SrTiO3": ("polymlp", {"Sr", "Ti", "O"}),
    "Ag-Au": ("polymlp", {"Ag", "Au"}),
    "Si": ("mlearn", {"Si"}),
    "Ge": ("mlearn", {"Ge"}),
}
LARGEST_FORCE, N_TEST = 20.0, 100
UNTRAINED = {"max_epochs": 1, "learning_rate": 1e-30, "weight_decay": 0.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", nargs="*", type=int, default=[20, 100])
    parser.add_argument("--epochs", type=int, default=50)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    lines = [
        "# Force fields of single systems, from scratch and from gnnpre-1-forces",
        "",
        f"Mean absolute errors on {N_TEST} frames, one draw, {arguments.epochs} epochs. The size "
        "of the forces is their mean absolute component. Seconds are of processor time.",
        "",
        "| system | frames | model | energy, eV/atom | forces, eV/Å | size of forces | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in SYSTEMS:
        frames, labels = read_system(name)
        for n in arguments.frames:
            for row in compare(frames, labels, n, arguments.epochs):
                lines.append(f"| {name} | {n} | {row} |")
                print(lines[-1], flush=True)
    lines += ["", *origin_lines(where_and_when())]
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_system(name: str) -> tuple[Crystals, FrameLabels]:
    """Return the frames of a system whose forces are not extreme."""
    file, elements = SYSTEMS[name]
    path = Path(os.environ["GNNPRE_DATA"]) / "upstream" / f"{file}.extxyz.gz"
    frames, labels = read_frames(path)
    largest = np.maximum.reduceat(
        np.abs(labels.forces).max(axis=1), np.append(0, np.cumsum(labels.n_atoms)[:-1])
    )
    rows = [
        row
        for row, frame in enumerate(frames)
        if {str(e) for e in frame.composition.elements} == elements and largest[row] < LARGEST_FORCE
    ]
    return frames[rows], labels[rows]


def compare(frames: Crystals, labels: FrameLabels, n: int, epochs: int) -> list[str]:
    """Return the cells of the models that learn from ``n`` frames."""
    order = np.random.default_rng(0).permutation(len(frames))
    train, test = order[N_TEST : N_TEST + n], order[:N_TEST]
    models = {
        "from scratch": Pretrainer(TorchMDNet(64, 2), max_epochs=epochs, random_state=0),
        "fine-tuned": Pretrainer(pretrained=MODEL, max_epochs=epochs, random_state=0),
        "as it is": Pretrainer(pretrained=MODEL, random_state=0, **UNTRAINED),
    }
    rows = []
    for name, model in models.items():
        start = time.process_time()
        model.fit(frames[train], labels[train])
        seconds = time.process_time() - start
        predicted = model.predict(frames[test])
        error = np.abs((predicted.energy - labels[test].energy) / labels[test].n_atoms).mean()
        forces = np.abs(predicted.forces - labels[test].forces).mean()
        size = np.abs(labels[test].forces).mean()
        rows.append(f"{name} | {error:.4f} | {forces:.3f} | {size:.3f} | {seconds:.0f}")
    return rows


if __name__ == "__main__":
    main()
