"""CGCNN from torch-geometric's ``CGConv``.

T. Xie and J. C. Grossman, Phys. Rev. Lett. 120, 145301 (2018), equation 5; distances as Gaussians
and a linear layer with SiLU on one-hot elements as in the code of S. Jia et al. (2024).
"""

import torch
from torch import Tensor, nn
from torch_geometric.nn import CGConv

from .edges import Edges

N_ELEMENTS = 100


class PlainCGCNN(nn.Module):
    """Features of atoms ``(N, C)``.

    ``envelope=False, activation="softplus", aggr="mean"`` is the published form, made of ``CGConv``
    itself. ``scale`` multiplies what ``aggr="add"`` gives.
    """

    def __init__(
        self,
        channels: int,
        n_layers: int,
        n_radial: int,
        cutoff: float,
        *,
        width: float,
        envelope: bool,
        activation: str,
        aggr: str,
        scale: float,
    ) -> None:
        super().__init__()
        self.pre = nn.Linear(N_ELEMENTS, channels)
        published = activation == "softplus" and not envelope and scale == 1.0
        if published:
            layers = [CGConv(channels, dim=n_radial, aggr=aggr) for _ in range(n_layers)]
        else:
            layers = [
                SmoothCGConv(channels, n_radial, aggr, activation, scale) for _ in range(n_layers)
            ]
        self.convolutions = nn.ModuleList(layers)
        self.smearing = Gaussians(cutoff, n_radial, width)
        self.envelope = SmoothCutoff(cutoff) if envelope else None
        self.published = published

    def forward(self, numbers: Tensor, edges: Edges) -> Tensor:
        x = nn.functional.one_hot(numbers - 1, N_ELEMENTS).to(edges.vectors.dtype)  # (N, 100)
        x = nn.functional.silu(self.pre(x))  # (N, C)
        features = self.smearing(edges.distances)  # (E, n_radial)
        if self.published:
            for convolution in self.convolutions:
                x = convolution(x, edges.index, features)
            return x
        weight = torch.ones_like(edges.distances)
        if self.envelope is not None:
            weight = self.envelope(edges.distances)
        for convolution in self.convolutions:
            x = convolution(x, edges.index, features, weight[:, None])
        return x


class SmoothCGConv(CGConv):
    """``CGConv`` with another activation, a weight for each edge and a constant for the sum."""

    def __init__(
        self, channels: int, n_radial: int, aggr: str, activation: str, scale: float
    ) -> None:
        super().__init__(channels, dim=n_radial, aggr=aggr)
        self.activation = {"silu": nn.SiLU(), "softplus": nn.Softplus()}[activation]
        self.scale = scale

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, weight: Tensor) -> Tensor:
        # torch-geometric reads the arguments off this line, or else takes those of CGConv:
        # propagate_type: (x: PairTensor, edge_attr: Tensor, weight: Tensor)
        gathered = self.propagate(edge_index, x=(x, x), edge_attr=edge_attr, weight=weight)
        return x + self.scale * gathered

    def message(self, x_i: Tensor, x_j: Tensor, edge_attr: Tensor, weight: Tensor) -> Tensor:
        z = torch.cat([x_i, x_j, edge_attr], dim=-1)  # (E, 2C + n_radial)
        return weight * self.lin_f(z).sigmoid() * self.activation(self.lin_s(z))  # (E, C)


class Gaussians(nn.Module):
    """Gaussians on an even grid from 0 to the cutoff, ``width`` a part of the cutoff."""

    offset: Tensor

    def __init__(self, cutoff: float, n_radial: int, width: float) -> None:
        super().__init__()
        self.register_buffer("offset", torch.linspace(0.0, cutoff, n_radial))
        self.coefficient = -0.5 / (width * cutoff) ** 2

    def forward(self, distances: Tensor) -> Tensor:
        difference = distances.view(-1, 1) - self.offset.view(1, -1)
        return torch.exp(self.coefficient * difference.pow(2))


class SmoothCutoff(nn.Module):
    """``1 - 28 x^6 + 48 x^7 - 21 x^8`` (Gasteiger et al. 2020, equation 8, p = 6)."""

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff

    def forward(self, distances: Tensor) -> Tensor:
        x = distances / self.cutoff
        value = 1.0 - 28.0 * x.pow(6) + 48.0 * x.pow(7) - 21.0 * x.pow(8)
        return value * (x < 1.0)
