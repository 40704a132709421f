"""Pre-trained force fields as calculators: energies, forces, stress, relaxations."""

from ._calculator import ForceFieldCalculator
from ._relaxation import Relaxation, relax_structures

__all__ = ["ForceFieldCalculator", "Relaxation", "relax_structures"]
