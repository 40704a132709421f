"""Kernel machines on a frozen backbone beside networks, forests and kernels without a network.

    GNNPRE_DATA=... python benchmarks/kernel_gain.py gnnpre-1 --seeds 3 --networks 50

splits each data set 0.6/0.2/0.2 by seed, fits every model to the first part (networks validate on
the second), and tests on the last. Of sets with more than 1,000 crystals the first 1,000 of a
permutation with seed 0 count: the models in the package have seen none of them. Times are those of
the processor for ``fit``. Each result is printed and kept in ``results/kernel_gain.json``;
``results/kernel_gain.md`` has the table. Results of earlier runs with the same settings stay.
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
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler
from sklearn.svm import SVR

from gnnpre import EAD, Composition, PropertyEnsemble, PropertyRegressor, load_estimator
from gnnpre.datasets import read_matbench
from gnnpre.estimators._crystal_kernel import CrystalKernel

SETS = {
    "jdft2d": "jdft2d (meV/atom)",
    "phonons": "phonons (1/cm)",
    "matbench_dielectric_4177": "dielectric",
    "matbench_log_gvrh_10351": "log G",
}
MODELS = ("kernel", "kernel without network", "forest", "svr", "scratch", "full", "ensemble")
N_ROWS = 1000
RESULTS = ROOT / "benchmarks" / "results"


def fingerprints() -> FeatureUnion:
    """Return EAD cumulants beside the composition."""
    return FeatureUnion([("ead", EAD(cutoff=5.0, pooling="cumulants")), ("c", Composition())])


def make_model(name: str, source: str, epochs: int, seed: int, n: tuple[int, int]) -> Any:
    """Return a model; ``n`` are the numbers of crystals to train and to validate on."""
    if name == "kernel":
        return PropertyRegressor(pretrained=source, strategy="kernel", random_state=seed)
    if name == "kernel without network":
        return CrystalKernel(random_state=seed)
    if name == "forest":
        return make_pipeline(
            fingerprints(), RandomForestRegressor(300, max_features=1 / 3, random_state=seed)
        )
    if name == "svr":
        grid = {"regressor__C": [1.0, 3.0, 10.0, 30.0], "regressor__gamma": [0.3e-3, 1e-3, 3e-3]}
        machine = TransformedTargetRegressor(SVR(epsilon=0.02), transformer=StandardScaler())
        mapping = QuantileTransformer(n_quantiles=100, output_distribution="normal")
        search = GridSearchCV(machine, grid, cv=5, scoring="neg_mean_absolute_error")
        return make_pipeline(fingerprints(), mapping, search)
    if name == "ensemble":
        return PropertyEnsemble(source, max_epochs=epochs, cv=3, random_state=seed)
    budget = {
        "max_epochs": epochs,
        "ema_decay": 0.99,
        "random_state": seed,
        "diagnose": False,
        "validation_fraction": PredefinedSplit(np.repeat([-1, 0], n)),
    }
    if name == "full":
        return PropertyRegressor(pretrained=source, **budget)
    return PropertyRegressor(load_estimator(source).spec_.backbone, **budget)


def measure(name: str, model: Any, structures: list[Any], y: np.ndarray, seed: int) -> dict:
    """Fit and test a model on one split."""
    order = np.random.default_rng(seed).permutation(len(y))
    train, valid, test = np.split(order, [int(0.6 * len(y)), int(0.8 * len(y))])
    # Networks see the validation crystals to choose an epoch, the ensemble for its folds.
    rows = np.r_[train, valid] if name in ("scratch", "full") else train
    started = time.process_time()
    model.fit([structures[row] for row in rows], y[rows])
    seconds = time.process_time() - started
    predicted = model.predict([structures[row] for row in test])
    error = float(np.abs(predicted - y[test]).mean())
    details = {"weights": model.weights_, "errors": model.errors_} if name == "ensemble" else {}
    return {"mae": error, "seconds": seconds, **details}


def load(name: str) -> tuple[list[Any], np.ndarray]:
    """Read at most 1,000 crystals of a data set."""
    folder = Path(os.environ["GNNPRE_DATA"]) / "downstream"
    structures, y = read_matbench(folder / f"{name}.json.gz")
    rows = np.arange(len(y))
    if len(rows) > 1.1 * N_ROWS or name != "jdft2d":
        rows = np.random.default_rng(0).permutation(len(y))[:N_ROWS]
    return [structures[row] for row in rows], np.asarray(y, dtype=float)[rows]


def table(results: dict[str, dict]) -> list[str]:
    """Return the means over seeds as lines of Markdown."""
    lines = [f"| | {' | '.join(SETS.values())} |", f"|---|{'---|' * len(SETS)}"]
    for model in MODELS:
        cells = []
        for name in SETS:
            keys = [key for key in results if key.split("/")[:2] == [name, model]]
            if not keys:
                cells.append("")
                continue
            errors = [results[key]["mae"] for key in keys]
            seconds = np.mean([results[key]["seconds"] for key in keys])
            spread = f" ± {np.std(errors, ddof=1):.3g}" if len(errors) > 1 else ""
            cells.append(f"{np.mean(errors):.4g}{spread} ({len(errors)} seeds, {seconds:.1f} s)")
        if any(cells):
            lines.append(f"| {model} | {' | '.join(cells)} |")
    return lines


def write(results: dict[str, dict], source: str) -> None:
    """Write the results and their table."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "kernel_gain.json").write_text(json.dumps(results, indent=1) + "\n")
    lines = [
        "# Kernel machines on a frozen backbone",
        "",
        f"`python benchmarks/kernel_gain.py {Path(source).stem}`: mean absolute errors on 0.2 of "
        "the crystals after training on 0.6, mean and standard deviation over seeds; seconds of "
        "the processor for `fit`, fingerprints, graphs and embeddings included. SVR, forest and "
        "the kernel without a network have EAD cumulants and the composition.",
        "",
        *table(results),
        "",
        *origin_lines(where_and_when()),
    ]
    (RESULTS / "kernel_gain.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Run the measurements of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", help="name or file of the pre-trained model")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--networks", type=int, default=0, metavar="EPOCHS", help="0 for none")
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    path = RESULTS / "kernel_gain.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for seed in range(options.seeds):
        for name in options.sets:
            structures, y = load(name)
            n = int(0.6 * len(y)), int(0.8 * len(y)) - int(0.6 * len(y))
            for model in options.models:
                if model in MODELS[4:] and not options.networks:
                    continue
                key = f"{name}/{model}/{seed}"
                if key not in results:
                    estimator = make_model(model, options.source, options.networks, seed, n)
                    results[key] = measure(model, estimator, structures, y, seed)
                    print(key, results[key], flush=True)
                    write(results, options.source)


if __name__ == "__main__":
    main()
