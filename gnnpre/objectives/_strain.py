"""Strains of cells: random ones, and a head that predicts one."""

import torch
from torch import Tensor, nn

from gnnpre.backbones import sum_by_index
from gnnpre.graphs import CrystalBatch

__all__ = ["StrainHead", "draw_strain"]

# Width of the weights of edges: they are few numbers, of which there are many.
HIDDEN_CHANNELS = 16
BOND_LENGTH = 3.0  # Å


def draw_strain(batch: CrystalBatch, size: float, generator: torch.Generator) -> Tensor:
    """Draw symmetric strains with components of a standard deviation: ``(n, 3, 3)``.

    They are 0 for crystals that are not periodic in all directions.
    """
    dtype, device = batch.positions.dtype, batch.positions.device
    draws = torch.randn((len(batch), 3, 3), generator=generator, dtype=dtype) * size
    upper = torch.triu(draws)
    strain = (upper + torch.triu(draws, diagonal=1).mT).to(device)
    return torch.where(batch.pbc.all(dim=1)[:, None, None], strain, 0.0)


class StrainHead(nn.Module):
    """A symmetric tensor for each crystal: ``r r^T`` over edges, weighted by features.

    The weight of an edge depends on the features of both atoms and on its length, so that the
    tensor turns with the crystal whatever the backbone.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.atoms = nn.Linear(in_channels, HIDDEN_CHANNELS)
        self.length = nn.Linear(1, HIDDEN_CHANNELS, bias=False)
        self.weight = nn.Linear(HIDDEN_CHANNELS, 1)

    def forward(self, scalars: Tensor, batch: CrystalBatch) -> Tensor:
        atoms = self.atoms(scalars)  # (N, H)
        hidden = atoms[batch.source] + atoms[batch.target] + self.length(batch.distances[:, None])
        # Bonds tell more of a strain than the many long edges, which may come and go.
        fade = torch.exp(-((batch.distances / BOND_LENGTH) ** 2))
        weight = self.weight(nn.functional.silu(hidden)) * fade[:, None]  # (E, 1)
        unit = batch.edge_vectors / batch.distances[:, None]  # (E, 3)
        outer = weight[:, :, None] * unit[:, :, None] * unit[:, None]  # (E, 3, 3)
        total = sum_by_index(outer.flatten(1), batch.batch[batch.target], len(batch))
        return (total / batch.n_atoms[:, None]).reshape(-1, 3, 3)  # (n, 3, 3)
