"""Weighted atom-centred symmetry functions."""

from collections.abc import Sequence
from math import comb
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from gnnpre._constraints import Check
from gnnpre.graphs import CrystalBatch

from ._base import CUTOFF, Fingerprint
from ._checks import grid, short
from ._moments import moments, monomials, shell_norms
from ._neighbors import Neighbors, cosine_cutoff, gaussians, neighbors_within
from ._pairs import Angular, angular_terms, neighbor_tables

__all__ = ["WACSF"]

# Up to this zeta G5 is made of moments, whose number grows with its cube; of pairs above.
LARGEST_SEPARABLE_ZETA = 6
# Beyond this, (1 + cos)^zeta is a spike that no neighbour hits.
LARGEST_ZETA = 256


class WACSF(Fingerprint):
    r"""Weighted atom-centred symmetry functions: distances and angles around an atom.

    With the cosine cutoff f_c, and over the unordered pairs of neighbours j < k,

    .. math::
        G^2_i &= \sum_j Z_j e^{-\eta (r_{ij} - r_s)^2} f_c(r_{ij}) \\
        G^4_i &= 2^{1-\zeta} \sum_{j<k} Z_j Z_k (1 + \lambda \cos\theta_{jik})^\zeta
                 e^{-\eta (r_{ij}^2 + r_{ik}^2 + r_{jk}^2)}
                 f_c(r_{ij}) f_c(r_{ik}) f_c(r_{jk}) \\
        G^5_i &= 2^{1-\zeta} \sum_{j<k} Z_j Z_k (1 + \lambda \cos\theta_{jik})^\zeta
                 e^{-\eta (r_{ij}^2 + r_{ik}^2)} f_c(r_{ij}) f_c(r_{ik})

    Weights by atomic number keep their count independent of the number of elements. An atom
    without neighbours has zeros, one with a single neighbour has no angles.

    Parameters
    ----------
    cutoff : float
        Distance in Å at which neighbours have faded out.
    g2_eta : sequence of float
        Exponents of G2 in 1/Å^2. Each is combined with each ``g2_rs``.
    g2_rs : sequence of float
        Centres of G2 in Å; by default eight from 1 to 4.5 Å with Gaussians of 0.35 Å, which
        resolve the shells of neighbours up to the cutoff.
    g4_eta, g4_zeta, g4_lambda : sequence of float
        Exponents (1/Å^2), powers and signs of G4, all combined. The default exponent keeps
        triangles of 3 Å sides at e^-0.8; powers of 1 and 4 with both signs tell wide from narrow
        angles. An empty ``g4_eta`` leaves G4 out.
    g5_eta, g5_zeta, g5_lambda : sequence of float
        The same for G5, which also sees pairs whose members are far from each other.
    pooling : {"mean", "sum", "cumulants"} or None
        Rows of a crystal's atoms become one row: their mean, their sum, or their first three
        cumulants (mean, variance, third central moment). None keeps a row an atom.
    dtype : {"float64", "float32"}
        Precision.
    device : str, optional
        Where to compute, such as ``"cuda"``; by default where graphs are, and the CPU for
        structures.

    Notes
    -----
    G4 is summed over triangles, each once for its three corners. G5 of whole ``zeta`` up to 6
    separates into moments of single neighbours, at a cost that grows with their number and not
    its square.

    References
    ----------
    M. Gastegger, L. Schwiedrzik, M. Bittermann, F. Berzsenyi and P. Marquetand, "wACSF - Weighted
    atom-centered symmetry functions as descriptors in machine learning potentials", J. Chem.
    Phys. 148, 241709 (2018); J. Behler, "Atom-centered symmetry functions for constructing
    high-dimensional neural network potentials", J. Chem. Phys. 134, 074106 (2011).

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from gnnpre import WACSF
    >>> copper = Structure(Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]])
    >>> WACSF().transform([copper])[0].shape
    (1, 16)
    >>> WACSF(pooling="sum").get_feature_names_out()[-1]
    'sum_g5_eta0.03_zeta4_lambda1'
    """

    _constraints: ClassVar[dict[str, Check]] = {
        "cutoff": CUTOFF,
        "g2_eta": grid(empty=True),
        "g2_rs": grid(low_included=True),
        **{f"g{n}_eta": grid(empty=True, low_included=True) for n in (4, 5)},
        **{f"g{n}_zeta": grid(low=1.0, low_included=True, high=LARGEST_ZETA) for n in (4, 5)},
        **{f"g{n}_lambda": grid(low=-1.0, low_included=True, high=1.0) for n in (4, 5)},
    }

    def __init__(
        self,
        cutoff: float = 5.0,
        *,
        g2_eta: Sequence[float] = (4.0,),
        g2_rs: Sequence[float] = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5),
        g4_eta: Sequence[float] = (0.03,),
        g4_zeta: Sequence[float] = (1.0, 4.0),
        g4_lambda: Sequence[float] = (-1.0, 1.0),
        g5_eta: Sequence[float] = (0.03,),
        g5_zeta: Sequence[float] = (1.0, 4.0),
        g5_lambda: Sequence[float] = (-1.0, 1.0),
        pooling: str | None = None,
        dtype: str = "float64",
        device: str | None = None,
    ) -> None:
        self.cutoff = cutoff
        self.g2_eta = g2_eta
        self.g2_rs = g2_rs
        self.g4_eta = g4_eta
        self.g4_zeta = g4_zeta
        self.g4_lambda = g4_lambda
        self.g5_eta = g5_eta
        self.g5_zeta = g5_zeta
        self.g5_lambda = g5_lambda
        self.pooling = pooling
        self.dtype = dtype
        self.device = device

    @property
    def _g4(self) -> Angular:
        return Angular(tuple(self.g4_eta), tuple(self.g4_zeta), tuple(self.g4_lambda))

    @property
    def _g5(self) -> Angular:
        return Angular(tuple(self.g5_eta), tuple(self.g5_zeta), tuple(self.g5_lambda))

    def compute(self, batch: CrystalBatch) -> Tensor:
        """Compute the features of each atom, differentiable in the edge vectors.

        Parameters
        ----------
        batch : CrystalBatch
            Crystals with at least every edge within the cutoff.

        Returns
        -------
        Tensor of shape (N, D)
            G2, then G4, then G5; the last of their parameters runs fastest.
        """
        edges = neighbors_within(batch, self.cutoff)
        fade = cosine_cutoff(edges.distances, self.cutoff)  # (E,)
        blocks = []
        if len(self.g2_eta):
            blocks.append(self._radial(edges, fade, len(batch.positions)))
        if self._g4:
            numbers = batch.atomic_numbers.to(fade.dtype)
            blocks.append(triangle_terms(edges, fade, numbers, self.cutoff, self._g4))
        if self._g5:
            blocks.append(pair_terms(edges, fade, len(batch.positions), self._g5))
        return torch.cat(blocks, dim=1)

    def _radial(self, edges: Neighbors, fade: Tensor, n_atoms: int) -> Tensor:
        values = gaussians(edges.distances, self.g2_eta, self.g2_rs)  # (E, R)
        values = values * (fade * edges.weights)[:, None]
        return values.new_zeros((n_atoms, values.shape[1])).index_add(0, edges.target, values)

    def atom_feature_names(self) -> list[str]:
        """Return the names of the features of an atom.

        Returns
        -------
        list of str
            Such as ``"g2_eta4_rs2.5"`` and ``"g4_eta0.03_zeta4_lambda-1"``.
        """
        names = [f"g2_eta{short(eta)}_rs{short(rs)}" for eta in self.g2_eta for rs in self.g2_rs]
        for symbol, angular in (("g4", self._g4), ("g5", self._g5)):
            names += [
                f"{symbol}_eta{short(eta)}_zeta{short(zeta)}_lambda{short(sign)}"
                for eta in angular.eta
                for zeta, sign in angular.angles
            ]
        return names

    def needed_cutoff(self, atomic_numbers: np.ndarray) -> float:
        """Return the cutoff.

        Parameters
        ----------
        atomic_numbers : ndarray of int
            Ignored.

        Returns
        -------
        float
            ``cutoff`` in Å.
        """
        return float(self.cutoff)

    def check_parameters(self) -> None:
        """Check that every parameter has an allowed value.

        Raises
        ------
        ValueError
            If one has not, or there are no features.
        """
        super().check_parameters()
        if not (len(self.g2_eta) or len(self.g4_eta) or len(self.g5_eta)):
            raise ValueError("g2_eta, g4_eta and g5_eta are all empty; at least one must not be.")


