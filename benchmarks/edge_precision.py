"""Would edge features in bfloat16 do? Effect on energies, forces, stress and a property.

    GNNPRE_DATA=... python benchmarks/edge_precision.py [--epochs 30] [--seeds 0 1 2]

The radial features of each pair of atoms are the only edge tensors that the kernels read from
memory. Here they are rounded as storage in bfloat16 would round them (eight bits; gradients pass as
they are), and everything else stays in float32:

1. a force field trained in float32, with features rounded in predictions alone: root mean square
   change of energies, forces and stress, beside the forces and stress of the labels;
2. force fields trained with rounded features: errors on held-out frames;
3. a property (phonons, from scratch): errors on held-out crystals.

Also printed: how long this processor takes to move the features of a step, whose number of bytes is
that of CGCNN(64, 3) and TorchMDNet(64, 3) in ``results/speed.md``. The table is written to
``results/edge_precision.md``.
"""

import argparse
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

import numpy as np
import torch
from common import ROOT, origin_lines, where_and_when
from objectives_learn import FORCES, load
from pretrained_gain import read_set
from speed.floor import measure_rates

from gnnpre import (
    CGCNN,
    CrystalGraphs,
    ForceField,
    Pretrainer,
    PropertyRegressor,
    StructureToGraph,
    TorchMDNet,
)
from gnnpre.backbones.messages import LinearMap

RESULTS = ROOT / "benchmarks" / "results"
BACKBONES = {"CGCNN(64, 3)": CGCNN(64, 3), "TorchMDNet(64, 2)": TorchMDNet(64, 2)}
UNITS = {"energy": "meV/atom", "forces": "meV/Å", "stress": "meV/Å^3"}


class Rounding(torch.autograd.Function):
    """Numbers as bfloat16 would hold them; gradients of any order are those of the identity."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        return values.to(torch.bfloat16).to(values.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


@contextmanager
def rounded_features() -> Iterator[None]:
    """Round the features of pairs in all models."""

    def rounded(features: torch.Tensor, *rest: Any) -> LinearMap:
        return LinearMap(Rounding.apply(features), *rest)

    with (
        mock.patch("gnnpre.backbones._cgcnn.LinearMap", rounded),
        mock.patch("gnnpre.backbones._torchmdnet.LinearMap", rounded),
    ):
        yield


PRECISIONS = {"float32": nullcontext, "bfloat16": rounded_features}


def per_atom(predicted: Any, graphs: CrystalGraphs) -> dict[str, np.ndarray]:
    """Return energies, forces and stress in the units of the table."""
    return {
        "energy": 1e3 * np.asarray(predicted.energy) / np.asarray(graphs.atom_counts),
        "forces": 1e3 * np.asarray(predicted.forces),
        "stress": 1e3 * np.asarray(predicted.stress),
    }


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean(np.square(values))))


def force_fields(backbone: Any, epochs: int, seeds: list[int]) -> list[str]:
    """Return rows of the changes of predictions, and of the errors after training."""
    graphs, labels, train, test = load(FORCES)
    held_out, truth = graphs[test], per_atom(labels[test], graphs[test])
    changes: dict[str, list[float]] = {}
    errors: dict[str, list[dict[str, float]]] = {name: [] for name in PRECISIONS}
    for seed in seeds:
        for name, precision in PRECISIONS.items():
            model = Pretrainer(backbone, ForceField(), max_epochs=epochs, random_state=seed)
            with precision():
                model.fit(graphs[train], labels[train])
                errors[name].append(errors_of(model, held_out, labels[test]))
            if name == "float32":
                exact = per_atom(model.predict(held_out), held_out)
                with rounded_features():
                    coarse = per_atom(model.predict(held_out), held_out)
                for key in UNITS:
                    changes.setdefault(key, []).append(rms(coarse[key] - exact[key]))
    rows = []
    for key, unit in UNITS.items():
        means = [np.mean([error[key] for error in errors[name]]) for name in PRECISIONS]
        size = "" if key == "energy" else f"{rms(truth[key]):.3g}"
        rows.append(
            f"| {key}, {unit} | {size} | {np.mean(changes[key]):.3g} | "
            f"{means[0]:.4g} | {means[1]:.4g} | {100 * (means[1] / means[0] - 1):+.1f}% |"
        )
    return rows


def errors_of(model: Pretrainer, graphs: CrystalGraphs, labels: Any) -> dict[str, float]:
    """Return mean absolute errors on frames."""
    predicted, true = per_atom(model.predict(graphs), graphs), per_atom(labels, graphs)
    return {key: float(np.nanmean(np.abs(predicted[key] - true[key]))) for key in UNITS}


def property_row(backbone: Any, epochs: int, seeds: list[int]) -> str:
    """Return the row of the errors of a property, from scratch."""
    crystals, y = read_set("phonons")
    graphs = StructureToGraph(5.0).transform(crystals)
    errors: dict[str, list[float]] = {name: [] for name in PRECISIONS}
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(y))
        test, train = order[: len(y) // 5], order[len(y) // 5 :]
        for name, precision in PRECISIONS.items():
            model = PropertyRegressor(backbone, max_epochs=epochs, random_state=seed)
            with precision():
                predicted = model.fit(graphs[train], y[train]).predict(graphs[test])
            errors[name].append(float(np.abs(predicted - y[test]).mean()))
    means = [np.mean(errors[name]) for name in PRECISIONS]
    change = 100 * (means[1] / means[0] - 1)
    return f"| phonons, cm^-1 | | | {means[0]:.4g} | {means[1]:.4g} | {change:+.1f}% |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    lines = [
        "# Edge features in bfloat16",
        "",
        "Written by `benchmarks/edge_precision.py`: radial features rounded to bfloat16, all else "
        f"in float32; {arguments.epochs} epochs, seeds {arguments.seeds}. Changes of predictions "
        "are root mean squares, with the weights of float32; errors are mean absolute errors on "
        "what was held out, after training with either.",
    ]
    for name, backbone in BACKBONES.items():
        lines += ["", f"## {name}", ""]
        lines += ["| | rms of labels | change | error, float32 | error, bfloat16 | |"]
        lines += ["|---|---|---|---|---|---|"]
        lines += force_fields(backbone, arguments.epochs, arguments.seeds)
        lines += [property_row(backbone, arguments.epochs, arguments.seeds)]
        print("\n".join(lines[-4:]), flush=True)
    lines += ["", bytes_line(measure_rates()), "", *origin_lines(where_and_when())]
    (RESULTS / "edge_precision.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def bytes_line(rates: dict) -> str:
    """Return a line about the bytes that bfloat16 would save here."""
    return (
        f"This processor moves {rates['bytes_per_s'] / 1e9:.0f} GB/s: 8 MB of features, those of "
        f"32 frames in float32, take {8e6 / rates['bytes_per_s'] * 1e3:.1f} ms, of which bfloat16 "
        "would save half."
    )


if __name__ == "__main__":
    main()
