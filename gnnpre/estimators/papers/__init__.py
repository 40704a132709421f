"""Protocols of the two papers: estimators with the published settings, and their measure."""

from ._improvement import average_improvement
from ._jia2024_cgcnn import jia2024_cgcnn
from ._jia2024_torchmdnet import jia2024_torchmdnet
from ._jia2025 import jia2025_torchmdnet
from ._protocol import Protocol

__all__ = [
    "Protocol",
    "average_improvement",
    "jia2024_cgcnn",
    "jia2024_torchmdnet",
    "jia2025_torchmdnet",
]
