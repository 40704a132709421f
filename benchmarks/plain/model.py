"""Readout of atoms, derivatives of the energy, and losses."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch
from torch_geometric.nn import global_add_pool, global_mean_pool

from .edges import Edges, edges_of, strained

POOLS = {"sum": global_add_pool, "mean": global_mean_pool}


class PlainModel(nn.Module):
    """A backbone, a perceptron before (``"late"``) or after the pooling, and derivatives.

    ``value * scale + offset`` is predicted, ``offset`` being one number for each output and
    ``references`` one for each element, summed over the atoms.
    """

    scale: Tensor
    offset: Tensor
    references: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Sequential,
        *,
        order: str,
        pooling: str,
        derivatives: bool,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.order = order
        self.pooling = pooling
        self.derivatives = derivatives
        outputs = head[-1].out_features
        self.register_buffer("scale", torch.ones(outputs))
        self.register_buffer("offset", torch.zeros(outputs))
        self.register_buffer("references", torch.zeros(100))

    def forward(self, data: Batch) -> dict[str, Tensor]:
        if not self.derivatives:
            edges = edges_of(data, data.pos, data.cell)
            return {"properties": self._values(data, edges)}
        with torch.enable_grad():
            return self._energy_forces_stress(data)

    def _energy_forces_stress(self, data: Batch) -> dict[str, Tensor]:
        positions = data.pos.detach().clone().requires_grad_()
        strain = torch.zeros_like(data.cell).requires_grad_()
        edges = edges_of(data, *strained(data, positions, strain))
        energy = self._energy(data, edges)
        gradients = torch.autograd.grad(
            energy.sum(), [positions, strain], create_graph=self.training
        )
        volume = torch.linalg.det(data.cell).abs().view(-1, 1, 1)
        return {"energy": energy, "forces": -gradients[0], "stress": gradients[1] / volume}

    def _energy(self, data: Batch, edges: Edges) -> Tensor:
        energy = self._values(data, edges)[:, 0]  # (n,)
        if self.pooling == "mean":
            energy = energy * torch.bincount(data.batch)
        return energy + global_add_pool(self.references[data.z - 1], data.batch)

    def _values(self, data: Batch, edges: Edges) -> Tensor:
        x = self.backbone(data.z, edges)  # (N, C)
        pool = POOLS[self.pooling]
        if self.order == "late":
            value = pool(self.head(x), data.batch)  # (n, k)
        else:
            value = self.head(pool(x, data.batch))
        return value * self.scale + self.offset


def plain_loss(
    predictions: Mapping[str, Tensor],
    data: Batch,
    weights: Mapping[str, float],
    loss: str,
    *,
    energy_per_atom: bool = True,
) -> Tensor:
    """Return the weighted sum of mean losses, ``"l1"`` or ``"mse"``."""
    function = {"l1": nn.functional.l1_loss, "mse": nn.functional.mse_loss}[loss]
    total = torch.zeros((), dtype=data.pos.dtype, device=data.pos.device)
    for name, weight in weights.items():
        prediction, target = predictions[name], data[name]
        if name == "energy" and energy_per_atom:
            n_atoms = torch.bincount(data.batch)
            prediction, target = prediction / n_atoms, target / n_atoms
        total = total + weight * function(prediction, target)
    return total
