"""Sums over the angles around an atom: G5 over pairs of neighbours, G4 over triangles."""

from math import comb

import torch
from torch import Tensor

from ._moments import moments, monomials, shell_norms
from ._neighbors import Neighbors, cosine_cutoff
from ._pairs import Angular, angular_terms, neighbor_tables

__all__ = ["pair_terms", "triangle_terms"]

# Up to this zeta G5 is made of moments, whose number grows with its cube; of pairs above.
LARGEST_SEPARABLE_ZETA = 6


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
