"""Pairs of neighbours, as dense squares over atoms that have about as many neighbours."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Angular", "NeighborTable", "angular_terms", "neighbor_tables"]

# Atoms whose counts of neighbours round up to the same multiple share a table.
STEP = 4


class NeighborTable(NamedTuple):
    """Neighbours of n atoms in rows of equal length; padding is marked as not valid."""

    atoms: Tensor  # (n,)
    edges: Tensor  # (n, m)
    valid: Tensor  # (n, m)


class Angular(NamedTuple):
    """Exponents of the angular terms; each ``eta`` goes with each ``zeta`` and ``lambda``."""

    eta: tuple[float, ...]
    zeta: tuple[float, ...]
    lambda_: tuple[float, ...]

    @property
    def scales(self) -> list[float]:
        """The factor ``2^(1 - zeta)`` of each column, with eta running slowest."""
        return [2.0 ** (1.0 - zeta) for _ in self.eta for zeta, _ in self.angles]

    @property
    def angles(self) -> list[tuple[float, float]]:
        """Pairs of zeta and lambda, the latter running fastest."""
        return [(zeta, sign) for zeta in self.zeta for sign in self.lambda_]

    def __bool__(self) -> bool:
        return bool(self.eta)


def neighbor_tables(target: Tensor, n_atoms: int) -> Iterator[NeighborTable]:
    """Yield tables of edges that are sorted by target, for atoms with about as many neighbours."""
    counts = torch.bincount(target, minlength=n_atoms)
    starts = counts.cumsum(0) - counts
    widths = (counts + STEP - 1) // STEP * STEP
    for width in torch.unique(widths).tolist():
        if width == 0:
            continue
        atoms = torch.nonzero(widths == width).squeeze(1)
        columns = torch.arange(width, device=target.device)
        valid = columns < counts[atoms, None]
        yield NeighborTable(atoms, starts[atoms, None] + columns * valid, valid)


def angular_terms(cosine: Tensor, angular: Angular) -> Iterator[Tensor]:
    """Yield ``(1 + lambda cos)^zeta`` for each zeta and lambda."""
    bases = [_base(cosine, sign) for sign in angular.lambda_]
    for zeta in angular.zeta:
        yield from (_power(base, zeta) for base in bases)


def _base(cosine: Tensor, sign: float) -> Tensor:
    if abs(sign) == 1.0:
        return 1.0 + cosine if sign > 0 else 1.0 - cosine
    return 1.0 + sign * cosine


def _power(base: Tensor, exponent: float) -> Tensor:
    """Raise to a power; by repeated squaring for whole ones, which is far faster."""
    if exponent != int(exponent):
        # Rounding may leave -1e-16, which no fractional power takes.
        return base.clamp(min=0.0) ** exponent
    result, square, remaining = None, base, int(exponent)
    while True:
        if remaining & 1:
            result = square if result is None else result * square
        remaining >>= 1
        if not remaining:
            return base if result is None else result
        square = square * square
