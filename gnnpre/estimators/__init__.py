"""Estimators on crystals, in the manner of scikit-learn, and the papers' protocols."""

from ._describe import describe_network as describe_network
from ._export import export_model
from ._inputs import as_graphs as as_graphs
from ._kernel_classifier import KernelClassifier
from ._kernel_features import SINGLE_PRECISION as SINGLE_PRECISION
from ._kernel_head import make_features as make_features
from ._kernel_regressor import KernelRegressor
from ._loading import load_estimator
from ._pretrainer import Pretrainer
from ._property_classifier import PropertyClassifier
from ._property_ensemble import PropertyEnsemble
from ._property_regressor import PropertyRegressor
from .papers import (
    Protocol,
    average_improvement,
    jia2024_cgcnn,
    jia2024_torchmdnet,
    jia2025_torchmdnet,
)

__all__ = [
    "KernelClassifier",
    "KernelRegressor",
    "Pretrainer",
    "PropertyClassifier",
    "PropertyEnsemble",
    "PropertyRegressor",
    "Protocol",
    "average_improvement",
    "export_model",
    "jia2024_cgcnn",
    "jia2024_torchmdnet",
    "jia2025_torchmdnet",
    "load_estimator",
]
