"""Crystal graph convolutional neural network."""

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gnnpre._constraints import boolean, number, one_of, size
from gnnpre.graphs import CrystalBatch

from ._base import AtomFeatures, Backbone, BackboneModule
from ._layers import (
    ELEMENT_STARTS,
    ENVELOPES,
    ElementEmbedding,
    GaussianSmearing,
    JointBatchNorm,
    sum_by_index,
)
from .messages import SILU, SOFTPLUS, Activation, GatedMessage, LinearMap, Neighbors

ACTIVATIONS: dict[str, Activation] = {"silu": SILU, "softplus": SOFTPLUS}

__all__ = ["CGCNN"]


class CGCNN(Backbone):
    """Crystal graph convolutional neural network, with smooth energies by default.

    Each layer adds to the features ``x_i`` of atom i the messages of its neighbours j::

        x_i <- x_i + sum_j envelope(d_ij) sigmoid(W_f z_ij + b_f) * g(W_s z_ij + b_s)

    with ``z_ij = [x_i, x_j, e_ij]``, ``e_ij`` Gaussians of the distance, and ``g`` the activation.
    The published form is ``envelope=None, aggregation="mean", activation="softplus",
    element_start="uniform"``; its energy jumps when a neighbour crosses the cutoff.

    Parameters
    ----------
    hidden_channels : int
        Number of channels of each atom.
    n_layers : int
        Number of layers.
    n_radial : int
        Number of Gaussians of the distance.
    smearing_width : float
        Standard deviation of the Gaussians, as a fraction of the cutoff. The papers' code has 0.05
        in one version and 0.2 in another.
    envelope : {"polynomial", "cosine"} or None
        Function that brings messages to zero at the cutoff, or none.
    aggregation : {"scaled_sum", "mean", "sum"}
        Sum of the messages, divided by the square root of the mean number of neighbours in the
        training set (a constant of the model); their mean, which jumps when a neighbour enters; or
        their sum.
    activation : {"silu", "softplus"}
        ``g`` above; SiLU has the cheaper second derivative.
    element_start : {"properties", "uniform"}
        Initial embedding of the elements, which is trained: random projections of period, group,
        block, covalent radius and electronegativity, so that similar elements start alike; or
        random numbers, as in the papers. With a few thousand crystals the first learns far more.
    batch_norm : bool
        Whether to normalise the sums over the batch, as the original does. Crystals of one batch
        then depend on each other in training.

    References
    ----------
    T. Xie and J. C. Grossman, Phys. Rev. Lett. 120, 145301 (2018), equation 5; S. Jia et al.,
    "Derivative-based pre-training of graph neural networks for materials property predictions",
    Digital Discovery (2024).

    Examples
    --------
    >>> from gnnpre import CGCNN
    >>> CGCNN(hidden_channels=32)
    CGCNN(hidden_channels=32)
    """

    _constraints: ClassVar = {
        "hidden_channels": size(),
        "n_layers": size(),
        "n_radial": size(),
        # In units of the cutoff; its square is divided by.
        "smearing_width": number(low=1e-4, high=100, low_included=True),
        "envelope": one_of(None, *ENVELOPES),
        "aggregation": one_of("scaled_sum", "mean", "sum"),
        "activation": one_of(*ACTIVATIONS),
        "element_start": one_of(*ELEMENT_STARTS),
        "batch_norm": boolean,
    }

    def __init__(
        self,
        hidden_channels: int = 64,
        n_layers: int = 3,
        *,
        n_radial: int = 50,
        smearing_width: float = 0.05,
        envelope: str | None = "polynomial",
        aggregation: str = "scaled_sum",
        activation: str = "silu",
        element_start: str = "properties",
        batch_norm: bool = False,
    ) -> None:
        self.hidden_channels = hidden_channels
        self.n_layers = n_layers
        self.n_radial = n_radial
        self.smearing_width = smearing_width
        self.envelope = envelope
        self.aggregation = aggregation
        self.activation = activation
        self.element_start = element_start
        self.batch_norm = batch_norm

    def build(self, cutoff: float, mean_neighbors: float = 1.0) -> "CGCNNModule":
        self.check_parameters()
        return CGCNNModule(self, cutoff, mean_neighbors)

    def search_space(self) -> dict[str, Any]:
        from optuna.distributions import CategoricalDistribution, IntDistribution

        return {
            "hidden_channels": CategoricalDistribution((32, 64, 128)),
            "n_layers": IntDistribution(2, 5),
        }


