"""Forces and stress from one gradient of the energy with respect to the edge vectors."""

import torch
from torch import Tensor

from gnnpre.backbones import sum_by_index
from gnnpre.graphs import CrystalBatch

__all__ = ["forces_and_stress"]


def forces_and_stress(
    energy: Tensor, batch: CrystalBatch, *, create_graph: bool
) -> tuple[Tensor, Tensor]:
    """Differentiate ``energy`` (n,), which was computed from ``batch.edge_vectors``.

    Forces ``-dE/dr`` are (N, 3) in eV/Å. Stress ``dE/dstrain / V`` is (n, 3, 3) in eV/Å^3,
    positive in tension, NaN for crystals that are not periodic in all directions.
    """
    (gradient,) = torch.autograd.grad(
        energy.sum(), batch.edge_vectors, create_graph=create_graph, materialize_grads=True
    )  # (E, 3)
    # An edge vector is r[source] - r[target] plus what no atom moves.
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
    # NaN only enters by a choice at the end: a gradient through NaN would be NaN.
    volume = torch.where(periodic, batch.volume, 1.0)
    return torch.where(periodic[:, None, None], symmetric / volume[:, None, None], torch.nan)
