"""Gain of a model of the package over the same network from scratch, and over other methods.

    GNNPRE_DATA=... python benchmarks/pretrained_gain.py --models scratch default ensemble

draws up to 2,000 rows of each data set by seed 0, which the training of gnnpre-1 left out, splits
them by each seed into 0.6 for training, 0.2 for validation and 0.2 for testing (or takes fewer
labels for training and validation together, such as 200, and the same test crystals), and fits,
all with default settings:

- ``scratch``: the network of the model, with random weights;
- ``default``: ``PropertyRegressor(pretrained=...)``, a blend of a fine-tuned network and a kernel
  machine, from which the network alone (``network``: the same as ``strategy="full"``) is scored
  as well;
- ``kernel``: ``strategy="kernel"``, the machine alone;
- ``ensemble``: ``PropertyEnsemble(...)``, whose members are scored as well;
- ``fingerprint kernel``, ``forest``, ``svr``: without a network, on EAD cumulants and composition;
- ``chgnet``: support vectors on features of CHGNet 0.3.0 and composition (the extra ``chgnet``),
  but for slabs, which it does not take.

A row is written to ``results/pretrained_gain.json`` after each fit, and rows that are there are not
computed again, unless the weights of the model have changed. The tables are written to
``results/pretrained_gain.md``, and errors over processor time to ``results/cost.png``.
"""

import argparse
import copy
import hashlib
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import ROOT, origin_lines, where_and_when
from gain_curves import cost_table, curve_table, draw_costs
from gain_tables import METHODS, ensemble_table, gain_table, machine_table
from sklearn.ensemble import RandomForestRegressor
from sklearn.pipeline import make_pipeline, make_union

from gnnpre import (
    EAD,
    Composition,
    CrystalGraphs,
    FoundationFeatures,
    PropertyEnsemble,
    PropertyRegressor,
    StructureToGraph,
    load_estimator,
)
from gnnpre.datasets import read_matbench
from gnnpre.estimators._crystal_kernel import CrystalKernel
from gnnpre.model_selection import leak_audit
from gnnpre.pretrained import resolve_model
from gnnpre.study.run._support_vectors import SupportVectors

RESULTS = ROOT / "benchmarks" / "results"
RESULTS_FILE = RESULTS / "pretrained_gain.json"
# File, and target where it has several.
SETS: dict[str, tuple[str, str | None]] = {
    "jdft2d": ("jdft2d", None),
    "phonons": ("phonons", None),
    "dielectric": ("matbench_dielectric_4177", None),
    "log_g": ("matbench_log_gvrh_10351", None),
    "log_k": ("matbench_log_kvrh_10411", None),
    "perovskites": ("matbench_perovskites", None),
    "formation_energy": ("mp_form_gap_37k", "formation_energy_eV_per_atom"),
    "band_gap": ("mp_form_gap_37k", "band_gap_eV"),
    "refractive_index": ("refractive_index", None),
    "adsorption": ("adsorption", None),
}
#: Slabs are periodic in two directions; CHGNet needs all three.
SLABS = ("adsorption",)
N_ROWS, ROW_SEED = 2000, 0
CUTOFF = 5.0
#: Methods that start from the model: their rows are of one file of weights.
OF_MODEL = ("kernel", "default", "network", "ensemble")


def read_set(name: str) -> tuple[Any, np.ndarray]:
    file, target = SETS[name]
    path = Path(os.environ["GNNPRE_DATA"]) / "downstream" / f"{file}.json.gz"
    crystals, y = read_matbench(path, target) if target else read_matbench(path)
    rows = np.sort(np.random.default_rng(ROW_SEED).permutation(len(y))[:N_ROWS])
    return crystals[rows], np.asarray(y, dtype=float)[rows]


