"""Weighted atom-centred symmetry functions."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from gnnpre._constraints import Check
from gnnpre.graphs import CrystalBatch

from ._angular_sums import pair_terms, triangle_terms
from ._base import CUTOFF, Fingerprint
from ._checks import grid, short
from ._neighbors import Neighbors, cosine_cutoff, gaussians, neighbors_within
from ._pairs import Angular

__all__ = ["WACSF"]

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
