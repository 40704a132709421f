"""An equivariant head: from scalars and vectors of an atom to one vector."""

import torch
from torch import Tensor, nn

from gnnpre.backbones import BackboneModule
from gnnpre.graphs import CrystalBatch

__all__ = ["VectorHead", "vector_channels"]


@torch.no_grad()
def vector_channels(backbone: BackboneModule) -> int | None:
    """Return the number of vector channels of a backbone; None where it has none."""
    dtype = next(backbone.parameters()).dtype
    # One atom without edges: the cheapest batch that every backbone accepts.
    atom = CrystalBatch(
        atomic_numbers=torch.ones(1, dtype=torch.long),
        positions=torch.zeros(1, 3, dtype=dtype),
        cell=torch.eye(3, dtype=dtype)[None],
        pbc=torch.zeros(1, 3, dtype=torch.bool),
        n_atoms=torch.ones(1, dtype=torch.long),
        edge_index=torch.zeros(2, 0, dtype=torch.long),
        edge_shift=torch.zeros(0, 3, dtype=torch.int8),
        edge_vectors=torch.zeros(0, 3, dtype=dtype),
        batch=torch.zeros(1, dtype=torch.long),
    )
    training = backbone.training
    vectors = backbone.eval()(atom).vectors
    backbone.train(training)
    return None if vectors is None else vectors.shape[-1]


class VectorHead(nn.Module):
    """Gated equivariant blocks, from scalars and vectors of an atom to one vector."""

    def __init__(self, scalars: int, vectors: int, hidden_channels: int, n_layers: int) -> None:
        super().__init__()
        blocks = []
        for _ in range(n_layers):
            blocks.append(GatedBlock(scalars, vectors, hidden_channels, hidden_channels))
            scalars = vectors = hidden_channels
        self.blocks = nn.ModuleList([*blocks, GatedBlock(scalars, vectors, hidden_channels, 1)])

    def forward(self, scalars: Tensor, vectors: Tensor) -> Tensor:
        for block in self.blocks:
            scalars, vectors = block(scalars, vectors)
        return vectors[:, :, 0]  # (N, 3)


class GatedBlock(nn.Module):
    """Update scalars by the lengths of vectors; mix the vectors, gated by the scalars."""

    def __init__(self, scalars: int, vectors: int, hidden: int, out_channels: int) -> None:
        super().__init__()
        self.measured = nn.Linear(vectors, vectors, bias=False)
        self.mixed = nn.Linear(vectors, out_channels, bias=False)
        self.update = nn.Sequential(
            nn.Linear(scalars + vectors, hidden), nn.SiLU(), nn.Linear(hidden, 2 * out_channels)
        )

    def forward(self, scalars: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        # The gradient of this norm at zero is zero.
        lengths = torch.linalg.vector_norm(self.measured(vectors), dim=1)  # (N, C)
        scalars, gates = self.update(torch.cat([scalars, lengths], dim=1)).chunk(2, dim=1)
        return nn.functional.silu(scalars), gates[:, None] * self.mixed(vectors)
