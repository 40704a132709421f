"""Features of atoms and crystals without a network: fingerprints of structures, compositions."""

from ._base import Fingerprint
from ._composition import Composition
from ._ead import EAD
from ._gmp import GMP
from ._wacsf import WACSF

__all__ = ["EAD", "GMP", "WACSF", "Composition", "Fingerprint"]
