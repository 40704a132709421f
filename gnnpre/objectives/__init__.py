"""What a backbone is asked to learn."""

from ._base import LossTerm, Objective, ObjectiveModel, Targets
from ._force_field import ForceField
from ._property_targets import PropertyTargets

__all__ = [
    "ForceField",
    "LossTerm",
    "Objective",
    "ObjectiveModel",
    "PropertyTargets",
    "Targets",
]
