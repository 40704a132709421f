"""Fingerprints of atoms: invariant numbers from the positions of their neighbours."""

from ._base import Fingerprint
from ._ead import EAD
from ._gmp import GMP
from ._wacsf import WACSF

__all__ = ["EAD", "GMP", "WACSF", "Fingerprint"]