def pair_terms(edges: Neighbors, fade: Tensor, n_atoms: int, angular: Angular) -> Tensor:
    """Compute G5, one column for each eta, zeta and lambda."""
    if all(z == int(z) and z <= LARGEST_SEPARABLE_ZETA for z in angular.zeta):
        return _separable_terms(edges, fade, n_atoms, angular)
    return _pairwise_terms(edges, fade, n_atoms, angular)


def _pair_weights(edges: Neighbors, fade: Tensor, eta: tuple[float, ...]) -> Tensor:
    """Return the factor of each neighbour in a term, ``Z exp(-eta r^2) f_c``: ``(E, n_eta)``."""
    square = edges.distances * edges.distances
    widths = square.new_tensor([-e for e in eta])
    return torch.exp(square[:, None] * widths) * (fade * edges.weights)[:, None]


def _separable_terms(edges: Neighbors, fade: Tensor, n_atoms: int, angular: Angular) -> Tensor:
    """Expand ``(1 + lambda u_j . u_k)^zeta``: each power of the product is a norm of moments."""
    degree = int(max(angular.zeta))
    weights = _pair_weights(edges, fade, angular.eta)  # (E, n_eta)
    directions = edges.vectors / edges.distances[:, None]
    # 1. norms of the moments: sums of (u_j . u_k)^l over all pairs
    total = moments(monomials(directions, degree), weights, edges.target, n_atoms)
    shells = shell_norms(total, degree)  # (N, degree + 1, n_eta)
    # 2. binomial expansion, without the pairs of a neighbour with itself, each other pair once
    self_terms = weights.new_zeros((n_atoms, weights.shape[1]))
    self_terms = self_terms.index_add(0, edges.target, weights * weights)  # (N, n_eta)
    columns = []
    for zeta, sign in angular.angles:
        powers = [comb(int(zeta), n) * sign**n for n in range(int(zeta) + 1)]
        factors = shells.new_tensor(powers)[:, None]
        all_pairs = (shells[:, : len(powers)] * factors).sum(dim=1)  # (N, n_eta)
        columns.append(0.5 * (all_pairs - (1.0 + sign) ** zeta * self_terms))
    return torch.stack(columns, dim=2).flatten(1) * self_terms.new_tensor(angular.scales)


