"""Gain of a model of the package over the same network from scratch, with the same budget.

    GNNPRE_DATA=... python benchmarks/pretrained_gain.py

draws up to 2,000 rows of each data set by seed 0, which the training of gnnpre-1 left out, splits
them by each seed into 0.6 for training, 0.2 for validation and 0.2 for testing (or takes 200 labels
for training and validation together, and the same test crystals), and fits ``PropertyRegressor``
with its default settings from scratch and from the model. The latter is a blend of a fine-tuned
network and a kernel machine (``strategy="auto"``), from which the network alone is scored as well:
the same as ``strategy="full"``. A row is written to ``results/pretrained_gain.json`` after each
fit, and rows that are there are not computed again. The table with gains is written to
``results/pretrained_gain.md``.
"""

import argparse
import copy
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import ROOT, origin_lines, where_and_when

from gnnpre import CrystalGraphs, PropertyRegressor, StructureToGraph, load_estimator
from gnnpre.datasets import read_matbench
from gnnpre.model_selection import leak_audit
from gnnpre.pretrained import resolve_model

RESULTS = ROOT / "benchmarks" / "results"
RESULTS_FILE = RESULTS / "pretrained_gain.json"
# File, target (None: the only one), logarithm of it or not.
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
MODELS = ("scratch", "network", "default")
N_ROWS, ROW_SEED, FEW = 2000, 0, 200
N_RESAMPLES = 2000


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


def make(model: str, source: str, seed: int, epochs: int) -> PropertyRegressor:
    settings = {"validation_fraction": 0.25, "random_state": seed, "diagnose": False}
    if model == "scratch":
        backbone = load_estimator(source).spec_.backbone
        return PropertyRegressor(backbone, max_epochs=epochs, **settings)
    return PropertyRegressor(pretrained=source, max_epochs=epochs, **settings)


def network_alone(regressor: PropertyRegressor) -> PropertyRegressor:
    """Return the fine-tuned network of a blend, without the kernel machine."""
    network = copy.copy(regressor)
    network.kernel_ = None
    return network


def measure(name: str, source: str, seeds: list[int], labels: list[str], epochs: int) -> None:
    """Fit the models that are not in the results yet."""
    crystals, y = read_set(name)
    graphs = None
    for amount in labels:
        for seed in seeds:
            fit_rows, test = split(len(y), seed, FEW if amount == "200" else None)
            for model in ("scratch", "default"):
                key = {"set": name, "labels": amount, "seed": seed, "model": model}
                key |= {"source": source, "epochs": epochs}
                if any(key.items() <= row.items() for row in read_rows(RESULTS_FILE)):
                    continue
                graphs = graphs or StructureToGraph(5.0).transform(crystals)
                start = time.process_time()
                regressor = make(model, source, seed, epochs).fit(graphs[fit_rows], y[fit_rows])
                seconds = round(time.process_time() - start, 1)
                mean = float(np.abs(y[fit_rows].mean() - y[test]).mean())
                details = {"mae_of_mean": mean, "n_fit": len(fit_rows), "n_test": len(test)}
                share = float(regressor.weights_["network"][0])
                details |= {"seconds": seconds, "share_of_network": share}
                mae = error(regressor, graphs[test], y[test])
                rows = [{**key, "strategy": "auto", "mae": mae, **details}]
                if model == "default":
                    alone = {"model": "network", "strategy": "full", "share_of_network": 1.0}
                    mae = error(network_alone(regressor), graphs[test], y[test])
                    rows.append({**rows[0], **alone, "mae": mae})
                add_rows(rows)
                errors = ", ".join(f"{row['model']} {row['mae']:.4g}" for row in rows)
                print(f"{name}, {amount}, seed {seed}: {errors}", flush=True)


def error(regressor: PropertyRegressor, graphs: CrystalGraphs, y: np.ndarray) -> float:
    return float(np.abs(regressor.predict(graphs) - y).mean())


def add_rows(rows: list[dict]) -> None:
    """Write rows behind those that are there, another process's too, except what they replace."""
    columns = ("set", "labels", "seed", "model", "source", "epochs")

    def key(row: dict) -> tuple:
        return tuple(row[column] for column in columns)

    new = {key(row) for row in rows}
    earlier = [row for row in read_rows(RESULTS_FILE) if key(row) not in new]
    RESULTS_FILE.write_text(json.dumps(earlier + rows, indent=0) + "\n")


