"""Forces and stress from one gradient of the energy with respect to the edge vectors."""

from collections.abc import Callable

import torch
from torch import Tensor

from gnnpre.backbones import sum_by_index
from gnnpre.graphs import CrystalBatch

__all__ = ["differentiable", "energy_and_derivatives", "forces_and_stress"]


def energy_and_derivatives(
    energy_of: Callable[[CrystalBatch], Tensor], batch: CrystalBatch, *, create_graph: bool
) -> dict[str, Tensor]:
    """Return ``energy``, ``forces`` and ``stress`` by :func:`forces_and_stress`.

    Without ``create_graph`` they are detached.
    """
    # A caller that made the batch differentiable may ask for more derivatives of these features.
    retain_graph = batch.edge_vectors.requires_grad or create_graph
    # Validation and prediction run under no_grad, which derivatives have to leave.
    with torch.enable_grad():
        batch = differentiable(batch)
        energy = energy_of(batch)
        forces, stress = forces_and_stress(
            energy, batch, create_graph=create_graph, retain_graph=retain_graph
        )
    predictions = {"energy": energy, "forces": forces, "stress": stress}
    if create_graph:
        return predictions
    return {name: value.detach() for name, value in predictions.items()}


def differentiable(batch: CrystalBatch) -> CrystalBatch:
    """Return a batch whose edge vectors require a gradient: this one if they do already."""
    if batch.edge_vectors.requires_grad:
        return batch
    return batch.with_edge_vectors(batch.edge_vectors.detach().requires_grad_())


def forces_and_stress(
    energy: Tensor,
    batch: CrystalBatch,
    *,
    create_graph: bool,
    retain_graph: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """Differentiate ``energy`` (n,), which was computed from ``batch.edge_vectors``.

    Forces ``-dE/dr`` are (N, 3) in eV/Å. Stress ``dE/dstrain / V`` is (n, 3, 3) in eV/Å^3,
    positive in tension, NaN for crystals that are not periodic in all directions.
    """
    (gradient,) = torch.autograd.grad(
        energy.sum(),
        batch.edge_vectors,
        create_graph=create_graph,
        retain_graph=retain_graph,
        materialize_grads=True,
    )  # (E, 3)
    # An edge vector is r[source] - r[target] plus a lattice vector, which no atom moves.
    n_atoms = len(batch.atomic_numbers)
    forces = sum_by_index(gradient, batch.target, n_atoms)
    forces = forces - sum_by_index(gradient, batch.source, n_atoms)
    return forces, _stress(gradient, batch)


def _stress(gradient: Tensor, batch: CrystalBatch) -> Tensor:
    # Strain takes an edge vector v to v (1 + strain): dE/dstrain_ab = sum over edges v_a dE/dv_b.
    outer = batch.edge_vectors[:, :, None] * gradient[:, None, :]  # (E, 3, 3)
    virial = sum_by_index(outer.flatten(1), batch.batch[batch.target], len(batch))
    virial = virial.reshape(-1, 3, 3)
    symmetric = 0.5 * (virial + virial.transpose(1, 2))
    periodic = batch.pbc.all(dim=1)
    # NaN enters by torch.where at the very end: a gradient through NaN would be NaN.
    volume = torch.where(periodic, batch.volume, 1.0)
    return torch.where(periodic[:, None, None], symmetric / volume[:, None, None], torch.nan)
