"""Equivariant heads: vectors, symmetric matrices and elastic tensors of crystals.

Everything is built from invariant features, vectors of atoms and directions of edges, so that a
tensor turns with its crystal whatever the weights. Products of vectors of atoms are not enough: an
atom on a centre of inversion has no vector, though its crystal may be anisotropic. Sums over edges
of ``u u`` and ``u u u u``, with ``u`` the direction of an edge, are even and do not vanish there.
A cubic crystal, for example, has no vectors and no traceless matrix at all, yet three elastic
constants: the third comes from ``u u u u``.
"""

import math

import torch
from torch import Tensor, nn

from gnnpre.backbones import Readout, sum_by_index
from gnnpre.graphs import CrystalBatch

from ._tensor_forms import MATRIX_BASIS, stiffness_basis
from ._vector_head import VectorHead

__all__ = ["MatrixHead", "PooledVectorHead", "StiffnessHead", "pool_atoms_of"]

# Width of the weights of edges: they are few numbers, of which there are many.
EDGE_CHANNELS = 32
# Gaussians of the length of an edge, on an even grid from zero to the cutoff.
N_RADIAL = 12
# Pairs of vectors of an atom whose products are summed.
VECTOR_PAIRS = 16


def pool_atoms_of(values: Tensor, batch: CrystalBatch, index: Tensor, pooling: str) -> Tensor:
    """Sum rows (M, ...), whose atoms are ``index``, over crystals; or their mean over its atoms."""
    total = sum_by_index(values.flatten(1), batch.batch[index], len(batch))
    if pooling == "mean":
        total = total / batch.n_atoms[:, None]
    return total.reshape(-1, *values.shape[1:])


