"""Equivariant transformer of TorchMD-Net."""

import math
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from gnnpre._constraints import boolean, one_of, size
from gnnpre.graphs import CrystalBatch

from ._base import AtomFeatures, Backbone, BackboneModule
from ._layers import (
    ELEMENT_STARTS,
    CosineEnvelope,
    ElementEmbedding,
    ExpNormalSmearing,
    WhitenedNorm,
)
from .messages import AttentionMessage, FilteredMessage, LinearMap, Neighbors

__all__ = ["TorchMDNet"]


class TorchMDNet(Backbone):
    """Equivariant transformer of TorchMD-Net: attention, with scalars and vectors for each atom.

    Each layer sums over the neighbours j of an atom i, with ``y = LayerNorm(x)``, ``f`` the cosine
    cutoff, ``u_ij`` the unit vector from i to j and filters ``F = silu(linear(radial(d_ij)))``::

        a_ij = f silu(sum_head (Q y_i) * (K y_j) * F_k)
        s_i = sum_j a_ij (V_s y_j) * F_s
        w_i = sum_j f ((V_g y_j) * F_g * v_j + (V_u y_j) * F_u * u_ij)

    and updates, with ``o_1, o_2, o_3`` linear in ``s_i``::

        x_i <- x_i + o_3 + o_2 * <U_1 v_i, U_2 v_i>
        v_i <- v_i + o_1 * U_3 v_i + w_i

    Scalars start at ``linear([z_i, sum_j f linear(radial) * z'_j])`` with two embeddings ``z`` and
    ``z'`` of the elements, vectors at zero; a last LayerNorm acts on the scalars.

    The published form is ``n_layers=8, vector_cutoff=False, aggregation="sum",
    element_start="normal"`` with graphs of 8 Å; its energy jumps when a neighbour crosses the
    cutoff.

    Parameters
    ----------
    hidden_channels : int
        Number of channels of the scalars and of the vectors.
    n_layers : int
        Number of layers; 8 in the papers.
    n_heads : int
        Number of heads of attention; a divisor of ``hidden_channels``.
    n_radial : int
        Number of functions of the distance: Gaussians of ``exp(-5 d / cutoff)`` times the cosine
        cutoff.
    trainable_radial : bool
        Whether the centres and widths of these functions are trained.
    vector_cutoff : bool
        Whether ``w_i`` has the factor ``f``. The published form has none, so that energies jump at
        the cutoff; later versions of torchmd-net have an option of the same name.
    aggregation : {"scaled_sum", "sum"}
        Sums over neighbours, divided by the square root of the mean number of neighbours in the
        training set (a constant of the model), or plain sums as published.
    vector_norm : {"whitened"} or None
        Whether the final vectors are whitened, which stabilises denoising by a head on them.
        Scalars do not depend on it. The original adds a term that depends on the axes, which is
        left out here.
    element_start : {"properties", "uniform", "normal"}
        Initial embeddings of the elements, which are trained: random projections of period, group,
        block, covalent radius and electronegativity, so that similar elements start alike; those
        of a linear layer; or a standard normal distribution, as published.

    Notes
    -----
    ``u_ij`` is ``batch.edge_vectors`` at unit length, from the atom that receives to the one that
    sends, as in the published code. The opposite sign would reverse all vectors and change no
    scalar. No atom is its own neighbour at distance zero, as in the papers' code for crystals but
    not in torchmd-net. Periodic images of an atom are its neighbours, in the first embedding too,
    where the published code leaves them out.

    In the first layer all ``v_j`` are zero, so the weights that act on them are left out: 105,216
    weights of the published form, which do not change its values.

    References
    ----------
    P. Thölke and G. De Fabritiis, "Equivariant Transformers for Neural Network based Molecular
    Potentials", ICLR (2022), section 3; S. Zaidi et al., "Pre-training via Denoising for Molecular
    Property Prediction", ICLR (2023), whitened vectors; S. Jia et al., "Derivative-based
    pre-training of graph neural networks for materials property predictions", Digital Discovery
    (2024), the papers' setting.

    Examples
    --------
    >>> from gnnpre import TorchMDNet
    >>> TorchMDNet(hidden_channels=64, n_layers=2)
    TorchMDNet(hidden_channels=64, n_layers=2)
    """

    _constraints: ClassVar = {
        "hidden_channels": size(),
        "n_layers": size(),
        "n_heads": size(),
        "n_radial": size(),
        "trainable_radial": boolean,
        "vector_cutoff": boolean,
        "aggregation": one_of("scaled_sum", "sum"),
        "vector_norm": one_of(None, "whitened"),
        "element_start": one_of(*ELEMENT_STARTS, "normal"),
    }

    def __init__(
        self,
        hidden_channels: int = 128,
        n_layers: int = 4,
        *,
        n_heads: int = 8,
        n_radial: int = 50,
        trainable_radial: bool = True,
        vector_cutoff: bool = True,
        aggregation: str = "scaled_sum",
        vector_norm: str | None = None,
        element_start: str = "properties",
    ) -> None:
        self.hidden_channels = hidden_channels
        self.n_layers = n_layers
        self.n_heads = n_heads
        self.n_radial = n_radial
        self.trainable_radial = trainable_radial
        self.vector_cutoff = vector_cutoff
        self.aggregation = aggregation
        self.vector_norm = vector_norm
        self.element_start = element_start

    def check_parameters(self) -> None:
        super().check_parameters()
        if self.hidden_channels % self.n_heads:
            raise ValueError(
                f"n_heads={self.n_heads!r}; expected a divisor of "
                f"hidden_channels={self.hidden_channels!r}."
            )

    def build(self, cutoff: float, mean_neighbors: float = 1.0) -> "TorchMDNetModule":
        self.check_parameters()
        return TorchMDNetModule(self, cutoff, mean_neighbors)

    def search_space(self) -> dict[str, Any]:
        from optuna.distributions import CategoricalDistribution, IntDistribution

        widths = [width for width in (64, 128, 256) if width % self.n_heads == 0]
        return {
            "hidden_channels": CategoricalDistribution(widths or [self.hidden_channels]),
            "n_layers": IntDistribution(2, 6),
        }


