"""Pre-train graph neural networks on crystals and fine-tune them, in the manner of scikit-learn.

The public names are resolved on first use (PEP 562), so that ``import gnnpre`` costs
milliseconds and loads none of torch, torch-geometric, skorch or pymatgen.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from . import (
        backbones,
        calculators,
        cli,
        datasets,
        estimators,
        exceptions,
        fingerprints,
        foundation,
        graphs,
        inspection,
        model_selection,
        objectives,
        pretrained,
        study,
        testing,
        training,
    )
    from .backbones import CGCNN, SchNet, TorchMDNet
    from .estimators import (
        Pretrainer,
        PropertyClassifier,
        PropertyEnsemble,
        PropertyRegressor,
        Protocol,
        average_improvement,
        jia2024_cgcnn,
        jia2024_torchmdnet,
        jia2025_torchmdnet,
        load_estimator,
    )
    from .fingerprints import EAD, GMP, WACSF, Composition
    from .foundation import FoundationFeatures
    from .graphs import CrystalGraphs, Crystals, FrameLabels, StructureToGraph
    from .objectives import (
        AtomTargets,
        ClassTargets,
        Denoising,
        ElementMasking,
        EmbeddingTargets,
        FingerprintTargets,
        ForceField,
        Mixture,
        PropertyTargets,
        TensorTargets,
        TwoViews,
    )
    from .pretrained import describe_pretrained, list_pretrained

__all__ = [
    "CGCNN",
    "EAD",
    "GMP",
    "WACSF",
    "AtomTargets",
    "ClassTargets",
    "Composition",
    "CrystalGraphs",
    "Crystals",
    "Denoising",
    "ElementMasking",
    "EmbeddingTargets",
    "FingerprintTargets",
    "ForceField",
    "FoundationFeatures",
    "FrameLabels",
    "Mixture",
    "Pretrainer",
    "PropertyClassifier",
    "PropertyEnsemble",
    "PropertyRegressor",
    "PropertyTargets",
    "Protocol",
    "SchNet",
    "StructureToGraph",
    "TensorTargets",
    "TorchMDNet",
    "TwoViews",
    "__version__",
    "average_improvement",
    "backbones",
    "calculators",
    "cli",
    "datasets",
    "describe_pretrained",
    "estimators",
    "exceptions",
    "fingerprints",
    "foundation",
    "graphs",
    "inspection",
    "jia2024_cgcnn",
    "jia2024_torchmdnet",
    "jia2025_torchmdnet",
    "list_pretrained",
    "load_estimator",
    "model_selection",
    "objectives",
    "pretrained",
    "study",
    "testing",
    "training",
]

_HOME = {
    "AtomTargets": "objectives",
    "CGCNN": "backbones",
    "ClassTargets": "objectives",
    "Composition": "fingerprints",
    "CrystalGraphs": "graphs",
    "Crystals": "graphs",
    "Denoising": "objectives",
    "ElementMasking": "objectives",
    "EmbeddingTargets": "objectives",
    "EAD": "fingerprints",
    "FingerprintTargets": "objectives",
    "ForceField": "objectives",
    "FoundationFeatures": "foundation",
    "FrameLabels": "graphs",
    "GMP": "fingerprints",
    "Mixture": "objectives",
    "Pretrainer": "estimators",
    "PropertyClassifier": "estimators",
    "PropertyEnsemble": "estimators",
    "PropertyRegressor": "estimators",
    "PropertyTargets": "objectives",
    "Protocol": "estimators",
    "SchNet": "backbones",
    "StructureToGraph": "graphs",
    "TensorTargets": "objectives",
    "TorchMDNet": "backbones",
    "TwoViews": "objectives",
    "WACSF": "fingerprints",
    "average_improvement": "estimators",
    "describe_pretrained": "pretrained",
    "jia2024_cgcnn": "estimators",
    "jia2024_torchmdnet": "estimators",
    "jia2025_torchmdnet": "estimators",
    "list_pretrained": "pretrained",
    "load_estimator": "estimators",
}
_SUBPACKAGES = (
    "backbones",
    "calculators",
    "cli",
    "datasets",
    "estimators",
    "exceptions",
    "fingerprints",
    "foundation",
    "graphs",
    "inspection",
    "model_selection",
    "objectives",
    "pretrained",
    "study",
    "testing",
    "training",
)


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return import_module(f".{name}", __name__)
    if name in _HOME:
        value = getattr(import_module(f".{_HOME[name]}", __name__), name)
        globals()[name] = value  # the next access no longer comes here
        return value
    # With name and obj given, Python's traceback adds "Did you mean ...?".
    raise AttributeError(
        f"module {__name__!r} has no attribute {name!r}; its public names are "
        f"{', '.join(__all__)}. Others live in the subpackages.",
        name=name,
        obj=sys.modules[__name__],
    )


def __dir__() -> list[str]:
    return sorted(__all__)
