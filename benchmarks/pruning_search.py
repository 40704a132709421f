"""Measure how much time pruning saves in a search, and how much score it costs.

    GNNPRE_DATA=... python benchmarks/pruning_search.py [--seeds 0 1] [--trials 12] [--epochs 12]

Searches learning rate, weight decay, batch size, width and depth of a small ``CGCNN`` on 500
crystals of MatBench's ``phonons``, by three folds, once with the default pruner and once without
pruning, from the same seeds. Writes ``results/pruning_search.md``.
"""

import argparse
import os
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from common import ROOT, in_words, versions, where_and_when
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import NopPruner
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline

from gnnpre import CGCNN, PropertyRegressor, StructureToGraph
from gnnpre.datasets import read_matbench
from gnnpre.model_selection import PruningSearchCV

RESULT = ROOT / "benchmarks/results/pruning_search.md"
N_CRYSTALS, N_FOLDS = 500, 3
PRUNERS = {"without": NopPruner(), "with": None}
SPACE = {
    "learning_rate": FloatDistribution(1e-4, 3e-2, log=True),
    "weight_decay": FloatDistribution(1e-4, 0.3, log=True),
    "batch_size": CategoricalDistribution([16, 32, 64]),
    "backbone__hidden_channels": CategoricalDistribution([16, 32, 48]),
    "backbone__n_layers": IntDistribution(1, 3),
}


def load() -> tuple[list, np.ndarray]:
    path = Path(os.environ["GNNPRE_DATA"]) / "downstream/phonons.json.gz"
    structures, y = read_matbench(path)
    chosen = np.random.default_rng(0).permutation(len(structures))[:N_CRYSTALS]
    return [structures[i] for i in chosen], np.asarray(y)[chosen]


def measure(structures, y, pruner, seed: int, n_trials: int, epochs: int) -> dict:
    regressor = PropertyRegressor(CGCNN(), max_epochs=epochs, random_state=0, device="cpu")
    search = PruningSearchCV(
        make_pipeline(StructureToGraph(cutoff=5.0), regressor),
        {f"propertyregressor__{name}": what for name, what in SPACE.items()},
        cv=KFold(N_FOLDS, shuffle=True, random_state=0),
        n_trials=n_trials,
        pruner=pruner,
        scoring="neg_mean_absolute_error",
        refit=False,
        random_state=seed,
    )
    started = time.process_time()
    search.fit(structures, y)
    states = search.cv_results_["state"].tolist()
    return {
        "epochs": sum(len(trial.intermediate_values) for trial in search.study_.trials),
        "seconds": time.process_time() - started,
        "best": -float(search.best_score_),
        "trial": int(search.cv_results_["trial"][search.best_index_]),
        "pruned": states.count("PRUNED"),
    }


def table(results: dict[int, dict[str, dict]]) -> list[str]:
    lines = [
        "| seed | epochs without | epochs with | part | pruned | CPU seconds without, with "
        "| best MAE without (1/cm) | best MAE with |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for seed, pair in results.items():
        a, b = pair["without"], pair["with"]
        lines.append(
            f"| {seed} | {a['epochs']} | {b['epochs']} | {100 * b['epochs'] / a['epochs']:.0f} % "
            f"| {b['pruned']} | {a['seconds']:.0f}, {b['seconds']:.0f} "
            f"| {a['best']:.1f} (trial {a['trial']}) | {b['best']:.1f} (trial {b['trial']}) |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3])
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "X holds elements")
    structures, y = load()
    results: dict[int, dict[str, dict]] = {}
    for seed in options.seeds:
        for name, pruner in PRUNERS.items():
            record = measure(structures, y, pruner, seed, options.trials, options.epochs)
            results.setdefault(seed, {})[name] = record
            print(seed, name, record, flush=True)
    total = {name: sum(pair[name]["epochs"] for pair in results.values()) for name in PRUNERS}
    origin = where_and_when()
    lines = [
        "# Searches with and without pruning",
        "",
        "Written by `benchmarks/pruning_search.py`.",
        "",
        f"{options.trials} trials x {N_FOLDS} folds x {options.epochs} epochs, {N_CRYSTALS} "
        f"crystals of MatBench's phonons (mean absolute deviation "
        f"{np.abs(y - y.mean()).mean():.0f} 1/cm), the default pruner against `NopPruner`; "
        "five parameters, the same seeds.",
        "",
        *table(results),
        "",
        f"All seeds: {total['with']} of {total['without']} epochs, "
        f"{100 * total['with'] / total['without']:.0f} %.",
        "",
        f"gnnpre at commit {origin['commit']}: {in_words(versions())}.",
        "",
        f"{origin['machine']}, shared with other jobs; {origin['date']}.",
    ]
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