def read_rows(path: Path) -> list[dict]:
    return json.loads(path.read_text()) if path.exists() else []


def gains(rows: list[dict], amount: str, model: str) -> dict[str, list[float]]:
    """Return for each set the relative gains of its seeds."""
    errors = {
        (row["set"], row["seed"], row["model"]): row["mae"]
        for row in rows
        if row["labels"] == amount
    }
    result: dict[str, list[float]] = {}
    for (name, seed, fitted), error in errors.items():
        # Only seeds that all models were fitted with, so that the columns compare.
        if fitted == model and all((name, seed, needed) in errors for needed in MODELS):
            result.setdefault(name, []).append(1 - error / errors[name, seed, "scratch"])
    return result


def interval(by_set: dict[str, list[float]]) -> tuple[float, float, float]:
    """Return the mean over sets of the mean over seeds, and its 95 % bootstrap interval."""
    generator = np.random.default_rng(0)
    values = list(by_set.values())
    means = []
    for _ in range(N_RESAMPLES):
        chosen = generator.integers(len(values), size=len(values))
        means.append(
            np.mean([np.mean(generator.choice(values[i], len(values[i]))) for i in chosen])
        )
    low, high = np.quantile(means, [0.025, 0.975])
    return float(np.mean([np.mean(value) for value in values])), float(low), float(high)


def table(rows: list[dict], amount: str) -> list[str]:
    lines = [
        "| set | seeds | mean of y | scratch | fine-tuned network | default | gain of the network "
        "| gain of the default | share of the network | seconds, scratch | seconds, default |",
        "|---" * 11 + "|",
    ]
    network, default = (gains(rows, amount, model) for model in ("network", "default"))
    for name, values in default.items():
        chosen = [row for row in rows if row["set"] == name and row["labels"] == amount]
        seeds = {row["seed"] for row in chosen if row["model"] == "default"}
        cells = {
            (model, column): np.mean(
                [row[column] for row in chosen if row["model"] == model and row["seed"] in seeds]
            )
            for model in MODELS
            for column in ("mae_of_mean", "mae", "seconds")
        }
        share = np.mean([r["share_of_network"] for r in chosen if r["model"] == "default"])
        errors = " | ".join(f"{cells[model, 'mae']:.4g}" for model in MODELS)
        lines.append(
            f"| {name} | {len(values)} | {cells['scratch', 'mae_of_mean']:.4g} | {errors} | "
            f"{np.mean(network[name]):+.1%} | {np.mean(values):+.1%} | {share:.2f} | "
            f"{cells['scratch', 'seconds']:.0f} | {cells['default', 'seconds']:.0f} |"
        )
    lines.append("")
    for title, by_set in (("fine-tuned network alone", network), ("default", default)):
        mean, low, high = interval(by_set)
        lines.append(
            f"Average gain, {title}: {mean:.1%}, 95 % interval [{low:.1%}, {high:.1%}] over "
            f"{len(by_set)} sets."
        )
    return lines


def leak_lines(source: str, names: list[str]) -> list[str]:
    """Return how many of the crystals the model has seen."""
    lines = []
    for name in names:
        audit = leak_audit(source, read_set(name)[0])
        lines.append(f"- {name}: {audit!r}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", default="gnnpre-1", help="name or file of the model")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--labels", nargs="*", default=["all", "200"], choices=["all", "200"])
    parser.add_argument("--epochs", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    resolve_model(arguments.source)
    for name in arguments.sets:
        measure(name, arguments.source, arguments.seeds, arguments.labels, arguments.epochs)
    rows = read_rows(RESULTS_FILE)
    lines = [f"# Gain of {arguments.source} over training from scratch", ""]
    lines += [
        "Written by `benchmarks/pretrained_gain.py`: mean absolute errors on the test crystals, "
        "with the same network and default settings. The default for a pre-trained model is the "
        "blend of a fine-tuned network and a kernel machine. Seconds are of processor time.",
    ]
    for amount, title in (("all", "0.6 / 0.2 / 0.2"), ("200", "200 labels")):
        if gains(rows, amount, "default"):
            lines += ["", f"## {title}", "", *table(rows, amount)]
    measured = list(dict.fromkeys(row["set"] for row in rows))
    lines += ["", "## Crystals that the model has seen", ""]
    lines += [*leak_lines(arguments.source, measured), "", *origin_lines(where_and_when())]
    (RESULTS / "pretrained_gain.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