def _pairwise_terms(edges: Neighbors, fade: Tensor, n_atoms: int, angular: Angular) -> Tensor:
    """Sum over pairs, for any zeta."""
    weights = _pair_weights(edges, fade, angular.eta)
    n_terms = len(angular.eta) * len(angular.angles)
    total = weights.new_zeros((n_atoms, n_terms))
    directions = edges.vectors / edges.distances[:, None]
    # Atoms with about as many neighbours share a table, padded to rows of equal length.
    for table in neighbor_tables(edges.target, n_atoms):
        unit = _rows(directions, table.edges)  # (n, m, 3)
        self_terms = _rows(weights, table.edges) * table.valid[:, :, None]  # (n, m, n_eta)
        cosine = unit @ unit.mT  # (n, m, m)
        sums = [
            0.5
            * (
                (term @ self_terms) * self_terms
                - term.diagonal(dim1=1, dim2=2)[:, :, None] * self_terms * self_terms
            )
            for term in angular_terms(cosine, angular)
        ]
        values = torch.stack([s.sum(dim=1) for s in sums], dim=2).flatten(1)  # (n, n_terms)
        total = total.index_add(0, table.atoms, values)
    return total * total.new_tensor(angular.scales)


def triangle_terms(
    edges: Neighbors, fade: Tensor, numbers: Tensor, cutoff: float, angular: Angular
) -> Tensor:
    """Compute G4, one column for each eta, zeta and lambda.

    The exponential and the cutoffs are the same for all corners of a triangle. Each triangle is
    therefore visited once, at its first corner, and added to all three.
    """
    first = torch.nonzero(_leads_onward(edges)).squeeze(1)
    n_terms = len(angular.eta) * len(angular.angles)
    total = fade.new_zeros((len(numbers), n_terms))
    for table in neighbor_tables(edges.target[first], len(numbers)):
        # Two edges that leave the first corner span the triangle.
        chosen = first[table.edges]  # (n, m)
        sides = _rows(fade, chosen) * table.valid
        opposite = _opposite_sides(_rows(edges.vectors, chosen), table.valid, cutoff)
        centre, corner = _corner_sums(edges, chosen, sides, opposite, cutoff, angular)
        corner = corner * numbers[table.atoms, None, None]
        total = total.index_add(0, table.atoms, centre)  # (N, n_terms)
        total = total.index_add(0, edges.source[chosen].flatten(), corner.flatten(0, 1))
    return total * total.new_tensor(angular.scales)


