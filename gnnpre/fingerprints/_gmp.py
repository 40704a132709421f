"""Gaussian multipoles: the electron density around an atom, seen through probes."""

from collections.abc import Sequence
from math import factorial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from gnnpre._constraints import Check, boolean, number
from gnnpre.graphs import CrystalBatch

from ._base import Fingerprint
from ._checks import grid, short
from ._moments import moments, solid_harmonics
from ._overlaps import ElementEdges, RadialTable, group_by_element, own_terms, radial_tables

__all__ = ["GMP"]

LARGEST_ORDER = 9


def check_densities(name: str, path: Any) -> None:
    """Check that densities are None or the path of an existing file."""
    if path is None:
        return
    if not isinstance(path, (str, Path)):
        raise ValueError(f"{name}={path!r}; expected the path of a .gpsp file.")
    if not Path(path).is_file():
        raise FileNotFoundError(f"{name}={str(path)!r}: there is no such file.")


class GMP(Fingerprint):
    r"""Gaussian multipoles of the electron density around an atom, periodic images included.

    The density is a sum of those of free atoms. Order 0 is its overlap with a Gaussian of width
    sigma at the atom, order l that with the Gaussian times the solid harmonics of degree l,

    .. math:: \mu_l = \sqrt{ l! (2l-1)!! \sum_m \Big( \int \rho(\mathbf r)
              \frac{e^{-r^2 / 2 \sigma^2}}{(\sqrt{2\pi}\,\sigma)^3}
              R_{lm}(\mathbf r) \, d^3 r \Big)^2 }

    with real solid harmonics in Racah's normalisation; order -1 is the density at the atom itself,
    without a probe. The atom's own density counts in orders -1 and 0.

    Parameters
    ----------
    sigmas : sequence of float
        Widths of the probes in Å. By default from the bond to the second shell.
    orders : sequence of int
        Orders of the multipoles, -1 to 9.
    densities : str or Path, optional
        A ``.gpsp`` file with the densities of elements (pseudo-densities of their valence
        electrons usually). By default, those of all electrons from tabulated X-ray form factors,
        elements 1 to 98.
    square : bool
        Leave the root out.
    overlap_threshold : float
        An atom is seen as far as any of its Gaussians, times the harmonic, is above this
        (electrons Å^(l - 3)); the reach depends on its element, and is 6 to 12 Å at the default.
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
    The default densities hold sharp cores: the constant of a form factor, and terms narrower than
    0.01 Å^2 (in about 30 elements), act as one point charge at the nucleus in orders from 0. For
    the constant that is exact; the terms change by at most 0.1 % of an atom's own order 0 at sigma
    0.25 Å, and 1 % at 0.1 Å. Order -1, which has no probe to smooth it, leaves the point charge
    out.

    The root has no derivative where a multipole vanishes, by symmetry for example: its gradient is
    given as 0 there. ``square=True`` is smooth.

    References
    ----------
    X. Lei and A. J. Medford, "A universal framework for featurization of atomistic systems", J.
    Phys. Chem. Lett. 13, 7911 (2022); D. Waasmaier and A. Kirfel, "New analytical
    scattering-factor functions for free atoms and ions", Acta Cryst. A51, 416 (1995).

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from gnnpre import GMP
    >>> copper = Structure(Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]])
    >>> GMP(sigmas=(0.5, 1.0), orders=(0, 1, 2)).transform([copper])[0].shape
    (1, 6)
    >>> GMP(pooling="mean").get_feature_names_out()[:2]
    array(['mean_gmp_order-1', 'mean_gmp_order0_sigma0.25'], dtype=object)
    """

    _constraints: ClassVar[dict[str, Check]] = {
        "sigmas": grid(high=10.0),
        "orders": grid(integer=True, low=-1, low_included=True, high=LARGEST_ORDER),
        "square": boolean,
        "overlap_threshold": number(high=1.0),
        "densities": check_densities,
    }

    def __init__(
        self,
        sigmas: Sequence[float] = (0.25, 0.5, 1.0),
        orders: Sequence[int] = (-1, 0, 1, 2, 3),
        *,
        densities: str | Path | None = None,
        square: bool = False,
        overlap_threshold: float = 1e-8,
        pooling: str | None = None,
        dtype: str = "float64",
        device: str | None = None,
    ) -> None:
        self.sigmas = sigmas
        self.orders = orders
        self.densities = densities
        self.square = square
        self.overlap_threshold = overlap_threshold
        self.pooling = pooling
        self.dtype = dtype
        self.device = device

    def compute(self, batch: CrystalBatch) -> Tensor:
        """Compute the features of each atom, differentiable in the edge vectors.

        Parameters
        ----------
        batch : CrystalBatch
            Crystals with at least every edge within :meth:`needed_cutoff` of their elements.

        Returns
        -------
        Tensor of shape (N, D)
            Order after order, and within each (but -1, which has one) one column a sigma.

        Raises
        ------
        ValueError
            If there is no density for an element of the batch.
        """
        self._check_elements(batch, 0)
        tables = self._tables()
        # 1. overlaps of the densities of neighbours with all probes, without angles
        edges = group_by_element(batch, tables)
        radial = edges.evaluate(tables)  # (E, K)
        at_itself = own_terms(batch.atomic_numbers, radial, tables)
        # 2. order by order: multiply by harmonics, sum over neighbours, take the norm
        columns, first = [], 0
        angular = solid_harmonics(edges.vectors, max(max(self.orders), 0))
        for order in self.orders:
            degree = max(order, 0)
            size = 1 if order < 0 else len(self.sigmas)
            selected = slice(first, first + size)
            members = angular[:, degree**2 : (degree + 1) ** 2]  # (E, 2 degree + 1)
            total = moments(members, radial[:, selected], edges.target, len(batch.positions))
            if degree == 0:  # at distance 0 all harmonics but the constant vanish
                total = total + at_itself[:, None, selected]
            square = (total * total).sum(dim=1)  # (N, size)
            if not self.square:
                noise = _rounding(edges, radial[:, selected], degree, len(total))
                square = _safe_root(square, noise)
            scale = _norm_factor(degree)
            columns.append((scale if self.square else scale**0.5) * square)
            first += size
        return torch.cat(columns, dim=1)

    def atom_feature_names(self) -> list[str]:
        """Return the names of the features of an atom.

        Returns
        -------
        list of str
            Such as ``"gmp_order2_sigma0.5"``; that of order -1 has no sigma.
        """
        names = []
        for order in self.orders:
            sigmas = [f"_sigma{short(sigma)}" for sigma in self.sigmas] if order >= 0 else [""]
            names += [f"gmp_order{order}{sigma}" for sigma in sigmas]
        return names

    def needed_cutoff(self, atomic_numbers: np.ndarray) -> float:
        """Return the distance up to which atoms of some elements are seen.

        Parameters
        ----------
        atomic_numbers : ndarray of int
            The elements.

        Returns
        -------
        float
            Their largest reach in Å.
        """
        tables = self._tables()
        reaches = [tables[z].reach for z in set(np.asarray(atomic_numbers).tolist()) & set(tables)]
        return max(reaches, default=1.0)

    def _tables(self) -> dict[int, RadialTable]:
        """One table an element, kept between calls."""
        path, changed = None, 0
        if self.densities is not None:
            path = str(self.densities)
            changed = Path(path).stat().st_mtime_ns
        sigmas, orders = tuple(map(float, self.sigmas)), tuple(map(int, self.orders))
        return radial_tables(path, changed, sigmas, orders, float(self.overlap_threshold))

    def _check_elements(self, batch: CrystalBatch, first: int) -> None:
        tables = self._tables()
        numbers = batch.atomic_numbers.cpu().numpy()
        missing = [z for z in np.unique(numbers).tolist() if z not in tables]
        if missing:
            from ase.data import chemical_symbols

            row = int(np.argmax(numbers == missing[0]))
            source = "the tabulated form factors" if self.densities is None else self.densities
            raise ValueError(
                f"Crystal {first + int(batch.batch[row])} holds {chemical_symbols[missing[0]]}: "
                f"there is no density of it in {source}. Leave that crystal out, or give another "
                "file as densities."
            )


def _norm_factor(degree: int) -> float:
    """``l! (2 l - 1)!!``: the published polynomials beside Racah's harmonics."""
    return factorial(2 * degree) / 2.0**degree


def _rounding(edges: ElementEdges, radial: Tensor, degree: int, n_atoms: int) -> Tensor | None:
    """Bound what rounding leaves of a sum that vanishes, ``(N, S)``; None if no gradient asks."""
    if not (torch.is_grad_enabled() and radial.requires_grad):
        return None
    with torch.no_grad():
        terms = radial.abs() * edges.squares[:, None] ** (degree / 2)
        sizes = terms.new_zeros((n_atoms, terms.shape[1])).index_add(0, edges.target, terms)
    return 32.0 * torch.finfo(sizes.dtype).eps * sizes


def _safe_root(square: Tensor, noise: Tensor | None) -> Tensor:
    """Root, whose derivative is 0 where there is nothing under it but rounding."""
    if noise is None:
        return square.sqrt()
    real = square > noise * noise
    root = square.where(real, square.new_ones(())).sqrt()
    return torch.where(real, root, square.detach().sqrt())
