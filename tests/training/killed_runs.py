"""Trainings in processes that are killed (SIGKILL) and started again, for test_resume.py.

``python killed_runs.py FOLDER`` imports once and forks each training, so that many kills cost
little. FOLDER gets the models of the uninterrupted and of the killed runs, and ``log.json``.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from torch import nn

from gnnpre import CGCNN, ForceField, Pretrainer, PropertyRegressor, StructureToGraph, _storage
from gnnpre.backbones import Readout
from gnnpre.datasets import make_emt_frames
from gnnpre.objectives import LossTerm, Objective, ObjectiveModel, Targets
from gnnpre.training import CosineSchedule, PlateauSchedule

KILLS = 5


class NoisyVolume(Objective):
    """Volume per atom from noisy edges, through dropout: both kinds of randomness at work."""

    needs_labels = False

    def make_targets(self, graphs, y):
        volume = torch.linalg.det(graphs.cell).abs() / graphs.n_atoms
        return Targets(graphs.atom_counts, {"volume": volume})

    def build(self, backbone, layout):
        return NoisyVolumeModel(backbone)

    def collect(self, parts, graphs):
        raise NotImplementedError


class NoisyVolumeModel(ObjectiveModel):
    """The model of :class:`NoisyVolume`."""

    def __init__(self, backbone):
        super().__init__(backbone)
        self.head = Readout(backbone.out_channels, 1, pooling="mean")
        self.dropout = nn.Dropout(0.3)

    def perturb(self, batch, targets, generator):
        noise = 0.1 * torch.randn(batch.edge_vectors.shape, generator=generator)
        vectors = batch.edge_vectors + noise.to(batch.edge_vectors)
        return batch.with_edge_vectors(vectors), targets

    def forward(self, batch):
        features = self.dropout(self.backbone(batch).scalars)
        return {"volume": self.head(features, batch)[:, 0]}

    def losses(self, predictions, targets, batch):
        error = (predictions["volume"] - targets["volume"]).abs()
        return {"volume": LossTerm(error.sum(), torch.tensor(float(len(error))), 1.0)}


def make_estimator(name, **resume):
    """Return one of the trainings that must survive being killed."""
    common = {"random_state": 3, "batch_size": 4, "learning_rate": 0.02, **resume}
    if name == "cosine":  # moving average, batch norm, best weights
        backbone = CGCNN(8, 1, batch_norm=True)
        schedule = CosineSchedule(warmup=0.2)
        return Pretrainer(
            backbone, ForceField(), max_epochs=25, schedule=schedule, ema_decay=0.9, **common
        )
    if name == "plateau":  # early stopping, an edge budget, clipping
        schedule = PlateauSchedule(factor=0.7, patience=1, threshold=0.01)
        return PropertyRegressor(
            CGCNN(8, 1),
            max_epochs=80,
            schedule=schedule,
            patience=12,
            validation_fraction=0.3,
            max_edges=300,
            gradient_clip=0.5,
            dtype="float64",
            **common,
        )
    objective = NoisyVolume()
    last = {"restore_best": False, "max_epochs": 40, "schedule": None}
    return Pretrainer(CGCNN(8, 1), objective, ema_decay=0.8, **last, **common)


def fit(name, X, labels, path, before=lambda: None, **resume):
    """Fit in a process of its own; give its id."""
    if child := os.fork():
        return child
    before()
    y = labels if name == "cosine" else labels.energy / labels.n_atoms
    estimator = make_estimator(name, **resume).fit(X, y)
    estimator.save(path)
    os._exit(0)


def ended(child):
    """Whether a process ended by itself, once it has ended."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"A training ended with status {code}.")
    return code == 0


def die_while_writing(part, count):
    """Make the process kill itself when it writes its state for the ``count``-th time."""

    def before():
        replace, calls = os.replace, []

        def dying_replace(source, target):
            calls.append(target)
            if len(calls) == count:
                size = os.path.getsize(source)
                os.truncate(source, int(size * part))
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)

        os.replace = dying_replace

    return before


def run(name, X, labels, folder):
    """Train once in peace, and once with kills; tell what happened."""
    start = time.monotonic()
    assert ended(fit(name, X, labels, folder / f"{name}-whole.gnnpre"))
    duration = time.monotonic() - start
    states = folder / f"{name}-states"
    resume = {"checkpoint_dir": str(states), "resume": True}
    killed = folder / f"{name}-killed.gnnpre"
    log = {"kills": 0, "epochs": [], "leftovers": 0}
    for part, count in ((0.5, 2), (1.0, 3)):
        assert not ended(fit(name, X, labels, killed, die_while_writing(part, count), **resume))
        log["leftovers"] += len(list(states.glob(".*.new")))
        log["epochs"].append(epochs_done(states))
    while True:
        child = fit(name, X, labels, killed, **resume)
        if log["kills"] < KILLS:
            time.sleep(duration * random.uniform(0.05, 0.3))
            os.kill(child, signal.SIGKILL)
        if ended(child):
            break
        log["kills"] += 1
        log["epochs"].append(epochs_done(states))
    log["states"] = sorted(path.name for path in states.iterdir())
    return log


def epochs_done(states):
    """Epochs in the one state that there is."""
    (path,) = states.glob("*.safetensors")
    return len(_storage.load_tensors(path, kind="training state")[1]["history"])


def main(folder):
    """Run all trainings."""
    torch.set_num_threads(1)
    structures, labels = make_emt_frames(24, max_atoms=4, random_state=0)
    graphs = StructureToGraph(cutoff=4.0).transform(structures)
    log = {name: run(name, graphs, labels, folder) for name in ("cosine", "plateau", "noise")}
    (folder / "log.json").write_text(json.dumps(log))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
