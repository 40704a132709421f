"""Estimators on crystals, in the manner of scikit-learn, and the papers' protocols."""

from ._improvement import average_improvement
from ._jia2024 import jia2024_cgcnn, jia2024_torchmdnet
from ._jia2025 import jia2025_torchmdnet
from ._kernel_classifier import KernelClassifier
from ._kernel_regressor import KernelRegressor
from ._pretrainer import Pretrainer
from ._property_classifier import PropertyClassifier
from ._property_regressor import PropertyRegressor
from ._protocol import Protocol

__all__ = [
    "KernelClassifier",
    "KernelRegressor",
    "Pretrainer",
    "PropertyClassifier",
    "PropertyRegressor",
    "Protocol",
    "average_improvement",
    "jia2024_cgcnn",
    "jia2024_torchmdnet",
    "jia2025_torchmdnet",
]
