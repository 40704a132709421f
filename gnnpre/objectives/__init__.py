"""Objectives: targets, heads and losses of pre-training and of supervised learning."""

from ._atom_targets import AtomTargets
from ._base import Objective
from ._bounds import Bounds as Bounds
from ._bounds import refuse_labels_outside as refuse_labels_outside
from ._class_targets import ClassTargets
from ._denoising import Denoising
from ._element_masking import ElementMasking
from ._embedding_targets import EmbeddingTargets
from ._fingerprint_targets import FingerprintTargets
from ._force_field import ForceField
from ._frame_checks import SOURCE as SOURCE
from ._lazy_targets import LazyTargets as LazyTargets
from ._lazy_targets import select_targets as select_targets
from ._losses import LossTerm
from ._mixture import Mixture
from ._mixture_model import MixtureModel as MixtureModel
from ._model import ObjectiveModel
from ._property_targets import PropertyTargets
from ._targets import Targets
from ._tensor_targets import TensorTargets
from ._tensor_targets import tensor_form as tensor_form
from ._two_views import TwoViews

__all__ = [
    "AtomTargets",
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
    "TensorTargets",
    "TwoViews",
]
