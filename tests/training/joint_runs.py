"""Trainings in the two processes of a launcher, for test_processes.py.

``torchrun --nproc-per-node 2 joint_runs.py FOLDER``: each training runs in both processes
together, and in one alone. FOLDER gets the differences of the weights, of each process.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from skorch.callbacks import Callback

from gnnpre import (
    CGCNN,
    CrystalGraphs,
    Denoising,
    ElementMasking,
    FingerprintTargets,
    ForceField,
    Mixture,
    Pretrainer,
    PropertyClassifier,
    PropertyRegressor,
    StructureToGraph,
    TorchMDNet,
    TwoViews,
)
from gnnpre.datasets import make_emt_frames
from gnnpre.fingerprints import EAD

# 36 crystals to train on and batches of 5: 8 steps an epoch, the last with one crystal.
COMMON = {"max_epochs": 2, "batch_size": 5, "dtype": "float64", "random_state": 0}


def pretraining(backbone, objective, **settings):
    """Return a training of frames."""

    def fit(graphs, labels, **more):
        weights = np.linspace(0.5, 2.0, len(graphs))
        estimator = Pretrainer(backbone, objective, **{**COMMON, **settings, **more})
        return estimator.fit(graphs, labels, sample_weight=weights)

    return fit


def finetuning(cls, **settings):
    """Return a training of a property, or of classes."""

    def fit(graphs, labels, **more):
        y = labels.energy / labels.n_atoms
        if cls is PropertyClassifier:
            y = np.where(y > np.median(y), "high", "low")
        return cls(CGCNN(8, 1), **COMMON, **settings, **more).fit(graphs, y)

    return fit


class Moody(Callback):
    """Changes weights, rates and the trained layers in the middle of a training."""

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 3:
            for parameter in net.module_.head.parameters():
                parameter.requires_grad_(False)
        if len(net.history) == 4:
            for parameter in net.module_.head.parameters():
                parameter.requires_grad_(True)

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            with torch.no_grad():
                for parameter in net.module_.parameters():
                    parameter.mul_(0.999)

    def on_epoch_end(self, net, **kwargs):
        for group in net.optimizer_.param_groups:
            group["lr"] *= 0.9
        if len(net.history) == 6:
            raise KeyboardInterrupt  # how skorch's callbacks stop a training


MIXTURE = Mixture(
    [
        ("forces", ForceField(stress=0), 1.0),
        ("noise", Denoising(scale="running"), 0.5),
        ("views", TwoViews(), 0.1),
        ("elements", ElementMasking(), 0.2),
    ]
)
TRAININGS = {
    "forces": pretraining(TorchMDNet(8, 1), ForceField(), ema_decay=0.9, gradient_clip=0.1),
    "batch norm": pretraining(CGCNN(8, 2, batch_norm=True), ForceField()),
    "denoising": pretraining(CGCNN(8, 1), Denoising(scale="running", strain=0.02)),
    "elements": pretraining(CGCNN(8, 1), ElementMasking()),
    "views": pretraining(CGCNN(8, 1), TwoViews(mask=0.2)),
    "fingerprints": pretraining(CGCNN(8, 1), FingerprintTargets(EAD())),
    "mixture": pretraining(CGCNN(8, 1), MIXTURE, max_edges=400),
    "callbacks": pretraining(
        CGCNN(8, 1), ForceField(), max_epochs=7, schedule=None, callbacks=[Moody()]
    ),
    "regressor": finetuning(PropertyRegressor, patience=2, learning_rate=0.05, schedule="plateau"),
    "classifier": finetuning(PropertyClassifier, validation_fraction=0.0),
}


def difference(one, two):
    """Return the largest difference of two models, weights and statistics."""
    states = [estimator.net_.module_.state_dict() for estimator in (one, two)]
    pairs = [(states[0][name].double(), states[1][name].double()) for name in states[0]]
    return max(float((a - b).abs().max()) for a, b in pairs)


def losses(estimator):
    """Return the history without the times."""
    return [{k: v for k, v in row.items() if k != "dur"} for row in estimator.net_.history]


def compare(fit, graphs, labels):
    """Train together and alone; return how far apart both end."""
    joint, alone = fit(graphs, labels), fit(graphs, labels, n_processes=1)
    rows = zip(losses(joint), losses(alone), strict=True)
    return {
        "weights": difference(joint, alone),
        "steps": sum(row["train_batch_count"] for row in joint.history_),
        "history": max(abs(a[key] - b[key]) for a, b in rows for key in b if "loss" in key),
        "sum": sum(float(v.double().sum()) for v in joint.net_.module_.state_dict().values()),
    }


def seeds(graphs: CrystalGraphs, labels):
    """Train without a random_state: all processes have to agree on a seed."""
    estimator = Pretrainer(CGCNN(8, 1), ForceField(), max_epochs=1).fit(graphs, labels)
    return float(estimator.net_.module_.head.state_dict().popitem()[1].sum())


def timed(graphs, labels):
    """Train for a second: the time ends it in the middle of an epoch, in all processes."""
    estimator = Pretrainer(
        CGCNN(8, 1), ForceField(), max_epochs=10**6, max_time=1.0, batch_size=2, random_state=0
    ).fit(graphs, labels)
    total = sum(float(v.double().sum()) for v in estimator.net_.module_.state_dict().values())
    return {"epochs": len(estimator.history_), "sum": total}


def error_of(function):
    """Return the error of a function as text."""
    try:
        function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


class Failing(ForceField):
    """A force field whose process 1 fails in the second epoch."""

    def build(self, backbone, layout):
        model = super().build(backbone, layout)
        model.register_forward_pre_hook(self._fail)
        self.calls_ = 0
        return model

    def _fail(self, *arguments):
        self.calls_ += 1
        if self.calls_ == 15 and os.environ["RANK"] == "1":
            raise ArithmeticError("the second process is tired")


def main(folder: Path) -> None:
    """Run all trainings."""
    torch.set_num_threads(1)
    structures, labels = make_emt_frames(40, max_atoms=4, random_state=0)
    graphs = StructureToGraph(cutoff=4.0).transform(structures)
    rank = os.environ["RANK"]
    results = {}
    for name, fit in TRAININGS.items():
        results[name] = compare(fit, graphs, labels)
    results["seed"] = seeds(graphs, labels)
    results["timed"] = timed(graphs, labels)
    # Errors end both processes' training; the processes go on, and so does the next training.
    diverging = pretraining(CGCNN(8, 1), ForceField(), learning_rate=1e30, gradient_clip=None)
    failing = pretraining(CGCNN(8, 1), Failing())
    order = np.arange(40) if rank == "0" else np.arange(40)[::-1].copy()
    other_data = pretraining(CGCNN(8, 1), ElementMasking())
    results["errors"] = {
        "diverging": error_of(lambda: diverging(graphs, labels)),
        "failing": error_of(lambda: failing(graphs, labels)),
        "data": error_of(lambda: other_data(graphs[order], None)),
        "number": error_of(lambda: TRAININGS["forces"](graphs, labels, n_processes=3)),
    }
    results["after errors"] = compare(TRAININGS["forces"], graphs, labels)
    (folder / f"{rank}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
