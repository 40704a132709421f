"""Gain of a model of the package over the same network from scratch, with the same budget.

    GNNPRE_DATA=... python benchmarks/pretrained_gain.py

draws up to 2,000 rows of each data set by seed 0, which the training of gnnpre-1 left out, splits
them by each seed into 0.6 for training, 0.2 for validation and 0.2 for testing (or takes 200 labels
for training and validation together, and the same test crystals), and fits ``PropertyRegressor``
with its default settings from scratch and from the model. A row is written to
``results/pretrained_gain.json`` after each fit, and rows that are there are not computed again. The
table with gains is written to ``results/pretrained_gain.md``.
"""

import argparse
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import ROOT, origin_lines, where_and_when

from gnnpre import PropertyRegressor, StructureToGraph
from gnnpre.datasets import read_matbench
from gnnpre.model_selection import leak_audit
from gnnpre.pretrained import resolve_model

RESULTS = ROOT / "benchmarks" / "results"
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


def make(model: str | None, source: str, seed: int, epochs: int) -> PropertyRegressor:
    settings = {"validation_fraction": 0.25, "random_state": seed, "diagnose": False}
    if model == "scratch":
        from gnnpre import load_estimator

        backbone = load_estimator(source).spec_.backbone
        return PropertyRegressor(backbone, max_epochs=epochs, **settings)
    return PropertyRegressor(pretrained=source, max_epochs=epochs, **settings)


def measure(name: str, source: str, seeds: list[int], labels: list[str], epochs: int) -> None:
    """Fit the models that are not in the results yet."""
    path = RESULTS / "pretrained_gain.json"
    crystals, y = read_set(name)
    graphs = None
    for amount in labels:
        for seed in seeds:
            fit_rows, test = split(len(y), seed, FEW if amount == "200" else None)
            for model in ("scratch", "pretrained"):
                key = {"set": name, "labels": amount, "seed": seed, "model": model}
                key |= {"source": source, "epochs": epochs}
                rows = read_rows(path)
                if any(key.items() <= row.items() for row in rows):
                    continue
                graphs = graphs or StructureToGraph(5.0).transform(crystals)
                start = time.process_time()
                regressor = make(model, source, seed, epochs).fit(graphs[fit_rows], y[fit_rows])
                seconds = time.process_time() - start
                error = float(np.abs(regressor.predict(graphs[test]) - y[test]).mean())
                mean = float(np.abs(y[fit_rows].mean() - y[test]).mean())
                rows = read_rows(path)  # another process may have added some
                row = {**key, "mae": error, "mae_of_mean": mean, "seconds": round(seconds, 1)}
                rows.append({**row, "n_fit": len(fit_rows), "n_test": len(test)})
                path.write_text(json.dumps(rows, indent=0) + "\n")
                print(name, amount, seed, model, f"{error:.4g} in {seconds:.0f} s", flush=True)


def read_rows(path: Path) -> list[dict]:
    return json.loads(path.read_text()) if path.exists() else []


def gains(rows: list[dict], amount: str) -> dict[str, list[float]]:
    """Return for each set the relative gains of its seeds."""
    errors = {
        (row["set"], row["seed"], row["model"]): row["mae"]
        for row in rows
        if row["labels"] == amount
    }
    result: dict[str, list[float]] = {}
    for (name, seed, model), error in errors.items():
        if model == "pretrained" and (name, seed, "scratch") in errors:
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
        "| set | seeds | mean of y | scratch | pre-trained | gain | seconds |",
        "|---" * 7 + "|",
    ]
    by_set = gains(rows, amount)
    for name, values in by_set.items():
        chosen = [row for row in rows if row["set"] == name and row["labels"] == amount]
        cells = [
            np.mean([row[column] for row in chosen if row["model"] == model])
            for column, model in (
                ("mae_of_mean", "scratch"),
                ("mae", "scratch"),
                ("mae", "pretrained"),
                ("seconds", "pretrained"),
            )
        ]
        baseline, scratch, pretrained, seconds = cells
        lines.append(
            f"| {name} | {len(values)} | {baseline:.4g} | {scratch:.4g} | {pretrained:.4g} | "
            f"{np.mean(values):+.1%} | {seconds:.0f} |"
        )
    mean, low, high = interval(by_set)
    return [*lines, "", f"Average gain: {mean:.1%}, 95 % interval [{low:.1%}, {high:.1%}]."]


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
    rows = read_rows(RESULTS / "pretrained_gain.json")
    lines = [f"# Gain of {arguments.source} over training from scratch", ""]
    lines += [
        "Written by `benchmarks/pretrained_gain.py`: mean absolute errors on the test crystals, "
        "with the same network and default settings for both. Seconds are of processor time.",
    ]
    for amount, title in (("all", "0.6 / 0.2 / 0.2"), ("200", "200 labels")):
        if gains(rows, amount):
            lines += ["", f"## {title}", "", *table(rows, amount)]
    measured = list(dict.fromkeys(row["set"] for row in rows))
    lines += ["", "## Crystals that the model has seen", ""]
    lines += [*leak_lines(arguments.source, measured), "", *origin_lines(where_and_when())]
    (RESULTS / "pretrained_gain.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
