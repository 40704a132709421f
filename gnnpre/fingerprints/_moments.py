"""Polynomials of edge vectors and their sums, for many-body terms that separate."""

from functools import cache
from itertools import product
from math import factorial

import torch
from torch import Tensor

__all__ = ["moments", "monomials", "shell_norms", "solid_harmonics"]

# Products held at a time: 1 MB in float64.
BLOCK = 1 << 17


@cache
def exponents(degree: int) -> tuple[tuple[int, int, int], ...]:
    """Return the exponents of the monomials up to a degree, lower degrees first."""
    powers = range(degree + 1)
    grid = [(i, j, k) for i, j, k in product(powers, powers, powers) if i + j + k <= degree]
    return tuple(sorted(grid, key=lambda p: (sum(p), p)))


def monomials(vectors: Tensor, degree: int) -> Tensor:
    """Return ``x^i y^j z^k`` up to a degree, lower degrees first: ``(E, 3) -> (E, M)``."""
    x, y, z = vectors.t().contiguous().unbind(0)
    terms = {(0, 0, 0): torch.ones_like(x)}
    for i, j, k in exponents(degree)[1:]:
        # From one degree lower, by one product.
        if i:
            terms[i, j, k] = terms[i - 1, j, k] * x
        elif j:
            terms[i, j, k] = terms[i, j - 1, k] * y
        else:
            terms[i, j, k] = terms[i, j, k - 1] * z
    # Rows, then transposed: twice as fast as writing columns.
    return torch.stack([terms[powers] for powers in exponents(degree)]).t().contiguous()


def shell_norms(values: Tensor, degree: int) -> Tensor:
    """Sum squares of moments of monomials degree by degree: ``(N, M, R) -> (N, degree + 1, R)``.

    Weighted so that the moments of one neighbour at r and one at r' have the product
    ``(r . r')^l``: the norm of degree l does not change with rotations.
    """
    weights = values.new_tensor([_multinomial(powers) for powers in exponents(degree)])
    squares = values * values * weights[:, None]
    sizes = [(n + 1) * (n + 2) // 2 for n in range(degree + 1)]  # monomials of each degree
    return torch.stack([square.sum(dim=1) for square in squares.split(sizes, dim=1)], dim=1)


def _multinomial(powers: tuple[int, int, int]) -> float:
    i, j, k = powers
    return factorial(i + j + k) / (factorial(i) * factorial(j) * factorial(k))


def solid_harmonics(vectors: Tensor, degree: int) -> Tensor:
    """Return ``r^l`` times the real spherical harmonics up to ``degree``: ``(E, (degree + 1)^2)``.

    Normalised so that over the 2 l + 1 of one degree the products of two vectors' values sum to
    ``(r r')^l P_l(cos)``, with the Legendre polynomial P_l.
    """
    x, y, z = vectors.unbind(1)
    square = (vectors * vectors).sum(dim=1)
    columns: list[Tensor] = []
    cosine, sine = _azimuthal(x, y, degree)
    zenithal = _zenithal(z, square, degree)
    for n in range(degree + 1):
        for m in range(-n, n + 1):
            # sqrt(2 (n - |m|)! / (n + |m|)!), Racah's normalisation
            scale = (2.0 * factorial(n - abs(m)) / factorial(n + abs(m))) ** 0.5 if m else 1.0
            polar = zenithal[n, abs(m)]
            azimuth = cosine[m] if m >= 0 else sine[-m]
            columns.append(scale * polar * azimuth)
    return torch.stack(columns, dim=1)


def _azimuthal(x: Tensor, y: Tensor, degree: int) -> tuple[list[Tensor], list[Tensor]]:
    """Real and imaginary parts of ``(x + i y)^m``."""
    cosine, sine = [torch.ones_like(x)], [torch.zeros_like(x)]
    for _ in range(degree):
        c, s = cosine[-1], sine[-1]
        cosine.append(x * c - y * s)
        sine.append(x * s + y * c)
    return cosine, sine


def _zenithal(z: Tensor, square: Tensor, degree: int) -> dict[tuple[int, int], Tensor]:
    """``r^(l - m)`` times the m-th derivative of P_l, by its recursion in l."""
    terms = {}
    for m in range(degree + 1):
        # (2 m - 1)!!, the m-th derivative of P_m
        double_factorial = factorial(2 * m) // (2**m * factorial(m))
        terms[m, m] = torch.full_like(z, float(double_factorial))
        if m < degree:
            terms[m + 1, m] = (2 * m + 1) * z * terms[m, m]
        for n in range(m + 2, degree + 1):
            ahead = (2 * n - 1) * z * terms[n - 1, m]
            terms[n, m] = (ahead - (n + m - 1) * square * terms[n - 2, m]) / (n - m)
    return terms


def moments(angular: Tensor, radial: Tensor, target: Tensor, n_atoms: int) -> Tensor:
    """Sum products over neighbours: ``(E, M), (E, R) -> (N, M, R)``."""
    size = angular.shape[1] * radial.shape[1]
    total = angular.new_zeros((n_atoms, size))
    # Block by block, as the products of all edges would leave the cache.
    step = max(1, BLOCK // size) if angular.device.type == "cpu" else max(1, len(target))
    blocks = (angular.split(step), radial.split(step), target.split(step))
    for a, r, index in zip(*blocks, strict=True):
        total.index_add_(0, index, (a[:, :, None] * r[:, None, :]).flatten(1))
    return total.view(n_atoms, angular.shape[1], radial.shape[1])