class _Edges(NamedTuple):
    """The inputs of all layers that depend on the P pairs of edges."""

    neighbors: Neighbors
    radial: Tensor  # (P, n_columns)
    columns: Tensor  # indices of these among the n_radial functions
    envelope: Tensor  # (P,)
    directions: Tensor  # (P, 3), times the envelope with vector_cutoff

    def filters(self, linear: nn.Linear) -> LinearMap:
        """Return a linear map of the radial functions, (P, ...)."""
        return LinearMap(self.radial, linear.weight.index_select(1, self.columns), linear.bias)


class TorchMDNetModule(BackboneModule):
    """The network that :class:`TorchMDNet` describes."""

    mean_neighbors: Tensor

    def __init__(self, config: TorchMDNet, cutoff: float, mean_neighbors: float) -> None:
        channels = config.hidden_channels
        super().__init__(channels, config.max_atomic_number)
        self.scaled = config.aggregation == "scaled_sum"
        self.vector_cutoff = config.vector_cutoff
        self.radial = ExpNormalSmearing(cutoff, config.n_radial, config.trainable_radial)
        self.envelope = CosineEnvelope(cutoff)
        self.embedding = NeighborEmbedding(channels, config.n_radial, config.element_start)
        self.layers = nn.ModuleList(
            AttentionLayer(
                channels, config.n_heads, config.n_radial, config.vector_cutoff, first=layer == 0
            )
            for layer in range(config.n_layers)
        )
        self.norm = nn.LayerNorm(channels)
        self.vector_norm = WhitenedNorm(channels) if config.vector_norm else None
        self.register_buffer("mean_neighbors", torch.tensor(float(mean_neighbors)))

    def layer_features(self, batch: CrystalBatch) -> Iterator[AtomFeatures]:
        """Yield the atom features before the first layer, then after each layer."""
        edges = self._edges(batch)
        x = self.embedding(batch.atomic_numbers, edges)  # (N, C)
        vectors = None  # all zero before the first layer
        yield AtomFeatures(x, vectors)
        for layer in self.layers:
            x, vectors = layer(x, vectors, edges)  # (N, C), (N, 3, C)
            yield AtomFeatures(x, vectors)

    def forward(self, batch: CrystalBatch) -> AtomFeatures:
        """Return the atom features after the last layer, normalised."""
        x, vectors = super().forward(batch)
        if self.vector_norm is not None:
            vectors = self.vector_norm(vectors)
        return AtomFeatures(self.norm(x), vectors)

    def layer_patterns(self) -> list[tuple[str, ...]]:
        """Return the weights of each layer; the norms at the end belong to the last."""
        *before, last = super().layer_patterns()
        return [*before, (*last, "norm.*", "vector_norm.*")]

    def _edges(self, batch: CrystalBatch) -> _Edges:
        # Not the number itself: a sum of n independent messages grows with the root of n.
        scale = self.mean_neighbors.rsqrt() if self.scaled else None
        neighbors = Neighbors.of(batch, self.compiled).scaled(scale)
        vectors = batch.pair_vectors  # (P, 3)
        distances = vectors.norm(dim=1, keepdim=True)  # (P, 1)
        envelope = self.envelope(distances)  # (P, 1)
        directions = vectors / distances
        columns = self.radial.columns(distances)
        return _Edges(
            neighbors,
            radial=self.radial(distances[:, 0], columns) * envelope,
            columns=columns,
            envelope=envelope[:, 0],
            directions=directions * envelope if self.vector_cutoff else directions,
        )