class PooledVectorHead(nn.Module):
    """A vector for each crystal: gated equivariant blocks on each atom, then a mean or sum."""

    def __init__(
        self, scalars: int, vectors: int, hidden_channels: int, n_layers: int, pooling: str
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.atoms = VectorHead(scalars, vectors, hidden_channels, n_layers)

    def forward(self, scalars: Tensor, vectors: Tensor, batch: CrystalBatch) -> Tensor:
        of_atoms = self.atoms(scalars, vectors)  # (N, 3)
        atoms = torch.arange(len(of_atoms), device=of_atoms.device)
        return pool_atoms_of(of_atoms, batch, atoms, self.pooling)  # (n, 3)


class EdgeWeights(nn.Module):
    """Invariant weights of edges, from the features of both atoms and the length.

    They go to zero smoothly at the cutoff of the graphs, which :meth:`set_scales` sets together
    with the mean number of neighbours that sums over edges are divided by.
    """

    cutoff: Tensor
    neighbors: Tensor

    def __init__(self, in_channels: int, n_weights: int) -> None:
        super().__init__()
        self.register_buffer("cutoff", torch.tensor(6.0))
        self.register_buffer("neighbors", torch.tensor(1.0))
        self.atoms = nn.Linear(in_channels, EDGE_CHANNELS)
        self.length = nn.Linear(N_RADIAL, EDGE_CHANNELS, bias=False)
        self.weights = nn.Linear(EDGE_CHANNELS, n_weights)

    def set_scales(self, cutoff: float, neighbors: float) -> None:
        """Set the cutoff (Å) and the mean number of neighbours of the training crystals."""
        self.cutoff.fill_(cutoff)
        self.neighbors.fill_(max(neighbors, 1.0))

    def forward(self, scalars: Tensor, batch: CrystalBatch) -> Tensor:
        fraction = (batch.distances / self.cutoff).clamp(max=1.0)  # (E,)
        centres = torch.arange(N_RADIAL, device=fraction.device)
        radial = torch.exp(-0.5 * (fraction[:, None] * N_RADIAL - centres) ** 2)  # (E, R)
        envelope = 0.5 * (1 + torch.cos(math.pi * fraction)) / self.neighbors  # (E,)
        atoms = self.atoms(scalars)  # (N, H)
        sent, received = atoms.index_select(0, batch.source), atoms.index_select(0, batch.target)
        hidden = sent + received + self.length(radial)  # (E, H)
        weights: Tensor = self.weights(nn.functional.silu(hidden)) * envelope[:, None]  # (E, W)
        return weights


class MatrixHead(nn.Module):
    """Symmetric traceless matrices for each crystal, in the coordinates of ``MATRIX_BASIS``."""

    basis: Tensor

    def __init__(
        self,
        scalars: int,
        vectors: int,
        hidden_channels: int,
        n_layers: int,
        pooling: str,
        n_matrices: int = 1,
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.n_matrices = n_matrices
        # In float64, whatever the precision of the weights: rounded square roots would turn badly.
        self.register_buffer("basis", torch.tensor(MATRIX_BASIS), persistent=False)
        self.mix = nn.Linear(vectors, 2 * VECTOR_PAIRS, bias=False)
        n_gates = VECTOR_PAIRS * n_matrices
        self.gates = Readout(
            scalars, n_gates, hidden_channels=hidden_channels, n_layers=n_layers
        ).mlp
        self.edges = EdgeWeights(scalars, n_matrices)

    def forward(self, scalars: Tensor, vectors: Tensor, batch: CrystalBatch) -> Tensor:
        basis = self.basis.to(scalars.dtype)
        # 1. products of pairs of vectors of each atom
        first, second = self.mix(vectors).chunk(2, dim=2)  # (N, 3, K) each
        products = torch.einsum("nik,njk,mij->nkm", first, second, basis)  # (N, K, 6)
        gates = self.gates(scalars).reshape(len(scalars), self.n_matrices, VECTOR_PAIRS)
        of_atoms = torch.einsum("nok,nkm->nom", gates, products)  # (N, O, 6)
        atoms = torch.arange(len(of_atoms), device=of_atoms.device)
        total = pool_atoms_of(of_atoms, batch, atoms, self.pooling)  # (n, O, 6)
        # 2. directions of edges
        weights = self.edges(scalars, batch)  # (E, O)
        of_edges = weights[:, :, None] * direction_products(batch, basis)[:, None]  # (E, O, 6)
        total = total + pool_atoms_of(of_edges, batch, batch.target, self.pooling)
        # 3. without a trace
        trace = total[..., :3].mean(dim=-1, keepdim=True)  # (n, O, 1)
        return torch.cat([total[..., :3] - trace, total[..., 3:]], dim=-1)


def direction_products(batch: CrystalBatch, basis: Tensor) -> Tensor:
    """Return ``u u`` of the direction ``u`` of each edge, in coordinates: ``(E, 6)``."""
    directions = batch.edge_vectors / batch.distances[:, None]  # (E, 3)
    return torch.einsum("ei,ej,mij->em", directions, directions, basis)


class StiffnessHead(nn.Module):
    """Elastic tensors for each crystal without an isotropic part of their own: ``(n, 21)``.

    Two matrices ``A`` and ``B`` and a sum over edges::

        C_ijkl = A_ij d_kl + d_ij A_kl + d_ik B_jl + d_il B_jk + d_jk B_il + d_jl B_ik
                 + sum_edges w u_i u_j u_k u_l

    span all tensors with the symmetries of elasticity, together with the two isotropic ones.
    """

    coordinates: Tensor
    identity: Tensor
    shear: Tensor

    def __init__(
        self, scalars: int, vectors: int, hidden_channels: int, n_layers: int, pooling: str
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.matrices = MatrixHead(scalars, vectors, hidden_channels, n_layers, pooling, 2)
        self.edges = EdgeWeights(scalars, 1)
        # (21, 6, 6): scalar products with these are the coordinates of a 6x6 matrix.
        self.register_buffer("coordinates", torch.tensor(stiffness_basis()), persistent=False)
        self.register_buffer("shear", shear_products(), persistent=False)
        identity = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
        self.register_buffer("identity", identity, persistent=False)

    def forward(self, scalars: Tensor, vectors: Tensor, batch: CrystalBatch) -> Tensor:
        first, second = self.matrices(scalars, vectors, batch).unbind(dim=1)  # (n, 6) each
        # 1. both matrices
        outer = first[:, :, None] * self.identity.to(first.dtype)  # (n, 6, 6)
        total = outer + outer.mT + torch.einsum("nm,mij->nij", second, self.shear.to(first.dtype))
        # 2. directions of edges
        products = direction_products(batch, self.matrices.basis.to(first.dtype))  # (E, 6)
        weights = self.edges(scalars, batch)  # (E, 1)
        of_edges = (weights * products)[:, :, None] * products[:, None]  # (E, 6, 6)
        total = total + pool_atoms_of(of_edges, batch, batch.target, self.pooling)
        return torch.einsum("nij,aij->na", total, self.coordinates.to(first.dtype))


def shear_products() -> Tensor:
    """Return ``d_ik B_jl + d_il B_jk + d_jk B_il + d_jl B_ik`` of each basis matrix: (6, 6, 6)."""
    basis, identity = torch.tensor(MATRIX_BASIS), torch.eye(3, dtype=torch.float64)
    # By the symmetry of the basis the four terms agree once they are projected on it.
    return 4 * torch.einsum("ik,mjl,aij,bkl->mab", identity, basis, basis, basis)