class CGCNNModule(BackboneModule):
    """The network that :class:`CGCNN` describes."""

    mean_neighbors: Tensor

    def __init__(self, config: CGCNN, cutoff: float, mean_neighbors: float) -> None:
        channels = config.hidden_channels
        super().__init__(channels, config.max_atomic_number)
        self.aggregation = config.aggregation
        self.embedding = ElementEmbedding(channels, config.element_start)
        self.radial = GaussianSmearing(cutoff, config.n_radial, config.smearing_width)
        self.envelope = ENVELOPES[config.envelope](cutoff) if config.envelope else None
        self.layers = nn.ModuleList(
            CGCNNLayer(channels, config.n_radial, config.activation, config.batch_norm)
            for _ in range(config.n_layers)
        )
        self.register_buffer("mean_neighbors", torch.tensor(float(mean_neighbors)))

    def layer_features(self, batch: CrystalBatch) -> Iterator[AtomFeatures]:
        """Yield the atom features before the first layer, then after each layer."""
        neighbors = Neighbors.of(batch, self.compiled)
        neighbors = neighbors.scaled(self._scale(batch))
        # Distances and all that depends on them alone: once for each pair of opposite edges.
        distances = batch.pair_vectors.norm(dim=1)  # (P,)
        weight = torch.ones_like(distances) if self.envelope is None else self.envelope(distances)
        radial = self.radial(distances)  # (P, n_radial)
        # Wide Gaussians overlap: r < n_radial combinations of them hold the same information.
        components = self.radial.components(distances)  # (n_radial, r) or None
        radial = radial if components is None else radial @ components  # (P, r)
        x = nn.functional.silu(self.embedding(batch.atomic_numbers))  # (N, C)
        yield AtomFeatures(x)
        for layer in self.layers:
            x = layer(x, neighbors, radial, components, weight)  # (N, C)
            yield AtomFeatures(x)

    def _scale(self, batch: CrystalBatch) -> Tensor | None:
        """Return the factor of the sums of messages."""
        if self.aggregation == "sum":
            return None
        if self.aggregation == "scaled_sum":
            # Not the number itself: a sum of n independent messages grows with the root of n.
            return self.mean_neighbors.rsqrt()
        # Not bincount, which waits for a GPU.
        ones = batch.edge_vectors.new_ones(len(batch.target))
        counts = sum_by_index(ones, batch.target, len(batch.atomic_numbers))
        return 1.0 / counts.clamp(min=1.0)[:, None]  # (N, 1)


class CGCNNLayer(nn.Module):
    """One layer: a linear map of ``[x_i, x_j, e_ij]``, the gated message, and its sum.

    The linear map is split in three: ``x_i`` and ``x_j`` are mapped once for each atom and ``e_ij``
    once for each pair of atoms, none once for each edge.
    """

    def __init__(self, channels: int, n_radial: int, activation: str, batch_norm: bool) -> None:
        super().__init__()
        self.target = nn.Linear(channels, 2 * channels)
        self.source = nn.Linear(channels, 2 * channels, bias=False)
        self.edge = nn.Linear(n_radial, 2 * channels, bias=False)
        self.message = GatedMessage(ACTIVATIONS[activation])
        self.norm = JointBatchNorm(channels) if batch_norm else None
        # The three initialised as one linear layer of 2 C + n_radial inputs.
        bound = 1.0 / math.sqrt(2 * channels + n_radial)
        for parameter in (*self.target.parameters(), self.source.weight, self.edge.weight):
            nn.init.uniform_(parameter, -bound, bound)

    def forward(
        self,
        x: Tensor,
        neighbors: Neighbors,
        radial: Tensor,
        components: Tensor | None,
        weight: Tensor,
    ) -> Tensor:
        weights = self.edge.weight if components is None else self.edge.weight @ components
        edge = LinearMap(radial, weights)  # (P, 2C)
        (gathered,) = neighbors.sum(self.message, self.target(x), self.source(x), edge, weight)
        if self.norm is not None:
            gathered = self.norm(gathered)
        return x + gathered  # (N, C)
