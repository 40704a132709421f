"""Layers and small functions that backbones and heads share."""

import torch
from torch import Tensor, nn

from ._elements import N_ELEMENTS, element_properties

__all__ = [
    "ACTIVATIONS",
    "ELEMENT_STARTS",
    "ENVELOPES",
    "CosineEnvelope",
    "ElementEmbedding",
    "GaussianSmearing",
    "PolynomialEnvelope",
    "make_mlp",
    "sum_by_index",
]

ELEMENT_STARTS = ("properties", "uniform")
ACTIVATIONS: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "softplus": nn.Softplus}


class ElementEmbedding(nn.Module):
    """A linear layer on one-hot elements, read as a table.

    It starts as any linear layer does (``"uniform"``), or as random projections of the properties
    of the elements (``"properties"``), so that what is learnt of one holds for its neighbours in
    the periodic table until data say otherwise.
    """

    def __init__(self, channels: int, start: str) -> None:
        super().__init__()
        self.linear = nn.Linear(N_ELEMENTS, channels)
        if start == "properties":
            properties = element_properties().to(self.linear.weight.dtype)
            projections = 0.5 * torch.randn(properties.shape[1], channels)
            own = 0.1 * torch.randn(N_ELEMENTS, channels)
            with torch.no_grad():
                self.linear.weight.copy_((properties @ projections + own).t())
                self.linear.bias.copy_(0.3 * torch.randn(channels))

    def forward(self, atomic_numbers: Tensor) -> Tensor:
        table = self.linear.weight.t() + self.linear.bias  # (n_elements, C)
        return table.index_select(0, atomic_numbers - 1)  # (N, C)


class GaussianSmearing(nn.Module):
    """Distances as Gaussians on an even grid from 0 to the cutoff (Jia et al. 2024).

    ``width`` is their standard deviation as a part of the cutoff.
    """

    centers: Tensor

    def __init__(self, cutoff: float, n_radial: int, width: float) -> None:
        super().__init__()
        self.register_buffer("centers", torch.linspace(0.0, cutoff, n_radial))
        self.coefficient = -0.5 / (width * cutoff) ** 2

    def forward(self, distances: Tensor) -> Tensor:
        offsets = distances[:, None] - self.centers  # (E, n_radial)
        return torch.exp(self.coefficient * offsets * offsets)


class PolynomialEnvelope(nn.Module):
    """``1 - 28 x^6 + 48 x^7 - 21 x^8`` with x = distance / cutoff: zero at 1, twice smoothly.

    Equation 8 of Gasteiger et al., "Directional Message Passing for Molecular Graphs" (2020),
    with p = 6.
    """

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff

    def forward(self, distances: Tensor) -> Tensor:
        x = (distances / self.cutoff).clamp(max=1.0)  # (E,)
        x3 = x * x * x
        return 1.0 + x3 * x3 * (-28.0 + x * (48.0 - 21.0 * x))


class CosineEnvelope(nn.Module):
    """``(1 + cos(pi x)) / 2`` with x = distance / cutoff: zero at 1, once smoothly."""

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff

    def forward(self, distances: Tensor) -> Tensor:
        x = (distances / self.cutoff).clamp(max=1.0)  # (E,)
        return 0.5 * (1.0 + torch.cos(torch.pi * x))


ENVELOPES: dict[str, type[nn.Module]] = {
    "polynomial": PolynomialEnvelope,
    "cosine": CosineEnvelope,
}


def make_mlp(
    in_channels: int, hidden_channels: int, n_layers: int, out_channels: int
) -> nn.Sequential:
    """``n_layers`` hidden layers with SiLU, then a linear one."""
    layers: list[nn.Module] = []
    for _ in range(n_layers):
        layers += [nn.Linear(in_channels, hidden_channels), nn.SiLU()]
        in_channels = hidden_channels
    return nn.Sequential(*layers, nn.Linear(in_channels, out_channels))


def sum_by_index(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Sum rows of ``values`` that share an index: ``(E, ...) -> (size, ...)``."""
    # index_add, as segment_reduce has no second derivative.
    return values.new_zeros((size, *values.shape[1:])).index_add(0, index, values)
