"""Mixtures of objectives, one of them defined here, and what they learn from."""

from dataclasses import replace

import numpy as np
import torch

from cases import (
    CUTOFF,
    SMALL,
    loss_targets,
    make_frame_labels,
    make_model,
    random_structures,
)
from gnnpre import (
    CGCNN,
    Denoising,
    ForceField,
    FrameLabels,
    Mixture,
    PropertyTargets,
    StructureToGraph,
)
from gnnpre.objectives import LossTerm, Objective, ObjectiveModel, Targets
from gnnpre.training._average import combine

FIT = {"max_epochs": 2, "batch_size": 4, "random_state": 0, "validation_fraction": 0.25}


CGCNN_SMALL = CGCNN(**SMALL)


class Coordination(Objective):
    """Neighbours within reach of an atom: an objective as users write it, with forward alone."""

    needs_labels = False

    def __init__(self, weight=1.0):
        self.weight = weight

    def make_targets(self, graphs, y):
        target = graphs.batch().target
        counts = torch.bincount(target, minlength=int(graphs.atom_counts.sum()))
        return Targets(graphs.atom_counts, {}, {"count": counts.double()})

    def layout(self, targets):
        return {"mean": float(targets.atom["count"].mean())}

    def build(self, backbone, layout):
        return CoordinationModel(backbone, layout.get("mean", 1.0))

    def collect(self, parts, graphs):
        return np.concatenate([piece["count"] for piece in parts])


class CoordinationModel(ObjectiveModel):
    def __init__(self, backbone, mean):
        super().__init__(backbone)
        self.mean = mean
        self.outputs = torch.nn.Linear(backbone.out_channels, 1)

    def forward(self, batch):
        return {"count": self.mean * self.outputs(self.backbone(batch).scalars)[:, 0]}

    def losses(self, predictions, targets, batch):
        error = (predictions["count"] - targets["count"]).abs()
        return {"count": LossTerm(error.sum(), torch.tensor(float(len(error))), 1.0)}


def make_graphs():
    """Crystals of all kinds, each of them once more with its atoms moved a little."""
    atoms = list(random_structures().values())
    rattled = [a.copy() for a in atoms]
    for a in rattled:
        a.positions += np.random.default_rng(3).normal(scale=0.02, size=a.positions.shape)
    return StructureToGraph(CUTOFF).transform(atoms + rattled)


def make_labels(graphs) -> FrameLabels:
    """Forces, and two columns of which one is a property."""
    full = make_frame_labels(graphs.atom_counts)
    gap = np.random.default_rng(1).normal(size=len(graphs))
    return FrameLabels(
        full.n_atoms,
        energy=full.energy,
        forces=full.forces,
        stress=full.stress,
        info={"gap": gap, "material": np.arange(len(gap))},
    )


def mixture(**weights) -> Mixture:
    parts = {
        "forces": ForceField(forces=2.0),
        "gap": PropertyTargets(),
        "count": Coordination(),
        "noise": Denoising(0.1),
    }
    return Mixture([(name, parts[name], weight) for name, weight in weights.items()])


def built(objective, graphs, y, backbone=CGCNN_SMALL):
    """A model in training, and its targets."""
    targets = objective.make_targets(graphs, y)
    model = make_model(backbone, objective, layout=objective.layout(targets))
    model.set_statistics(graphs, targets, np.arange(len(graphs)))
    return model.train(), targets


def step(model, graphs, targets, seed=0):
    """Loss terms and gradients of one step."""
    everything = np.arange(len(graphs))
    batch = graphs.batch(dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    labels = loss_targets(model, targets, batch, everything)
    batch, labels = model.perturb(batch, labels, generator)
    terms = model.losses(model(batch), labels, batch)
    model.zero_grad()
    if model.training:
        combine(terms).backward()
    terms = {
        name: replace(term, total=term.total.detach(), count=term.count.detach())
        for name, term in terms.items()
    }
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return terms, gradients
