"""SchNet: continuous-filter convolutions."""

import math
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gnnpre._constraints import one_of, size
from gnnpre.graphs import CrystalBatch

from ._base import AtomFeatures, Backbone, BackboneModule
from ._layers import ELEMENT_STARTS, CosineEnvelope, ElementEmbedding, GaussianSmearing
from .messages import FilteredMessage, Neighbors

__all__ = ["SchNet"]


def shifted_softplus(x: Tensor) -> Tensor:
    """Return ``log(1 + exp(x)) - log(2)``, which is zero at zero."""
    return nn.functional.softplus(x) - math.log(2.0)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": nn.functional.silu,
    "softplus": shifted_softplus,
}


class SchNet(Backbone):
    """SchNet: the features of neighbours pass through filters that depend on the distance.

    Each layer updates the features ``x_i`` of atom i by those of its neighbours j::

        x_i <- x_i + W_3 g(W_2 sum_j (W_1 x_j) * F(d_ij) + b_2) + b_3
        F(d) = f(d) (A_2 g(A_1 radial(d) + a_1) + a_2)

    with ``f`` the cosine cutoff, ``g`` the activation and ``radial`` Gaussians of the distance.
    The published form is ``activation="softplus", aggregation="sum", element_start="uniform"``.

    Parameters
    ----------
    hidden_channels : int
        Number of channels of each atom and of the filters.
    n_layers : int
        Number of layers.
    n_radial : int
        Number of Gaussians, at equal distances from 0 to the cutoff; their standard deviation is
        the distance between two of them.
    activation : {"silu", "softplus"}
        SiLU, or the published shifted softplus, ``log(1 + exp(x)) - log(2)``.
    aggregation : {"scaled_sum", "sum"}
        Sum over neighbours, divided by the square root of their mean number in the training set (a
        constant of the model), or the published plain sum.
    element_start : {"properties", "uniform"}
        Initial embedding of the elements: random projections of their chemical properties, so that
        similar elements start alike, or random numbers.

    References
    ----------
    K. T. Schütt et al., J. Chem. Phys. 148, 241722 (2018), section II B.

    Examples
    --------
    >>> from gnnpre import SchNet
    >>> SchNet(hidden_channels=32)
    SchNet(hidden_channels=32)
    """

    _constraints: ClassVar = {
        "hidden_channels": size(),
        "n_layers": size(),
        "n_radial": size(low=1),
        "activation": one_of(*ACTIVATIONS),
        "aggregation": one_of("scaled_sum", "sum"),
        "element_start": one_of(*ELEMENT_STARTS),
    }

    def __init__(
        self,
        hidden_channels: int = 128,
        n_layers: int = 4,
        *,
        n_radial: int = 32,
        activation: str = "silu",
        aggregation: str = "scaled_sum",
        element_start: str = "properties",
    ) -> None:
        self.hidden_channels = hidden_channels
        self.n_layers = n_layers
        self.n_radial = n_radial
        self.activation = activation
        self.aggregation = aggregation
        self.element_start = element_start

    def build(self, cutoff: float, mean_neighbors: float = 1.0) -> "SchNetModule":
        self.check_parameters()
        return SchNetModule(self, cutoff, mean_neighbors)

    def search_space(self) -> dict[str, Any]:
        from optuna.distributions import CategoricalDistribution, IntDistribution

        return {
            "hidden_channels": CategoricalDistribution((64, 128, 256)),
            "n_layers": IntDistribution(2, 6),
        }


class SchNetModule(BackboneModule):
    """The network that :class:`SchNet` describes."""

    mean_neighbors: Tensor

    def __init__(self, config: SchNet, cutoff: float, mean_neighbors: float) -> None:
        channels, n_radial = config.hidden_channels, config.n_radial
        super().__init__(channels, config.max_atomic_number)
        self.scaled = config.aggregation == "scaled_sum"
        self.embedding = ElementEmbedding(channels, config.element_start)
        self.radial = GaussianSmearing(cutoff, n_radial, width=1.0 / (n_radial - 1))
        self.envelope = CosineEnvelope(cutoff)
        self.layers = nn.ModuleList(
            SchNetLayer(channels, n_radial, config.activation) for _ in range(config.n_layers)
        )
        self.register_buffer("mean_neighbors", torch.tensor(float(mean_neighbors)))

    def layer_features(self, batch: CrystalBatch) -> Iterator[AtomFeatures]:
        scale = self.mean_neighbors.rsqrt() if self.scaled else None
        neighbors = Neighbors.of(batch, self.compiled).scaled(scale)
        distances = batch.pair_vectors.norm(dim=1)  # (P,)
        radial = self.radial(distances)  # (P, n_radial)
        envelope = self.envelope(distances)[:, None]  # (P, 1)
        x = self.embedding(batch.atomic_numbers)  # (N, C)
        yield AtomFeatures(x)
        for layer in self.layers:
            x = x + layer(x, neighbors, radial, envelope)  # (N, C)
            yield AtomFeatures(x)


class SchNetLayer(nn.Module):
    """One continuous-filter convolution between two linear maps of the atoms."""

    def __init__(self, channels: int, n_radial: int, activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.filter_in = nn.Linear(n_radial, channels)
        self.filter_out = nn.Linear(channels, channels)
        self.source = nn.Linear(channels, channels, bias=False)
        self.update_in = nn.Linear(channels, channels)
        self.update_out = nn.Linear(channels, channels)
        self.message = FilteredMessage()

    def forward(self, x: Tensor, neighbors: Neighbors, radial: Tensor, envelope: Tensor) -> Tensor:
        filters = self.filter_out(self.activation(self.filter_in(radial))) * envelope  # (P, C)
        (gathered,) = neighbors.sum(self.message, filters, self.source(x))  # (N, C)
        return self.update_out(self.activation(self.update_in(gathered)))  # (N, C)