def split(n: int, seed: int, n_labels: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return rows to fit on (a quarter of them validates) and rows to test on."""
    order = np.random.default_rng(seed).permutation(n)
    test, rest = np.split(order, [round(0.2 * n)])
    return rest[: n_labels or len(rest)], test


def make(method: str, source: str, seed: int, epochs: int) -> Any:
    if method == "fingerprint kernel":
        return CrystalKernel(random_state=seed)
    if method == "chgnet":
        features = FoundationFeatures("chgnet", layer=(2, -1), pooling="cumulants", cache=False)
        return make_pipeline(make_union(features, Composition()), SupportVectors(seed))
    if method in ("forest", "svr"):
        features = make_union(EAD(CUTOFF, pooling="cumulants"), Composition())
        forest = RandomForestRegressor(300, max_features=1 / 3, random_state=seed)
        return make_pipeline(features, forest if method == "forest" else SupportVectors(seed))
    if method == "ensemble":
        return PropertyEnsemble(source, max_epochs=epochs, random_state=seed)
    settings = {"random_state": seed, "diagnose": False}
    if method == "kernel":
        return PropertyRegressor(pretrained=source, strategy="kernel", **settings)
    settings |= {"validation_fraction": 0.25, "max_epochs": epochs}
    if method == "scratch":
        return PropertyRegressor(load_estimator(source).spec_.backbone, **settings)
    return PropertyRegressor(pretrained=source, **settings)


def measure(name: str, methods: list[str], amounts: list[str], seeds: list[int], key: dict) -> None:
    """Fit the models that are not in the results yet."""
    digest = digest_of(key["source"])
    crystals, y = read_set(name)
    graphs = None
    for amount in amounts:
        for seed in seeds:
            rows_of_seed = split(len(y), seed, None if amount == "all" else int(amount))
            for method in methods:
                if method == "chgnet" and name in SLABS:
                    continue
                row = {"set": name, "labels": amount, "seed": seed, "model": method, **key}
                if method in OF_MODEL:
                    row["digest"] = digest
                if any(row.items() <= earlier.items() for earlier in read_rows()):
                    continue
                graphs = graphs or StructureToGraph(CUTOFF).transform(crystals)
                rows = fit_and_test(row, graphs, y, *rows_of_seed)
                add_rows(rows)
                errors = ", ".join(f"{new['model']} {new['mae']:.4g}" for new in rows)
                print(f"{name}, {amount}, seed {seed}: {errors}", flush=True)


def fit_and_test(
    row: dict, graphs: CrystalGraphs, y: np.ndarray, fit_rows: np.ndarray, test: np.ndarray
) -> list[dict]:
    """Return rows of a fitted model, and of the network within it where it is a blend."""
    start = time.process_time()
    model = make(row["model"], row["source"], row["seed"], row["epochs"])
    model.fit(graphs[fit_rows], y[fit_rows])
    seconds = round(time.process_time() - start, 1)
    mean = float(np.abs(y[fit_rows].mean() - y[test]).mean())
    details = {"mae_of_mean": mean, "n_fit": len(fit_rows), "n_test": len(test)}
    details |= {"seconds": seconds, "mae": error(model, graphs[test], y[test])}
    details |= {name: where_and_when()[name] for name in ("commit", "machine")}
    if row["model"] == "ensemble":
        details |= {
            "weights": model.weights_,
            "members": member_errors(model, graphs[test], y[test]),
        }
    if row["model"] != "default":
        return [{**row, **details}]
    details["share_of_network"] = float(model.weights_["network"][0])
    mae = error(network_alone(model), graphs[test], y[test])
    network = {**row, **details, "model": "network", "mae": mae}
    return [{**row, **details}, network]


def network_alone(regressor: PropertyRegressor) -> PropertyRegressor:
    """Return the fine-tuned network of a blend, without the kernel machine."""
    network = copy.copy(regressor)
    network.kernel_ = None
    return network


def error(model: Any, graphs: CrystalGraphs, y: np.ndarray) -> float:
    return float(np.abs(model.predict(graphs) - y).mean())


def member_errors(
    ensemble: PropertyEnsemble, graphs: CrystalGraphs, y: np.ndarray
) -> dict[str, float]:
    """Return the test error of each member, averaged over its folds as the ensemble does."""
    predictions = {
        name: np.mean([model.predict(graphs) for model in models], axis=0)
        for name, models in ensemble.members_.items()
    }
    return {name: float(np.abs(values - y).mean()) for name, values in predictions.items()}


def add_rows(rows: list[dict]) -> None:
    """Write rows behind those that are there, another process's too, except what they replace."""
    columns = ("set", "labels", "seed", "model", "source", "epochs")

    def key(row: dict) -> tuple:
        return tuple(row[column] for column in columns)

    new = {key(row) for row in rows}
    earlier = [row for row in read_rows() if key(row) not in new]
    RESULTS_FILE.write_text(json.dumps(earlier + rows, indent=0) + "\n")


def read_rows() -> list[dict]:
    return json.loads(RESULTS_FILE.read_text()) if RESULTS_FILE.exists() else []


def leak_lines(source: str, names: list[str]) -> list[str]:
    """Return how many of the crystals the model has seen."""
    return [f"- {name}: {leak_audit(source, read_set(name)[0])!r}" for name in names]


def digest_of(source: str) -> str:
    """Return a digest of the weights behind a row: of the model, and of the force field."""
    files = (resolve_model(source), resolve_model("gnnpre-1-forces"))
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    return "-".join(digest[:8] for digest in digests)


def write_tables(source: str) -> None:
    digest = digest_of(source)
    rows = [
        row
        for row in read_rows()
        if row["source"] == source and (row["model"] not in OF_MODEL or row.get("digest") == digest)
    ]
    lines = [
        f"# Gain of {source} over training from scratch",
        "",
        "Written by `benchmarks/pretrained_gain.py`: mean absolute errors on the test crystals, "
        "with the same network and default settings, means over seeds. The default for a "
        "pre-trained model is the blend of a fine-tuned network and a kernel machine. Seconds are "
        "of processor time.",
    ]
    for amount, title in (("all", "0.6 / 0.2 / 0.2"), ("200", "200 labels")):
        chosen = [row for row in rows if row["labels"] == amount]
        if chosen:
            lines += ["", f"## {title}", "", *gain_table(chosen)]
            lines += ["", f"### Without a network to train, {title}", "", *machine_table(chosen)]
            lines += ["", f"### Ensemble, {title}", "", *ensemble_table(chosen)]
    lines += ["", "## Learning curves", "", *curve_table(rows)]
    lines += ["", "## What a user gets for the time", "", *cost_table(rows)]
    draw_costs(rows, RESULTS / "cost.png")
    measured = list(dict.fromkeys(row["set"] for row in rows))
    lines += ["", "## Crystals that the model has seen", ""]
    lines += [*leak_lines(source, measured), "", *origin_lines(where_and_when())]
    (RESULTS / "pretrained_gain.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", default="gnnpre-1", help="name or file of the model")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--models", nargs="*", default=METHODS, choices=[*METHODS, "chgnet"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--labels", nargs="*", default=["all", "200"], help="all, or numbers")
    parser.add_argument("--epochs", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    resolve_model(arguments.source)
    key = {"source": arguments.source, "epochs": arguments.epochs}
    for name in arguments.sets:
        measure(name, arguments.models, arguments.labels, arguments.seeds, key)
    write_tables(arguments.source)


if __name__ == "__main__":
    main()
