"""Fine-tuning with small batches: ordinary steps, kernels, and whole steps as CUDA graphs."""

import warnings
from typing import Any

import numpy as np

from gnnpre import CGCNN, ForceField, Pretrainer, PropertyTargets, StructureToGraph, TorchMDNet
from gnnpre.backbones import Backbone
from gnnpre.objectives import Objective

from .job import Job, frame_data

BACKBONES: dict[str, Backbone] = {
    "TorchMDNet(64, 2)": TorchMDNet(64, 2),
    "CGCNN(64, 3)": CGCNN(64, 3),
}
TASKS: dict[str, Objective] = {"property": PropertyTargets(), "E+F+S": ForceField()}
COMPILED = (False, "auto", "cuda_graphs")
BATCH = 16


def main(job: Job) -> None:
    """Train each model in all ways, and compare speed and losses."""
    structures, frames, source = frame_data(job.size(1024, 48))
    graphs = StructureToGraph(5.0).transform(structures).to(job.device)
    job.record("crystals", f"{len(graphs)}, {source}; {BATCH} in a batch")
    labels = {"E+F+S": frames, "property": frames.energy / frames.n_atoms}
    rows: list[dict[str, Any]] = []
    for model in BACKBONES:
        for task in TASKS:
            losses: dict[Any, np.ndarray] = {}
            for compiled in COMPILED:
                if not job.has_time:
                    job.record("left out", "the remaining rows: out of time")
                    return
                row, losses[compiled] = train(job, model, task, compiled, graphs, labels[task])
                difference = np.abs(losses[compiled] / losses[False] - 1.0).max()
                rows.append(row | {"largest difference of losses": float(difference)})
                job.record("trainings", rows)


def train(
    job: Job, model: str, task: str, compiled: Any, graphs: Any, labels: Any
) -> tuple[dict[str, Any], np.ndarray]:
    """Train for a few epochs; return the speed of the fastest one, and the losses."""
    pretrainer = Pretrainer(
        BACKBONES[model],
        TASKS[task],
        max_epochs=job.size(5, 2),
        batch_size=BATCH,
        validation_fraction=0.0,
        learning_rate=1e-4,
        ema_decay=0.99,
        random_state=0,
        device=job.device,
        compile=compiled,
    )
    row: dict[str, Any] = {"model": model, "task": task, "compile": str(compiled)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pretrainer.fit(graphs, labels)
    history = pretrainer.history_
    fastest = min(epoch["dur"] for epoch in history)
    row |= {"crystals/s": len(graphs) / fastest, "ms": 1e3 * fastest * BATCH / len(graphs)}
    messages = [str(warning.message) for warning in caught]
    row["warnings"] = "; ".join(text for text in messages if "cuda_graphs" in text)[:200]
    return row, np.array([epoch["train_loss"] for epoch in history])