def _rows(values: Tensor, indices: Tensor) -> Tensor:
    """``values[indices]``, faster."""
    return values.index_select(0, indices.flatten()).unflatten(0, indices.shape)


def _leads_onward(edges: Neighbors) -> Tensor:
    """Return which edges lead to a later atom, images being ordered by cell and then by number.

    Translations keep that order, so each triangle of images has one first corner.
    """
    shift = edges.shift.long()
    # Shifts are int8: three digits of base 512 never mix.
    code = (shift[:, 0] * 512 + shift[:, 1]) * 512 + shift[:, 2]
    return (code > 0) | ((code == 0) & (edges.source > edges.target))


def _corner_sums(
    edges: Neighbors,
    chosen: Tensor,
    sides: Tensor,
    opposite: tuple[Tensor, Tensor],
    cutoff: float,
    angular: Angular,
) -> tuple[Tensor, Tensor]:
    """Sum terms for the corner that triangles start from, and for their other corners.

    Returns ``(n, n_terms)`` and ``(n, m, n_terms)``; the latter lacks the weight of the first
    corner.
    """
    dot, opposite_square = opposite  # (n, m, m)
    weights, distances = _rows(edges.weights, chosen), _rows(edges.distances, chosen)  # (n, m)
    square, inverse = distances * distances, 1.0 / distances
    length = opposite_square.sqrt()  # (n, m, m)
    fade = cosine_cutoff(length, cutoff) * sides[:, :, None] * (sides * weights)[:, None, :]
    cosine = dot * inverse[:, :, None] * inverse[:, None, :]
    # The angle at the end of one edge, by the projection of the other on it.
    cosine_corner = (square[:, :, None] - dot) * inverse[:, :, None] / length
    centre_terms = list(angular_terms(cosine, angular))
    corner_terms = list(angular_terms(cosine_corner, angular))
    perimeter = square[:, :, None] + square[:, None, :] + opposite_square
    centre, corner = [], []
    for eta in angular.eta:
        radial = torch.exp(-eta * perimeter) * fade  # (n, m, m)
        corner += [(radial * term).sum(dim=2) for term in corner_terms]
        # Both orders of two edges are there: half of each counts for their common corner.
        radial = radial * (0.5 * weights)[:, :, None]
        centre += [(radial * term).sum(dim=(1, 2)) for term in centre_terms]
    return torch.stack(centre, dim=1), torch.stack(corner, dim=2)


def _opposite_sides(vectors: Tensor, valid: Tensor, cutoff: float) -> tuple[Tensor, Tensor]:
    """Return products of pairs of vectors, and squared lengths of the sides between their ends.

    Pairs without a triangle, or with too long a side, get a side at which the cutoff is zero.
    """
    dot = vectors @ vectors.mT  # (n, m, m)
    square = (vectors * vectors).sum(dim=2)  # (n, m)
    squares = square[:, :, None] + square[:, None, :] - 2.0 * dot  # law of cosines
    same = torch.eye(valid.shape[1], dtype=torch.bool, device=valid.device)
    limit = cutoff * cutoff
    no_triangle = same | ~(valid[:, :, None] & valid[:, None, :])
    return dot, squares.masked_fill(no_triangle, limit).clamp(max=limit)
