"""Errors of ``pretrained_gain.py`` over the number of labels and over processor time."""

from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

__all__ = ["cost_table", "curve_table", "draw_costs"]

#: The methods of the learning curves.
CURVES = ("scratch", "network", "default", "kernel")
#: All methods in the order of the cost table; a method that was not run leaves its cells empty.
METHODS = (
    "svr",
    "forest",
    "fingerprint kernel",
    "kernel",
    "chgnet",
    "scratch",
    "default",
    "ensemble",
)
AMOUNTS = ("200", "all")


def amounts_of(rows: list[dict]) -> list[str]:
    """Return the numbers of labels, the smallest first."""
    return sorted(
        {row["labels"] for row in rows}, key=lambda text: float(text.replace("all", "inf"))
    )


def means_of(rows: list[dict], names: tuple[str, ...], column: str) -> dict[tuple[str, str], dict]:
    """Return means of a column by set and labels, over the seeds that have all the methods."""
    values: dict[tuple[str, str], dict] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if row["model"] in names:
            values[row["set"], row["labels"]][row["seed"]][row["model"]] = row[column]
    return {
        key: {name: float(np.mean([seeds[seed][name] for seed in complete])) for name in names}
        for key, seeds in values.items()
        if (complete := [seed for seed, errors in seeds.items() if len(errors) == len(names)])
    }


def curve_table(rows: list[dict]) -> list[str]:
    """Return errors of each set by number of labels, and gains over training from scratch."""
    means = means_of(rows, CURVES, "mae")
    lines = [
        f"| set | labels | {' | '.join(CURVES)} | gains of the last three |",
        "|---" * (len(CURVES) + 3) + "|",
    ]
    gains: dict[str, list[list[float]]] = defaultdict(list)
    for name in dict.fromkeys(row["set"] for row in rows):
        for amount in amounts_of(rows):
            if (name, amount) not in means:
                continue
            errors = list(means[name, amount].values())
            gain = [1 - error / errors[0] for error in errors[1:]]
            gains[amount].append(gain)
            lines.append(
                f"| {name} | {amount} | {' | '.join(f'{error:.4g}' for error in errors)} | "
                f"{', '.join(f'{value:+.0%}' for value in gain)} |"
            )
    lines.append("")
    for amount, values in gains.items():
        mean = ", ".join(f"{value:+.0%}" for value in np.mean(values, axis=0))
        lines.append(f"- {amount} labels: {mean} on average over {len(values)} sets.")
    return lines


def cost_table(rows: list[dict]) -> list[str]:
    """Return error and seconds of each method, seed 0, by set and labels."""
    lines = [
        "Errors, and seconds of processor time in brackets, of seed 0.",
        "",
        f"| set | labels | {' | '.join(METHODS)} |",
        "|---" * (len(METHODS) + 2) + "|",
    ]
    by_key = {(row["set"], row["labels"], row["model"]): row for row in rows if row["seed"] == 0}
    for name in dict.fromkeys(row["set"] for row in rows):
        for amount in AMOUNTS:
            cells = [
                f"{row['mae']:.4g} ({row['seconds']:.0f})" if row else ""
                for row in (by_key.get((name, amount, method)) for method in METHODS)
            ]
            lines.append(f"| {name} | {amount} | {' | '.join(cells)} |")
    return lines


def draw_costs(rows: list[dict], path: Path) -> None:
    """Draw error against processor time: a panel for each set, all labels."""
    chosen = [row for row in rows if row["seed"] == 0 and row["labels"] == "all"]
    names = list(dict.fromkeys(row["set"] for row in chosen))
    figure, axes = plt.subplots(2, -(-len(names) // 2), figsize=(14, 5.6), squeeze=False)
    for axis, name in zip(axes.flat, names, strict=False):
        for number, method in enumerate(METHODS):
            for row in chosen:
                if row["set"] == name and row["model"] == method:
                    axis.plot(row["seconds"], row["mae"], "o", color=f"C{number}", label=method)
        axis.set(xscale="log", xlim=(1, 2000), title=name, xlabel="processor time (s)")
    axes[0, 0].set_ylabel("mean absolute error")
    axes[1, 0].set_ylabel("mean absolute error")
    handles = dict(zip(*reversed(axes[0, 0].get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=len(METHODS))
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(path, dpi=90)
