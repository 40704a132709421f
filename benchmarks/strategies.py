"""Fine-tuning strategies beside each other, by number of labels, on real crystals.

    GNNPRE_DATA=... python benchmarks/strategies.py real_crystals.gnnpre

takes a model that ``examples/plot_real_crystals.py`` pre-trained on forces
(``GNNPRE_SCALE=full``), fine-tunes it on some labels of MatBench's phonons and jdft2d with each
strategy, and trains the same network from scratch: the same budget for all, 300 crystals to test
on, a split for each seed. A line a split is printed; the table of means is written to
``results/strategies.md``.
"""

import argparse
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from common import ROOT, origin_lines, where_and_when

from gnnpre import CGCNN, PropertyRegressor, StructureToGraph
from gnnpre.datasets import read_matbench

SIZES = {"phonons": (50, 200, 600), "jdft2d": (50, 200)}
MODELS = ("scratch", "full", "head", "frozen_then_full", "layerwise")
SEEDS, N_TEST, EPOCHS = (0, 1, 2), 300, 60


def make(model: str, source: str, n_labels: int) -> PropertyRegressor:
    budget = {
        "max_epochs": EPOCHS,
        "batch_size": max(4, n_labels // 20),
        "validation_fraction": 0,
        "ema_decay": 0.99,
        "learning_rate": 2e-3,
        "random_state": 0,
    }
    if model == "scratch":
        return PropertyRegressor(CGCNN(hidden_channels=64, n_layers=3), **budget)
    return PropertyRegressor(pretrained=source, strategy=model, diagnose=False, **budget)


def compare(name: str, source: str) -> dict[int, np.ndarray]:
    """Return the errors (seeds, models) by number of labels; the last column is the mean's."""
    file = Path(os.environ["GNNPRE_DATA"]) / "downstream" / f"{name}.json.gz"
    structures, y = read_matbench(file)
    graphs, y = StructureToGraph(5.0).transform(structures), np.asarray(y)
    errors = {}
    for n_labels in SIZES[name]:
        rows = []
        for seed in SEEDS:
            order = np.random.default_rng(seed).permutation(len(y))
            train, test = order[:n_labels], order[-N_TEST:]
            errors = [
                np.abs(
                    make(model, source, n_labels).fit(graphs[train], y[train]).predict(graphs[test])
                    - y[test]
                ).mean()
                for model in MODELS
            ]
            rows.append([*errors, np.abs(y[train].mean() - y[test]).mean()])
            print(name, n_labels, seed, np.round(rows[-1], 1).tolist(), flush=True)
        errors[n_labels] = np.array(rows)
    return errors


def table(results: dict[str, dict[int, np.ndarray]]) -> list[str]:
    lines = [
        "| set | labels | " + " | ".join(MODELS) + " | mean |",
        "|---" * (len(MODELS) + 3) + "|",
    ]
    for name, sizes in results.items():
        for n_labels, errors in sizes.items():
            cells = [f"{value:.1f}" for value in errors.mean(axis=0)]
            lines.append(f"| {name} | {n_labels} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="file of a pre-trained model with a cutoff of 5 Å")
    source = parser.parse_args().source
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="X holds elements")
    results = {name: compare(name, source) for name in SIZES}
    lines = [
        "# Fine-tuning strategies by number of labels",
        "",
        "Written by `benchmarks/strategies.py`: mean absolute errors (1/cm, meV/atom) over "
        f"{len(SEEDS)} splits, {N_TEST} crystals to test on, {EPOCHS} epochs for all.",
        "",
        *table(results),
        "",
        *origin_lines(where_and_when()),
    ]
    path = ROOT / "benchmarks" / "results" / "strategies.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
