"""What a backbone is asked to learn."""

from ._base import LossTerm, Objective, ObjectiveModel, Targets
from ._class_targets import ClassTargets
from ._denoising import Denoising
from ._element_masking import ElementMasking
from ._embedding_targets import EmbeddingTargets
from ._fingerprint_targets import FingerprintTargets
from ._force_field import SOURCE as SOURCE
from ._force_field import ForceField
from ._mixture import Mixture
from ._property_targets import PropertyTargets
from ._two_views import TwoViews

__all__ = [
    "ClassTargets",
    "Denoising",
    "ElementMasking",
    "EmbeddingTargets",
    "FingerprintTargets",
    "ForceField",
    "LossTerm",
    "Mixture",
    "Objective",
    "ObjectiveModel",
    "PropertyTargets",
    "Targets",
    "TwoViews",
]
