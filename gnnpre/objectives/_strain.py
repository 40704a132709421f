"""Strains of cells: random ones, and a head that predicts one."""

import torch
from torch import Tensor, nn

from gnnpre.backbones import sum_by_index
from gnnpre.graphs import CrystalBatch, send

__all__ = ["StrainHead", "draw_strain"]

# Width of the weights of edges: they are few numbers, of which there are many.
HIDDEN_CHANNELS = 16
# Gaussians of the length of an edge, in Å: bonds tell more of a strain than the many long edges,
# which may come and go.
CENTRES = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
WIDTH = 0.5


def draw_strain(batch: CrystalBatch, size: float, generator: torch.Generator) -> Tensor:
    """Draw symmetric strains with components of a standard deviation: ``(n, 3, 3)``.

    They are 0 for crystals that are not periodic in all directions.
    """
    dtype, device = batch.positions.dtype, batch.positions.device
    draws = torch.randn((len(batch), 3, 3), generator=generator, dtype=dtype) * size
    upper = torch.triu(draws)
    strain = send(upper + torch.triu(draws, diagonal=1).mT, device)
    return torch.where(batch.pbc.all(dim=1)[:, None, None], strain, 0.0)


class StrainHead(nn.Module):
    """A symmetric tensor for each crystal: ``r r^T`` over edges, weighted by features.

    The weight of an edge depends on the features of both atoms and on its length, so that the
    tensor turns with the crystal whatever the backbone. An isotropic term from the features of
    atoms balances the sum over the edges of an undeformed crystal.
    """

    centres: Tensor

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.register_buffer("centres", torch.tensor(CENTRES), persistent=False)
        self.atoms = nn.Linear(in_channels, HIDDEN_CHANNELS)
        self.length = nn.Linear(len(CENTRES), HIDDEN_CHANNELS, bias=False)
        self.weight = nn.Linear(HIDDEN_CHANNELS, len(CENTRES))
        self.isotropic = nn.Linear(in_channels, 1)

    def forward(self, scalars: Tensor, batch: CrystalBatch) -> Tensor:
        atoms = self.atoms(scalars)  # (N, H)
        offsets = (batch.distances[:, None] - self.centres) / WIDTH
        radial = torch.exp(-0.5 * offsets**2)  # (E, R)
        sent, received = atoms.index_select(0, batch.source), atoms.index_select(0, batch.target)
        hidden = sent + received + self.length(radial)  # (E, H)
        weight = (self.weight(nn.functional.silu(hidden)) * radial).sum(dim=1)  # (E,)
        unit = batch.edge_vectors / batch.distances[:, None]  # (E, 3)
        outer = weight[:, None, None] * unit[:, :, None] * unit[:, None]  # (E, 3, 3)
        total = sum_by_index(outer.flatten(1), batch.batch[batch.target], len(batch))
        sphere = sum_by_index(self.isotropic(scalars), batch.batch, len(batch))  # (n, 1)
        identity = torch.eye(3, dtype=scalars.dtype, device=scalars.device)
        total = total.reshape(-1, 3, 3) + sphere[:, :, None] * identity  # (n, 3, 3)
        return total / batch.n_atoms[:, None, None]