class NeighborEmbedding(nn.Module):
    """The initial scalars: embeddings of an atom's element and of those of its neighbours."""

    def __init__(self, channels: int, n_radial: int, start: str) -> None:
        super().__init__()
        self.own = ElementEmbedding(channels, start)
        self.neighbor = ElementEmbedding(channels, start)
        self.edge = xavier_linear(n_radial, [channels])
        self.combine = xavier_linear(2 * channels, [channels])
        self.message = FilteredMessage()

    def forward(self, atomic_numbers: Tensor, edges: _Edges) -> Tensor:
        filters = edges.filters(self.edge).product() * edges.envelope[:, None]  # (P, C)
        neighbors = self.neighbor(atomic_numbers)  # (N, C)
        (gathered,) = edges.neighbors.sum(self.message, filters, neighbors)  # (N, C)
        return self.combine(torch.cat([self.own(atomic_numbers), gathered], dim=1))


class AttentionLayer(nn.Module):
    """One layer of attention.

    One linear map of each atom returns its key and its values (of scalars, directions and, except
    in the first layer, vectors); another one of each pair of atoms returns their filters.
    """

    def __init__(
        self, channels: int, n_heads: int, n_radial: int, vector_cutoff: bool, *, first: bool
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.message = AttentionMessage(n_heads, vectors=not first, vector_cutoff=vector_cutoff)
        self.query = xavier_linear(channels, [channels])
        values = 2 * channels if first else 3 * channels
        published = [channels, 3 * channels]
        self.send = xavier_linear(channels, [channels, values], published)
        self.edge = xavier_linear(n_radial, [channels, values], published)
        outputs = channels if first else 3 * channels
        self.output = xavier_linear(channels, [outputs], [3 * channels])
        self.mix = None if first else nn.Linear(channels, 3 * channels, bias=False)
        if self.mix is not None:
            nn.init.xavier_uniform_(self.mix.weight)

    def forward(self, x: Tensor, vectors: Tensor | None, edges: _Edges) -> tuple[Tensor, Tensor]:
        scalars, gathered = self._attend(self.norm(x), vectors, edges)  # (N, C), (N, 3, C)
        if self.mix is None or vectors is None:  # the first layer
            return x + self.output(scalars), gathered
        o_vector, o_dot, o_scalar = self.output(scalars).chunk(3, dim=-1)  # (N, C) each
        first, second, third = self.mix(vectors).chunk(3, dim=-1)  # (N, 3, C) each
        x = x + o_scalar + o_dot * (first * second).sum(dim=1)
        return x, vectors + o_vector[:, None] * third + gathered

    def _attend(self, y: Tensor, vectors: Tensor | None, edges: _Edges) -> tuple[Tensor, ...]:
        """Return sums over neighbours: scalars ``(N, C)`` and vectors ``(N, 3, C)``."""
        of_atoms = self.query(y), self.send(y)  # (N, C), (N, 4C)
        of_pairs = edges.filters(self.edge), edges.envelope, edges.directions
        last = () if vectors is None else (vectors,)
        return edges.neighbors.sum(self.message, *of_atoms, *of_pairs, *last)


def xavier_linear(
    in_channels: int, sizes: list[int], published: list[int] | None = None
) -> nn.Linear:
    """Build one linear layer in place of several with ``sizes`` outputs.

    The weights of each start as Xavier initialisation would for its ``published`` number of
    outputs.
    """
    linear = nn.Linear(in_channels, sum(sizes))
    nn.init.zeros_(linear.bias)
    for weight, n_outputs in zip(linear.weight.split(sizes), published or sizes, strict=True):
        bound = math.sqrt(6.0 / (in_channels + n_outputs))
        nn.init.uniform_(weight, -bound, bound)
    return linear
