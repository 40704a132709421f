"""A training step of ours and of the plain reference: same crystals, edges, weights and loss."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from common import stopwatch
from plain import copy_weights, make_data, make_plain, plain_loss
from torch import Tensor, nn
from torch_geometric.data import Batch

from gnnpre import FrameLabels
from gnnpre.graphs import CrystalGraphs
from gnnpre.objectives import ForceField, ObjectiveModel, Targets
from gnnpre.training import resolve_compile

from .crystals import Crystals
from .works import Training

LEARNING_RATE, CLIP = 1e-4, 10.0
LABELS = ("energy", "forces", "stress")


class Trainer:
    """Weights and optimiser; each call is a round of steps on the next batches of the plan."""

    def __init__(self, model: nn.Module, batches: list[list[int]], steps: int) -> None:
        self.model = model.train()
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=LEARNING_RATE)
        self.batches = batches
        self.steps = steps
        self.next = 0

    def loss(self, indices: list[int]) -> tuple[Tensor, int]:
        """Assemble a batch; return its loss and its number of edges."""
        raise NotImplementedError

    def step(self, indices: list[int]) -> int:
        loss, n_edges = self.loss(indices)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=self.parameters)
        nn.utils.clip_grad_norm_(self.parameters, CLIP)
        self.optimizer.step()
        return n_edges

    def __call__(self) -> tuple[list[float], dict[str, int]]:
        chosen = [self.batches[(self.next + i) % len(self.batches)] for i in range(self.steps)]
        self.next += self.steps
        seconds, edges = stopwatch(lambda: sum(self.step(indices) for indices in chosen))
        return seconds, {"crystals": sum(map(len, chosen)), "edges": edges}


class OurTrainer(Trainer):
    """Packed graphs, batches by gathers."""

    def __init__(
        self, model: ObjectiveModel, graphs: CrystalGraphs, targets: Targets, *plan: Any
    ) -> None:
        super().__init__(model, *plan)
        self.graphs = graphs
        self.targets = targets

    def loss(self, indices: list[int]) -> tuple[Tensor, int]:
        chosen = np.asarray(indices)
        batch = self.graphs.batch(chosen)
        labels = self.targets.batch(chosen, torch.float32)
        terms = self.model.losses(self.model(batch), labels, batch)
        means = [term.weight * term.step_mean for term in terms.values()]
        return torch.stack(means).sum(), len(batch.edge_shift)


class PlainTrainer(Trainer):
    """One ``Data`` a crystal, batches by torch-geometric's collation."""

    def __init__(
        self,
        model: nn.Module,
        data_list: list,
        loss_of: Callable[[dict, Batch], Tensor],
        *plan: Any,
    ) -> None:
        super().__init__(model, *plan)
        self.data_list = data_list
        self.loss_of = loss_of

    def loss(self, indices: list[int]) -> tuple[Tensor, int]:
        data = Batch.from_data_list([self.data_list[index] for index in indices])
        return self.loss_of(self.model(data), data), data.edge_index.shape[1]


class Setting:
    """All that contenders of one work share, on one device."""

    def __init__(self, work: Training, crystals: Crystals, device: str = "cpu") -> None:
        self.work = work
        self.device = device
        self.graphs = work.graphs.transform(crystals.structures)
        self.targets = work.objective.make_targets(self.graphs, labels_of(work, crystals))
        self.mean_neighbors = len(self.graphs.edge_shift) / len(self.graphs.positions)

    def our_model(self, compile: bool | str = "auto") -> ObjectiveModel:
        torch.manual_seed(0)
        backbone = self.work.backbone.build(self.work.graphs.cutoff, self.mean_neighbors)
        layout = self.work.objective.layout(self.targets)
        model = self.work.objective.build(backbone, layout)
        model.set_statistics(self.graphs, self.targets, np.arange(len(self.graphs)))
        model.backbone.compiled = resolve_compile(compile, torch.device(self.device))
        return model.to(self.device)

    def plain_model(self) -> nn.Module:
        arguments = (self.work.graphs.cutoff, self.mean_neighbors)
        plain = make_plain(self.work.backbone, self.work.objective, *arguments)
        copy_weights(self.our_model(), plain)
        return plain.to(self.device)

    def trainer(self, model: ObjectiveModel, batches: list[list[int]], steps: int) -> OurTrainer:
        graphs, targets = self.graphs.to(self.device), self.targets.to(self.device)
        return OurTrainer(model, graphs, targets, batches, steps)

    def plain(self, batches: list[list[int]], steps: int) -> PlainTrainer:
        data = make_data(self.graphs, self.targets, torch.float32)
        data = [one.to(self.device) for one in data]
        return PlainTrainer(self.plain_model(), data, self.plain_loss, batches, steps)

    def plain_loss(self, predictions: dict[str, Tensor], data: Batch) -> Tensor:
        objective = self.work.objective
        if not isinstance(objective, ForceField):
            return plain_loss(predictions, data, {"properties": 1.0}, objective.loss)
        weights = {name: getattr(objective, name) for name in LABELS}
        per_atom = objective.energy_per == "atom"
        return plain_loss(predictions, data, weights, objective.loss, energy_per_atom=per_atom)


def labels_of(work: Training, crystals: Crystals) -> Any:
    if not isinstance(work.objective, ForceField):
        return crystals.values
    n_atoms = [len(structure) for structure in crystals.structures]
    forces = np.concatenate(crystals.forces)
    return FrameLabels(n_atoms, energy=crystals.energy, forces=forces, stress=crystals.stress)
