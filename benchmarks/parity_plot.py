"""Draw the parity plot of the README from stored predictions on MatBench.

``python benchmarks/parity_plot.py``: predicted against true phonon frequencies, all five folds of
MatBench, of the network of gnnpre-1 from scratch and of the default from its weights.
"""

import gzip
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

HERE = Path(__file__).resolve().parent
IMAGE = HERE.parent / "docs" / "_static" / "parity.png"
LIMITS = (50, 5000)  # 1/cm
ROWS = {
    "the same network from scratch": "matbench_gnnpre_1/phonons_base_scratch",
    "from gnnpre-1": "matbench_gnnpre_1/phonons_base_default",
}


def read_predictions(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return true and predicted values of all test crystals."""
    with gzip.open(HERE / "results" / f"{name}_predictions.json.gz", "rt") as file:
        content = json.load(file)
    return np.concatenate(content["targets"]), np.concatenate(content["folds"])


def draw() -> None:
    """Draw both models side by side."""
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.6), sharex=True, sharey=True)
    for axis, (title, name) in zip(axes, ROWS.items(), strict=True):
        true, predicted = read_predictions(name)
        error = np.abs(true - predicted).mean()
        axis.plot(true, predicted, ".", ms=3, alpha=0.5, color="#0b7285", rasterized=True)
        axis.plot(LIMITS, LIMITS, color="grey", lw=1)
        axis.set(xscale="log", yscale="log", xlim=LIMITS, ylim=LIMITS, aspect="equal")
        axis.set_xlabel("computed phonon peak (1/cm)")
        axis.set_title(f"{title}: MAE {error:.1f} 1/cm", fontsize=9)
    axes[0].set_ylabel("predicted (1/cm)")
    figure.tight_layout()
    figure.savefig(IMAGE, dpi=110)
    print(IMAGE, IMAGE.stat().st_size // 1024, "KiB")


if __name__ == "__main__":
    draw()
