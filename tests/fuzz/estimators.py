"""Attack: parameters of estimators, one or two of which are set to a strange value."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from gnnpre import (
    CGCNN,
    EAD,
    GMP,
    WACSF,
    Composition,
    Denoising,
    ElementMasking,
    EmbeddingTargets,
    FingerprintTargets,
    ForceField,
    Mixture,
    Pretrainer,
    PropertyClassifier,
    PropertyEnsemble,
    PropertyRegressor,
    SchNet,
    StructureToGraph,
    TorchMDNet,
    TwoViews,
)
from gnnpre.estimators import KernelRegressor

from .shared import QUICK, Shared
from .values import pick, strange_value


def make_case(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    """Choose an estimator, change a parameter or two, and fit."""
    name = pick(rng, list(ESTIMATORS))
    estimator = clone(ESTIMATORS[name])
    names = sorted(estimator.get_params())
    changes = {pick(rng, names): strange_value(rng) for _ in range(int(rng.choice([1, 1, 1, 2])))}
    description = f"{name}: " + ", ".join(f"{k}={v!r:.100}" for k, v in changes.items())
    return description, lambda: _fit(estimator, changes, shared)


def _fit(estimator: Any, changes: dict[str, Any], shared: Shared) -> Any:
    estimator.set_params(**changes)
    if isinstance(estimator, StructureToGraph):
        return estimator.fit_transform(shared.crystals[0])
    if not hasattr(estimator, "predict"):
        return estimator.fit_transform(shared.graphs)
    X, y = shared.graphs, _labels(estimator, shared)
    if isinstance(estimator, Pretrainer):
        X, y = shared.frame_graphs, shared.frames[1]
    estimator.fit(X, y)
    results = [estimator.transform(X)] if hasattr(estimator, "transform") else []
    if not isinstance(estimator, Pretrainer) or isinstance(estimator.objective, ForceField):
        results.append(estimator.predict(X))
    return results


def _labels(estimator: Any, shared: Shared) -> Any:
    """Return labels of the form that the estimator learns, if its parameters are what they were."""
    rng, y = np.random.default_rng(0), shared.crystals[1]
    if isinstance(estimator, PropertyClassifier):
        return np.array(list("aabbabab"))
    target = getattr(estimator, "target", None)
    if isinstance(target, str) and target == "atom":
        return [rng.normal(size=len(structure)) for structure in shared.crystals[0]]
    if isinstance(target, str) and target in ("vector", "tensor"):
        return rng.normal(size=(len(y), 3 if target == "vector" else 6))
    return y


#: Trains within `fit`: a kernel machine needs a network to start from.
SOURCE = Pretrainer(CGCNN(4, 1), Denoising(), **QUICK)

ESTIMATORS: dict[str, Any] = {
    "regressor": PropertyRegressor(CGCNN(4, 1), **QUICK),
    "regressor on TorchMDNet": PropertyRegressor(TorchMDNet(8, 1, n_heads=2), **QUICK),
    "calibrated regressor": PropertyRegressor(CGCNN(4, 1), calibration_fraction=0.3, **QUICK),
    "regressor with pre-training": PropertyRegressor(
        pretraining=Pretrainer(CGCNN(4, 1), Denoising(), **QUICK), **QUICK
    ),
    "classifier": PropertyClassifier(CGCNN(4, 1), **QUICK),
    "force field": Pretrainer(CGCNN(4, 1), ForceField(), **QUICK),
    "denoising": Pretrainer(CGCNN(4, 1), Denoising(), **QUICK),
    "fingerprint targets": Pretrainer(CGCNN(4, 1), FingerprintTargets(EAD(4.0, L=0)), **QUICK),
    "mixture": Pretrainer(
        CGCNN(4, 1), Mixture([("forces", ForceField(), 1.0), ("noise", Denoising(), 0.1)]), **QUICK
    ),
    "regressor of atoms": PropertyRegressor(CGCNN(4, 1), target="atom", **QUICK),
    "regressor of vectors": PropertyRegressor(
        TorchMDNet(8, 1, n_heads=2), target="vector", **QUICK
    ),
    "regressor of tensors": PropertyRegressor(
        TorchMDNet(8, 1, n_heads=2), target="tensor", **QUICK
    ),
    "kernel regressor": PropertyRegressor(strategy="kernel", pretraining=SOURCE, **QUICK),
    "kernel classifier": PropertyClassifier(strategy="kernel", pretraining=SOURCE, **QUICK),
    "element masking": Pretrainer(CGCNN(4, 1), ElementMasking(), **QUICK),
    "two views": Pretrainer(SchNet(4, 1), TwoViews(), **QUICK),
    "embedding targets": Pretrainer(
        CGCNN(4, 1), EmbeddingTargets(EAD(4.0, L=0, pooling="mean")), **QUICK
    ),
    "ensemble": PropertyEnsemble(
        members=[
            ("network", PropertyRegressor(CGCNN(4, 1), **QUICK)),
            ("kernel", make_pipeline(Composition(), KernelRegressor())),
        ],
        cv=2,
        random_state=0,
    ),
    "composition": Composition(),
    "graphs": StructureToGraph(cutoff=4.0),
    "WACSF": WACSF(4.0, pooling="mean"),
    "EAD": EAD(4.0, L=1, pooling="mean"),
    "GMP": GMP((0.3,), (-1, 0, 1), pooling="mean"),
}
