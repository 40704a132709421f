"""Folders of studies that were never run, with numbers that a test chooses."""

import hashlib
import json
from pathlib import Path

import numpy as np

ELEMENTS = ("Li", "O", "Fe", "Si", "Ce", "U")
FORMULAS = [f"{a}{b}2" for a in ELEMENTS for b in ELEMENTS if a != b] * 4
DATA = {
    "jdft2d": ("exfoliation_en", "meV/atom", FORMULAS),
    "phonons": ("last phdos peak", "1/cm", FORMULAS),
}
#: Method, its role, and the size of its errors.
METHODS = (
    (None, "mean", "baseline", 60.0),
    ("cgcnn", "scratch", "scratch", 40.0),
    ("cgcnn", "forces", "pretrained", 32.0),
    ("cgcnn", "ead", "pretrained", 20.0),
)
SEEDS = (111, 112, 113)
N_TEST = 40


def key_of(*parts) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def evaluation(data, backbone, strategy, *, seed, fold=None, predictions=None, **changes) -> dict:
    """Return a record: targets are those of the run, predictions off by ``size`` by default."""
    role, size = changes.pop("role", "pretrained"), changes.pop("size", 30.0)
    run = np.random.default_rng([seed or 0, fold or 0, len(data)])
    indices = np.sort(run.permutation(len(FORMULAS))[:N_TEST])
    targets = run.normal(200.0, 50.0, N_TEST)
    noise = np.random.default_rng([int(key_of(data, backbone, strategy, seed, fold), 16) % 2**32])
    if predictions is None:
        predictions = targets + noise.normal(0.0, size, N_TEST)
    mae = float(np.abs(predictions - targets).mean())
    curve = mae * (0.4 + np.exp(-np.arange(12) / 4) * noise.uniform(0.9, 1.1, 12))
    return {
        "schema": 1,
        "key": key_of("evaluation", data, backbone, strategy, seed, fold),
        "kind": "evaluation",
        "study": "made up",
        "protocol": "papers" if fold is None else "matbench",
        "data": data,
        "target": DATA[data][0],
        "unit": DATA[data][1],
        "backbone": backbone,
        "strategy": strategy,
        "role": role,
        "seed": seed,
        "fold": fold,
        "metrics": {"mae": mae, "rmse": mae * 1.3, "r2": 0.5},
        "validation": {"mae": size} if backbone else None,
        "test_indices": indices.tolist(),
        "targets": targets.tolist(),
        "predictions": np.asarray(predictions).tolist(),
        "history": [
            {"epoch": i + 1, "train_loss": 0.8 * value, "valid_loss": value}
            for i, value in enumerate(curve.tolist())
        ]
        if backbone
        else [],
        "n_train": 72,
        "n_valid": 24,
        "n_test": N_TEST,
        "seconds": 1800.0,
        "epochs": 12,
        "parameters": {"max_epochs": 12},
        "pretraining": None,
        **provenance(),
        **changes,
    }


def provenance() -> dict:
    return {
        "commit": "0123abc",
        "versions": {"python": "3.11.9", "torch": "2.13.0"},
        "machine": {"processor": "EPYC", "cores": 2, "threads": 2, "device": "cpu"},
        "finished": "2026-11-21T10:33:00+00:00",
    }


def pretraining(strategy="forces", **changes) -> dict:
    losses = np.geomspace(2.0, 0.4, 10).tolist()
    return {
        "schema": 1,
        "key": key_of("pretraining", strategy),
        "kind": "pretraining",
        "study": "made up",
        "data": None,
        "backbone": "cgcnn",
        "strategy": strategy,
        "role": None,
        "history": [
            {"epoch": i + 1, "train_loss": 0.9 * x, "valid_loss": x} for i, x in enumerate(losses)
        ],
        "n_train": 3000,
        "n_valid": 330,
        "seconds": 7200.0,
        "epochs": 10,
        "parameters": {"pretraining": {"objective": {"class": "ForceField", "forces": 500}}},
        "pretrained": f"pretrained/{key_of('pretraining', strategy)}.gnnpre",
        **provenance(),
        **changes,
    }


def job_of(record: dict) -> dict:
    names = ("key", "kind", "data", "backbone", "strategy", "role", "seed", "fold", "member")
    return {name: record.get(name) for name in names}


def all_evaluations(*, protocol="papers", methods=METHODS, data=tuple(DATA)) -> list[dict]:
    runs = [{"seed": s} for s in SEEDS]
    if protocol == "matbench":
        runs = [{"seed": 7, "fold": fold} for fold in range(5)]
    return [
        evaluation(name, backbone, strategy, role=role, size=size, **run)
        for name in data
        for backbone, strategy, role, size in methods
        for run in runs
    ]


def write_folder(folder: Path, records, *, jobs=None, failures=(), data=DATA, **study) -> Path:
    """Write the folder of a study with these records; ``jobs`` are those that were declared."""
    declared = records if jobs is None else jobs
    text = {"name": "made up", "protocol": "papers", "jobs": [job_of(r) for r in declared], **study}
    write_json(folder / "study.json", text)
    for name, (target, unit, formulas) in data.items():
        summary = {"name": name, "target": target, "unit": unit, "n": len(formulas)}
        write_json(folder / "data" / f"{name}.json", {**summary, "formulas": formulas})
    for record in records:
        write_json(folder / "records" / f"{record['key']}.json", record)
    for failure in failures:
        write_json(folder / "failures" / f"{failure['key']}.json", failure)
    return folder


def failure_of(record: dict, error="ValueError: a <bad> crystal") -> dict:
    finished = "2026-11-21T11:00:00+00:00"
    return {
        "job": job_of(record),
        "key": record["key"],
        "error": error,
        "traceback": "Traceback ...",
        "finished": finished,
    }


def write_json(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
