"""Overlaps of Gaussian densities with Gaussian probes, element by element."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from gnnpre.graphs import CrystalBatch

from ._densities import AtomDensity, read_gpsp, tabulated_densities

__all__ = ["ElementEdges", "RadialTable", "group_by_element", "own_terms", "radial_tables"]

# In Å: no density reaches farther, and a finer search would not change a sum.
RADII = np.arange(0.0, 60.0, 0.02)
# Kept in memory: one for each set of parameters in use.
N_KEPT = 16


@dataclass(frozen=True)
class RadialTable:
    """Contributions of an atom of one element to probes at a distance r.

    Column k of the radial parts is ``sum_g weights[g, k] exp(decays[g] r^2)``.
    """

    decays: np.ndarray  # (G,) 1/Å^2, negative
    weights: np.ndarray  # (G, K)
    reach: float  # Å, beyond which all of it is below the threshold


@lru_cache(maxsize=N_KEPT)
def radial_tables(
    path: str | None,
    changed: int,
    sigmas: tuple[float, ...],
    orders: tuple[int, ...],
    threshold: float,
) -> dict[int, RadialTable]:
    """Return the tables of all elements; ``changed`` distinguishes versions of one file."""
    densities = tabulated_densities() if path is None else read_gpsp(path)
    return {z: _table(density, sigmas, orders, threshold) for z, density in densities.items()}


def _table(
    density: AtomDensity, sigmas: tuple[float, ...], orders: tuple[int, ...], threshold: float
) -> RadialTable:
    """Return one row for each Gaussian of the density and probe, one column for each feature."""
    # 1. columns: one for each order and sigma, but one only for order -1, which has no probe
    rows: list[tuple[float, np.ndarray]] = []
    degrees = np.array([max(o, 0) for o in orders for _ in (sigmas if o >= 0 else (0,))])
    bare = np.array([o < 0 for o in orders for _ in (sigmas if o >= 0 else (0,))])
    widths = np.array([s for o in orders for s in (sigmas if o >= 0 else (0.0,))])
    # 2. rows: the density itself, for order -1
    for amplitude, beta in zip(density.amplitudes, density.exponents, strict=True):
        if bare.any():
            rows.append((-beta, amplitude * bare))
    # 3. rows: overlaps with the probe of each width
    for sigma in sigmas:
        columns = (widths == sigma) & ~bare
        if columns.any():
            rows += _overlap_rows(density, sigma, columns, degrees)
    decays = np.array([decay for decay, _ in rows])
    weights = np.array([weight for _, weight in rows])
    return RadialTable(decays, weights, _reach(decays, weights, degrees, threshold))


def _overlap_rows(
    density: AtomDensity, sigma: float, columns: np.ndarray, degrees: np.ndarray
) -> list[tuple[float, np.ndarray]]:
    """Return the integrals of each Gaussian with a probe: exponent, and factor by degree."""
    # The product of exp(-beta (r - R)^2) and exp(-alpha r^2) is a Gaussian around shrink * R.
    alpha = 0.5 / sigma**2
    norm = (sigma * math.sqrt(2.0 * math.pi)) ** -3
    rows = []
    for amplitude, beta in zip(density.amplitudes, density.exponents, strict=True):
        factor = norm * amplitude * (math.pi / (alpha + beta)) ** 1.5
        shrink = beta / (alpha + beta)
        rows.append((-alpha * shrink, factor * shrink**degrees * columns))
    if density.point:
        rows.append((-alpha, norm * density.point * columns.astype(float)))
    return rows


def _reach(decays: np.ndarray, weights: np.ndarray, degrees: np.ndarray, threshold: float) -> float:
    """Return the largest distance at which a Gaussian, times its harmonic, is significant."""
    reach = 0.0
    for decay, weight in zip(decays, weights, strict=True):
        largest = np.abs(weight)[:, None] * RADII ** degrees[:, None]  # (K, n_radii)
        above = np.flatnonzero((largest * np.exp(decay * RADII**2) > threshold).any(axis=0))
        if len(above):
            reach = max(reach, float(RADII[above[-1]]))
    return reach + float(RADII[1])  # the next point of the grid


@dataclass(frozen=True)
class ElementEdges:
    """Edges within reach of their sources, sorted by the element of the source."""

    target: Tensor  # (E,)
    vectors: Tensor  # (E, 3) Å
    squares: Tensor  # (E,) Å^2
    counts: list[tuple[int, int]]  # atomic number, edges

    def evaluate(self, tables: dict[int, RadialTable]) -> Tensor:
        """Sum the Gaussians of each edge: ``(E, K)``."""
        pieces = self.squares.split([count for _, count in self.counts])
        columns = next(iter(tables.values())).weights.shape[1]
        blocks = [self.squares.new_empty((0, columns))]
        for (number, _), squares in zip(self.counts, pieces, strict=True):
            decays = squares.new_tensor(tables[number].decays)
            weights = squares.new_tensor(tables[number].weights)
            blocks.append(torch.exp(squares[:, None] * decays) @ weights)
        return torch.cat(blocks)


def group_by_element(batch: CrystalBatch, tables: dict[int, RadialTable]) -> ElementEdges:
    """Sort edges by the element of their source, and drop those beyond its reach."""
    vectors = batch.edge_vectors
    squares = (vectors * vectors).sum(dim=1)
    reach = torch.zeros(max(tables) + 1, dtype=vectors.dtype)
    for number, table in tables.items():
        reach[number] = table.reach**2
    elements = batch.atomic_numbers.index_select(0, batch.source)
    near = squares.detach() < reach.to(vectors.device).index_select(0, elements)
    near = torch.nonzero(near).squeeze(1)
    numbers = elements.index_select(0, near).to(torch.uint8)
    # Stable, so that edges of one element stay sorted by target.
    near = near.index_select(0, torch.sort(numbers, stable=True).indices)
    counts = torch.bincount(numbers).tolist()
    return ElementEdges(
        target=batch.target.index_select(0, near).long(),
        vectors=vectors.index_select(0, near),
        squares=squares.index_select(0, near),
        counts=[(number, count) for number, count in enumerate(counts) if count],
    )


def own_terms(atomic_numbers: Tensor, radial: Tensor, tables: dict[int, RadialTable]) -> Tensor:
    """Return the contribution of each atom to its own probes, at distance zero: ``(N, K)``."""
    largest = max(tables) + 1
    table = np.zeros((largest, radial.shape[1]))
    for number, entry in tables.items():
        table[number] = entry.weights.sum(axis=0)
    return radial.new_tensor(table).index_select(0, atomic_numbers)
