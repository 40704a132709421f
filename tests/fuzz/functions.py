"""Attack: arguments of functions, splitters, searches, declarations and indices."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gnnpre import (
    CGCNN,
    CrystalGraphs,
    Denoising,
    FrameLabels,
    PropertyRegressor,
    StructureToGraph,
    average_improvement,
    jia2024_cgcnn,
    jia2025_torchmdnet,
)
from gnnpre.datasets import (
    filter_frames,
    make_emt_frames,
    make_emt_property,
    read_frames,
    read_matbench,
)
from gnnpre.model_selection import (
    ChemicalSystemKFold,
    CompositionKFold,
    FingerprintClusterKFold,
    PrototypeKFold,
    PruningSearchCV,
    drop_leaks,
    leak_audit,
    structure_groups,
    structure_train_test_split,
    suggest_params,
)
from gnnpre.study import DataSet, Network, Pretraining, Strategy, Study
from gnnpre.training import CosineSchedule, PlateauSchedule

from .labels import column
from .shared import QUICK, Shared
from .values import pick, strange_value


def make_case(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    """Choose a function, and make one of its arguments strange."""
    targets = _targets(shared)
    name = pick(rng, list(targets))
    function, arguments = targets[name]
    chosen = pick(rng, list(arguments))
    value = column(rng, 8) if rng.random() < 0.3 else strange_value(rng)
    description = f"{name}({chosen}={value!r:.150})"
    return description, lambda: function(**{**arguments, chosen: value})


def _targets(shared: Shared) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Return functions, with the arguments of a call that works."""
    X, (crystals, y) = shared.graphs, shared.crystals
    frames, labels = shared.frames
    leaks = {"pretraining_structures": crystals, "evaluation_structures": crystals[:2]}
    leaks |= {
        "pretraining_ids": None,
        "evaluation_ids": None,
        "ltol": 0.2,
        "stol": 0.3,
        "angle_tol": 5.0,
    }
    leaks |= {"scale": True, "symprec": 0.1, "match": True, "n_jobs": None}
    folds = {"n_splits": 2, "shuffle": True, "random_state": 0, "X": crystals}
    model = shared.models["regressor"]
    strategy = {
        "name": "a",
        "pretraining": None,
        "kind": "finetune",
        "epoch": None,
        "members": None,
    }
    strategy |= {"of": None, "finetuning": {}, "backbones": None}
    return {
        "make_emt_frames": (make_emt_frames, {"n_frames": 2, "max_atoms": 4, "strain": 0.03,
            "rattle": 0.1, "random_state": 0}),
        "make_emt_property": (make_emt_property, {"n_structures": 2, "target": "bulk_modulus",
            "max_atoms": 4, "random_state": 0}),
        "filter_frames": (filter_frames, {"structures": frames, "labels": labels,
            "max_force": 20.0, "max_stress": 0.6}),
        "read_frames": (read_frames, {"path": "no.xyz", "energy_key": None, "format": "extxyz"}),
        "read_matbench": (read_matbench, {"path": "no.json", "target": None}),
        "average_improvement": (average_improvement, {"baseline": [1.0, 2.0], "model": [0.9,
            1.8]}),
        "jia2024_cgcnn": (jia2024_cgcnn, {"objective": "forces", "ratio": (1, 500, 500),
            "smearing_width": 0.2, "pooling": "sum", "pretraining_epochs": 2}),
        "jia2025_torchmdnet": (jia2025_torchmdnet, {"objective": "ead", "standardize": False,
            "pretraining_epochs": 2}),
        "CompositionKFold": (lambda X, **k: list(CompositionKFold(**k).split(X)), folds),
        "ChemicalSystemKFold": (lambda X, **k: list(ChemicalSystemKFold(**k).split(X)), folds),
        "PrototypeKFold": (lambda X, **k: list(PrototypeKFold(**k).split(X)), {**folds,
            "symprec": 0.1, "n_jobs": None}),
        "FingerprintClusterKFold": (lambda X, **k: list(FingerprintClusterKFold(**k).split(X)),
            {**folds, "fingerprint": None, "n_clusters": None}),
        "structure_groups": (lambda **k: len(structure_groups(**k)), {"X": crystals,
            "by": "prototype", "symprec": 0.1, "n_jobs": None}),
        "structure_train_test_split": (lambda X, y, **k: len(structure_train_test_split(X, y,
            **k)), {"X": crystals, "y": y, "by": "composition", "test_size": 0.25,
            "random_state": 0}),
        "leak_audit": (lambda **k: leak_audit(**k).level, leaks),
        "drop_leaks": (drop_leaks, {**leaks, "level": "structure"}),
        "PruningSearchCV": (_search, {"estimator": PropertyRegressor(CGCNN(4, 1), **QUICK),
            "param_distributions": _space, "cv": 2, "n_trials": 1, "timeout": None,
            "pruner": None, "sampler": None, "storage": None, "study_name": None,
            "scoring": None, "random_state": 0, "X": X, "y": y}),
        "suggest_params": (suggest_params, {"estimator": PropertyRegressor(), "trial": _Trial(),
            "prefix": ""}),
        "CosineSchedule": (lambda **k: _train(shared, schedule=CosineSchedule(**k)),
            {"warmup": 0.05, "final": 0.01}),
        "PlateauSchedule": (lambda **k: _train(shared, schedule=PlateauSchedule(**k)),
            {"factor": 0.8, "patience": 10, "threshold": 1e-4, "min_learning_rate": 1e-5,
            "monitor": "valid_loss"}),
        "DataSet": (lambda **k: repr(DataSet(**k)), {"name": "a", "source": None,
            "path": "a.json", "target": None, "unit": None, "sample": None, "sample_seed": 0,
            "n_labels": None, "finetuning": {}}),
        "Network": (lambda **k: repr(Network(**k)), {"name": "a", "backbone": CGCNN(4, 1),
            "graphs": None, "pretraining": {}, "finetuning": {}}),
        "Pretraining": (lambda **k: repr(Pretraining(**k)), {"name": "a",
            "objective": Denoising(), "sources": ["a.json"], "targets": None,
            "max_structures": None, "random_state": 0, "drop_leaks": (),
            "leak_level": "structure", "settings": {}}),
        "Strategy": (lambda **k: repr(Strategy(**k)), strategy),
        "Study": (lambda **k: repr(Study(**k)), {"name": "a", "data": [DataSet(name="a",
            path="a.json")], "backbones": [Network(name="c", backbone=CGCNN(4, 1))],
            "strategies": [Strategy(name="scratch")], "protocol": "papers", "seeds": [1],
            "graphs": StructureToGraph(cutoff=4.0), "baselines": ["mean"]}),
        "graphs[key]": (lambda key: X[key], {"key": 0}),
        "labels[key]": (lambda key: labels[key].energy, {"key": 0}),
        "graphs.batch": (lambda indices: X.batch(indices).positions, {"indices": [0, 1]}),
        "labels.groups": (lambda key: len(labels.groups(key)), {"key": "group"}),
        "CrystalGraphs.load": (CrystalGraphs.load, {"path": "no"}),
        "FrameLabels.load": (FrameLabels.load, {"path": "no"}),
        "predict": (model.predict, {"X": X}),
        "embed": (model.embed, {"X": X, "layer": -1, "pooling": "mean"}),
        "save": (model.save, {"path": "m.gnnpre"}),
    }  # fmt: skip


def _space(trial: Any) -> dict[str, Any]:
    return {"batch_size": trial.suggest_categorical("batch_size", [2, 4])}


class _Trial:
    """The first choice of everything."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return next(iter(choices))

    def suggest_float(self, name: str, low: float, high: float, **kwargs: Any) -> float:
        return low

    def suggest_int(self, name: str, low: int, high: int, **kwargs: Any) -> int:
        return low


def _search(X: Any, y: Any, **arguments: Any) -> Any:
    return PruningSearchCV(**arguments).fit(X, y).best_score_


def _train(shared: Shared, **settings: Any) -> Any:
    model = PropertyRegressor(CGCNN(4, 1), **{**QUICK, "max_epochs": 2, **settings})
    return model.fit(shared.graphs, shared.crystals[1]).predict(shared.graphs)
