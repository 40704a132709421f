"""Does every objective learn on every backbone, from real crystals?

    GNNPRE_DATA=... python benchmarks/objectives_learn.py [--epochs 20] [--only cgcnn ead ...]

Trains each objective on each backbone and prints the validation loss beside that of the trivial
prediction: zero for forces, stress and displacements, the elements' reference energies, the
training mean of fingerprints and properties. Force fields learn from frames that are far from
equilibrium, all others from the structures of near-equilibrium frames, at most 20 atoms each; a
tenth of the materials is held out. Each finished pair is an entry of
``results/objectives_learn.json``, and is not trained again; the table is written to
``results/objectives_learn.md``.
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.base import clone
from sklearn.model_selection import GroupShuffleSplit

from gnnpre import (
    CGCNN,
    EAD,
    GMP,
    WACSF,
    Denoising,
    FingerprintTargets,
    ForceField,
    Mixture,
    Pretrainer,
    PropertyTargets,
    StructureToGraph,
    TorchMDNet,
)
from gnnpre.datasets import filter_frames, read_frames

RESULTS = Path(__file__).parent / "results"
FORCES = {"mptrj-highest-stress-1k": "mptrj_traj_id", "mpf-TP": None}
STRUCTURES = {"mptrj-random-1k": "mptrj_traj_id", "alexandria-random-1k": "alexandria_id"}
LARGEST = 20
BACKBONES = {
    "cgcnn": CGCNN(hidden_channels=64, n_layers=3),
    "torchmdnet": TorchMDNet(hidden_channels=64, n_layers=2),
}
OBJECTIVES = {
    "force_field": ForceField(energy=5, forces=10, stress=20),
    "denoising": Denoising(0.1),
    "denoising_head": Denoising(0.1, through="head"),
    "ead": FingerprintTargets(EAD()),
    "wacsf": FingerprintTargets(WACSF()),
    "gmp": FingerprintTargets(GMP()),
    "properties": PropertyTargets(),
    "mixture": Mixture(
        [
            ("forces", ForceField(energy=5, forces=10, stress=20), 1.0),
            ("noise", Denoising(0.1), 1.0),
            ("ead", FingerprintTargets(EAD()), 1.0),
        ]
    ),
}


def load(files: dict[str, str | None]) -> tuple:
    """Graphs and labels of some files, and rows to train on and to hold out."""
    folder = Path(os.environ["GNNPRE_DATA"]) / "upstream"
    graphs, labels, groups = [], [], []
    for name, key in files.items():
        structures, frames = filter_frames(*read_frames(folder / f"{name}.extxyz.gz"))
        chosen = np.flatnonzero(frames.n_atoms <= LARGEST)
        graphs.append(StructureToGraph(5.0).transform([structures[i] for i in chosen]))
        labels.append(frames[chosen])
        formulas = [structures[i].composition.reduced_formula for i in chosen]
        groups += formulas if key is None else frames[chosen].groups(key).tolist()
    graphs = type(graphs[0]).concatenate(graphs)
    labels = type(labels[0]).concatenate(labels)
    groups = np.array(groups, dtype=str)
    split = GroupShuffleSplit(1, test_size=0.1, random_state=0).split(groups, groups=groups)
    return graphs, labels, *next(split)


def volume_per_atom(graphs) -> np.ndarray:
    """A property that every crystal has: the volume of an atom in Å^3, on a log scale."""
    return np.log(np.abs(np.linalg.det(graphs.cell.numpy())) / graphs.atom_counts)


def labels_of(objective, graphs, labels):
    if isinstance(objective, PropertyTargets):
        return volume_per_atom(graphs)
    return labels if objective.needs_labels else None


def trivial_losses(pretrainer, graphs, y) -> dict[str, float]:
    """Return the losses of the trained model with silenced heads: those of a constant."""
    model = pretrainer.net_.module_
    weights = {name: w.clone() for name, w in model.state_dict().items()}
    try:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if {"head", "atom_head"} & set(name.split(".")):
                    parameter.zero_()
        return losses(pretrainer, graphs, y)
    finally:
        model.load_state_dict(weights)


def losses(pretrainer, graphs, y) -> dict[str, float]:
    objective = pretrainer.spec_.objective
    return pretrainer._loss(graphs, objective.make_targets(graphs, y))


def measure(backbone, objective, epochs, data) -> dict:
    graphs, labels, train, valid = data
    pretrainer = Pretrainer(
        clone(backbone),
        clone(objective),
        max_epochs=epochs,
        batch_size=8,
        learning_rate=3e-3 if isinstance(backbone, CGCNN) else 1e-3,
        ema_decay=0.99,
        validation_fraction=0,
        random_state=0,
        device="cpu",
    )
    started = time.perf_counter()
    y = labels_of(objective, graphs[train], labels[train])
    pretrainer.fit(graphs[train], y)
    seconds = time.perf_counter() - started
    y = labels_of(objective, graphs[valid], labels[valid])
    return {
        "seconds": round(seconds, 1),
        "loss": losses(pretrainer, graphs[valid], y),
        "trivial": trivial_losses(pretrainer, graphs[valid], y),
    }


def table(records: dict[str, dict]) -> str:
    lines = [
        "| backbone | objective | part | trivial | loss | ratio | s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, record in records.items():
        backbone, objective = name.split("/")
        for term, trivial in record["trivial"].items():
            loss = record["loss"][term]
            ratio = f"{100 * loss / trivial:.0f} %"
            lines.append(
                f"| {backbone} | {objective} | {term} | {trivial:.4f} | {loss:.4f} | {ratio} "
                f"| {record['seconds']:.0f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--only", nargs="*", default=[], help="backbones or objectives")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS / "objectives_learn.json"
    records = json.loads(path.read_text()) if path.exists() else {}
    sets = {True: load(FORCES), False: load(STRUCTURES)}
    for backbone in BACKBONES:
        for objective in OBJECTIVES:
            name = f"{backbone}/{objective}"
            selected = not arguments.only or {backbone, objective} & set(arguments.only)
            if name in records or not selected:
                continue
            data = sets[objective in ("force_field", "mixture")]
            record = measure(BACKBONES[backbone], OBJECTIVES[objective], arguments.epochs, data)
            records[name] = record
            path.write_text(json.dumps(records, indent=1) + "\n")
            print(table({name: record}).splitlines()[2:], flush=True)
    head = (
        "# Every objective on every backbone, on real crystals\n\n"
        f"What `python benchmarks/objectives_learn.py` wrote: {arguments.epochs} epochs, batches "
        f"of 8, 5 Å, crystals of at most {LARGEST} atoms; python {platform.python_version()}, "
        f"torch {torch.__version__}, one thread.\n\n"
        + "".join(
            f"- {what}: {len(sets[key][2])} frames of {' and '.join(files)}, and "
            f"{len(sets[key][3])} held out.\n"
            for key, what, files in (
                (True, "force field and mixture", FORCES),
                (False, "all others", STRUCTURES),
            )
        )
        + "\n"
    )
    (RESULTS / "objectives_learn.md").write_text(head + table(records) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
