"""A mixture of objectives, one of them defined here."""

from dataclasses import replace

import numpy as np
import torch

from cases import SMALL, loss_targets, make_model
from gnnpre import CGCNN, Denoising, ForceField, Mixture, PropertyTargets
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
