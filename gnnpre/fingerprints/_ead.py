"""Embedded atom density: moments of Gaussian shells of neighbours."""

from collections.abc import Sequence
from math import factorial
from typing import ClassVar

import numpy as np
from torch import Tensor

from gnnpre._constraints import Check, boolean, number
from gnnpre.graphs import CrystalBatch

from ._base import CUTOFF, Fingerprint
from ._checks import grid, short
from ._moments import moments, monomials, shell_norms
from ._neighbors import cosine_cutoff, gaussians, neighbors_within

__all__ = ["EAD"]

# Monomials of degree 8 number 165; beyond that, features repeat each other.
LARGEST_L = 8


class EAD(Fingerprint):
    r"""Embedded atom density: how the neighbours of an atom lie, shell by shell.

    For each degree l up to ``L`` and each Gaussian (``eta``, ``rs``)

    .. math:: \rho_i = R_c^{-2l} \sum_{l_x + l_y + l_z = l} \frac{l!}{l_x! l_y! l_z!}
              \Big( \sum_j Z_j x_{ij}^{l_x} y_{ij}^{l_y} z_{ij}^{l_z}
              e^{-\eta (r_{ij} - r_s)^2} f_c(r_{ij}) \Big)^2

    with the cosine cutoff f_c: l = 0 counts neighbours, l = 1 sees to which side they lie, l = 2
    the angles between them. The division by the cutoff makes the features of all l comparable;
    they have no unit.

    Parameters
    ----------
    cutoff : float
        Distance in Å at which neighbours have faded out.
    L : int
        Largest degree; 0 to 8.
    eta : sequence of float
        Exponents of the Gaussians in 1/Å^2.
    rs : sequence of float
        Centres of the Gaussians in Å. Each ``eta`` is combined with each ``rs``. By default eight
        centres from 1 to 4.5 Å, a Gaussian of 0.35 Å around each, so that no distance between
        bonded atoms and their second neighbours falls between two of them.
    cumulative : bool
        Sum over all monomials up to degree l with the factor l! in place of one degree's own, as
        the published code of the papers does: features of larger l repeat those of smaller.
    pooling : {"mean", "sum", "cumulants"} or None
        Rows of a crystal's atoms become one row: their mean, their sum, or their first three
        cumulants (mean, variance, third central moment). None keeps a row an atom.
    dtype : {"float64", "float32"}
        Precision.
    device : str, optional
        Where to compute, such as ``"cuda"``; by default where graphs are, and the CPU for
        structures.

    References
    ----------
    Y. Zhang, C. Hu and B. Jiang, "Embedded atom neural network potentials", J. Phys. Chem. Lett.
    10, 4962 (2019), for the equation; S. Jia et al., "Pre-training graph neural networks with
    structural fingerprints for materials discovery", arXiv:2503.01227 (2025), for its use here.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from gnnpre import EAD
    >>> copper = Structure(Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]])
    >>> EAD(L=1, rs=(2.0, 3.0)).transform([copper])[0].shape
    (1, 4)
    >>> EAD(L=1, rs=(2.0, 3.0), pooling="mean").get_feature_names_out()[0]
    'mean_ead_l0_eta4_rs2'
    """

    _constraints: ClassVar[dict[str, Check]] = {
        "cutoff": CUTOFF,
        "L": number(integer=True, low_included=True, high=LARGEST_L),
        "eta": grid(),
        "rs": grid(low_included=True),
        "cumulative": boolean,
    }

    def __init__(
        self,
        cutoff: float = 5.0,
        *,
        L: int = 2,
        eta: Sequence[float] = (4.0,),
        rs: Sequence[float] = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5),
        cumulative: bool = False,
        pooling: str | None = None,
        dtype: str = "float64",
        device: str | None = None,
    ) -> None:
        self.cutoff = cutoff
        self.L = L
        self.eta = eta
        self.rs = rs
        self.cumulative = cumulative
        self.pooling = pooling
        self.dtype = dtype
        self.device = device

    def compute(self, batch: CrystalBatch) -> Tensor:
        """Compute the features of each atom, differentiable in the edge vectors.

        Parameters
        ----------
        batch : CrystalBatch
            Crystals with at least every edge within the cutoff.

        Returns
        -------
        Tensor of shape (N, (L + 1) * n_eta * n_rs)
            The features, the degree running slowest and ``rs`` fastest.
        """
        edges = neighbors_within(batch, self.cutoff)
        fade = cosine_cutoff(edges.distances, self.cutoff) * edges.weights  # (E,)
        radial = gaussians(edges.distances, self.eta, self.rs) * fade[:, None]  # (E, R)
        angular = monomials(edges.vectors / self.cutoff, self.L)  # (E, M)
        total = moments(angular, radial, edges.target, len(batch.positions))  # (N, M, R)
        shells = shell_norms(total, self.L)  # (N, L + 1, R)
        if self.cumulative:
            shells = self._cumulative(shells)
        return shells.flatten(1)

    def _cumulative(self, shells: Tensor) -> Tensor:
        """Sum lower degrees up, with the factors of the published code."""
        factors = shells.new_tensor([factorial(degree) for degree in range(self.L + 1)])
        scale = shells.new_tensor([self.cutoff ** (2 * n) for n in range(self.L + 1)])
        raw = shells * (scale / factors)[:, None]
        return raw.cumsum(dim=1) * (factors / scale)[:, None]

    def atom_feature_names(self) -> list[str]:
        """Return the names of the features of an atom.

        Returns
        -------
        list of str
            Such as ``"ead_l1_eta4_rs2.5"``.
        """
        grid = [f"eta{short(eta)}_rs{short(rs)}" for eta in self.eta for rs in self.rs]
        return [f"ead_l{degree}_{name}" for degree in range(self.L + 1) for name in grid]

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
