"""The equivariant transformer, layer by layer as published.

P. Thölke and G. De Fabritiis, "Equivariant Transformers for Neural Network based Molecular
Potentials", ICLR (2022), section 3; names and order of the parts as in torchmd-net.
"""

import math

import torch
from torch import Tensor, nn

from .cgcnn import N_ELEMENTS
from .edges import Edges


class PlainTorchMDNet(nn.Module):
    """Scalars of atoms ``(N, C)``."""

    def __init__(
        self,
        channels: int,
        n_layers: int,
        n_heads: int,
        n_radial: int,
        cutoff: float,
        *,
        vector_cutoff: bool,
        scale: float,
    ) -> None:
        super().__init__()
        self.distance = ExpNormal(cutoff, n_radial)
        self.cosine = CosineCutoff(cutoff)
        self.embedding = nn.Linear(N_ELEMENTS, channels)
        self.neighbors = NeighborSum(channels, n_radial, scale)
        self.layers = nn.ModuleList(
            Attention(channels, n_heads, n_radial, vector_cutoff, scale) for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(channels)

    def forward(self, numbers: Tensor, edges: Edges) -> Tensor:
        cutoffs = self.cosine(edges.distances)  # (E,)
        radial = self.distance(edges.distances) * cutoffs[:, None]  # (E, n_radial)
        directions = edges.vectors / edges.distances[:, None]  # (E, 3)
        elements = nn.functional.one_hot(numbers - 1, N_ELEMENTS).to(radial.dtype)  # (N, 100)
        x = self.embedding(elements)  # (N, C)
        x = self.neighbors(elements, x, edges.index, radial, cutoffs)
        vectors = x.new_zeros(len(x), 3, x.shape[1])  # (N, 3, C)
        for layer in self.layers:
            dx, dvectors = layer(x, vectors, edges.index, radial, cutoffs, directions)
            x, vectors = x + dx, vectors + dvectors
        return self.norm(x)


class NeighborSum(nn.Module):
    """Scalars that know the elements around an atom."""

    def __init__(self, channels: int, n_radial: int, scale: float) -> None:
        super().__init__()
        self.embedding = nn.Linear(N_ELEMENTS, channels)
        self.distance_proj = nn.Linear(n_radial, channels)
        self.combine = nn.Linear(2 * channels, channels)
        self.scale = scale

    def forward(
        self, elements: Tensor, x: Tensor, index: Tensor, radial: Tensor, cutoffs: Tensor
    ) -> Tensor:
        source, target = index
        weight = self.distance_proj(radial) * cutoffs[:, None]  # (E, C)
        message = self.embedding(elements).index_select(0, source) * weight
        gathered = self.scale * torch.zeros_like(x).index_add(0, target, message)  # (N, C)
        return self.combine(torch.cat([x, gathered], dim=1))


class Attention(nn.Module):
    """One round of attention: changes of scalars and of vectors."""

    def __init__(
        self, channels: int, n_heads: int, n_radial: int, vector_cutoff: bool, scale: float
    ) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.vector_cutoff = vector_cutoff
        self.scale = scale
        self.layernorm = nn.LayerNorm(channels)
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, 3 * channels)
        self.o_proj = nn.Linear(channels, 3 * channels)
        self.vec_proj = nn.Linear(channels, 3 * channels, bias=False)
        self.dk_proj = nn.Linear(n_radial, channels)
        self.dv_proj = nn.Linear(n_radial, 3 * channels)

    def forward(
        self,
        x: Tensor,
        vectors: Tensor,
        index: Tensor,
        radial: Tensor,
        cutoffs: Tensor,
        directions: Tensor,
    ) -> tuple[Tensor, Tensor]:
        source, target = index
        y = self.layernorm(x)
        q, k, v = self.q_proj(y), self.k_proj(y), self.v_proj(y)  # (N, C), (N, C), (N, 3C)
        dk = nn.functional.silu(self.dk_proj(radial))  # (E, C)
        dv = nn.functional.silu(self.dv_proj(radial))  # (E, 3C)
        meeting = q.index_select(0, target) * k.index_select(0, source) * dk  # (E, C)
        attention = self._by_head(meeting).sum(dim=-1)  # (E, n_heads)
        attention = nn.functional.silu(attention) * cutoffs[:, None]
        to_scalar, along, gate = (v.index_select(0, source) * dv).chunk(3, dim=1)  # (E, C) each
        message = (self._by_head(to_scalar) * attention[:, :, None]).flatten(1)  # (E, C)
        arrows = vectors.index_select(0, source) * gate[:, None]  # (E, 3, C)
        arrows = arrows + along[:, None] * directions[:, :, None]
        if self.vector_cutoff:
            arrows = arrows * cutoffs[:, None, None]
        gathered = self.scale * torch.zeros_like(x).index_add(0, target, message)  # (N, C)
        pointing = self.scale * torch.zeros_like(vectors).index_add(0, target, arrows)
        o1, o2, o3 = self.o_proj(gathered).chunk(3, dim=1)  # (N, C) each
        u1, u2, u3 = self.vec_proj(vectors).chunk(3, dim=-1)  # (N, 3, C) each
        return o3 + o2 * (u1 * u2).sum(dim=1), o1[:, None] * u3 + pointing

    def _by_head(self, values: Tensor) -> Tensor:
        return values.view(len(values), self.n_heads, -1)


class ExpNormal(nn.Module):
    """Gaussians of ``exp(-5 d / cutoff)`` with trained centres and widths."""

    def __init__(self, cutoff: float, n_radial: int) -> None:
        super().__init__()
        start = math.exp(-cutoff)
        width = (2.0 / n_radial * (1.0 - start)) ** -2
        self.alpha = 5.0 / cutoff
        self.means = nn.Parameter(torch.linspace(start, 1.0, n_radial))
        self.betas = nn.Parameter(torch.full((n_radial,), width))

    def forward(self, distances: Tensor) -> Tensor:
        decay = torch.exp(-self.alpha * distances)[:, None]
        return torch.exp(-self.betas * (decay - self.means) ** 2)


class CosineCutoff(nn.Module):
    """``(1 + cos(pi d / cutoff)) / 2``, zero from the cutoff on."""

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff

    def forward(self, distances: Tensor) -> Tensor:
        value = 0.5 * (torch.cos(distances * math.pi / self.cutoff) + 1.0)
        return value * (distances < self.cutoff)
