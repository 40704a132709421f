"""Plots of losses by epoch: of evaluations and of pre-trainings."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gnnpre.inspection import draw, loss_axes, plain

from ._looks import Look, looks
from ._record import Method, Record
from ._results import SCRATCH, StudyResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["learning_plot", "pretraining_plot"]


def learning_plot(results: StudyResults, data: str, name: str) -> str | None:
    """Plot the validation loss by epoch: mean over runs and range, a panel a backbone."""
    curves = {m: _losses(results.of(data, m)) for m in results.methods}
    drawn = {method: curve for method, curve in curves.items() if curve is not None}
    if not drawn:
        return None
    look = looks(results.network_strategies, SCRATCH)

    def paint_one(axes: "Axes", method: Method) -> None:
        _paint_band(axes, drawn[method], look[method.strategy], method.strategy)

    return _panels(list(drawn), paint_one, name, f"Validation loss by epoch on {data}", "loss")


def _losses(records: Sequence[Record]) -> np.ndarray | None:
    """Return the validation losses (runs, epochs), up to the end of the shortest run."""
    runs = [_loss_of(record, "valid_loss") for record in records if record.history]
    # A mean over fewer runs from some epoch on would jump there.
    length = min((len(run) for run in runs), default=0)
    losses = np.array([run[:length] for run in runs])
    return losses if length > 1 and np.isfinite(losses).any() else None


def _loss_of(record: Record, column: str) -> np.ndarray:
    values = [epoch.get(column) for epoch in record.history]
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _paint_band(axes: "Axes", losses: np.ndarray, look: Look, label: str) -> None:
    epochs = np.arange(1, losses.shape[1] + 1)
    mean = losses.mean(axis=0)
    axes.plot(epochs, mean, look.line, color=look.color, linewidth=1.4, label=plain(label))
    if len(losses) > 1:
        low, high = losses.min(axis=0), losses.max(axis=0)
        axes.fill_between(epochs, low, high, color=look.color, alpha=0.15, linewidth=0)


def pretraining_plot(results: StudyResults, name: str) -> str | None:
    """Plot the losses of each pre-training over that of its first epoch, training losses thin."""
    trained = [r for r in results.pretrainings if _losses([r]) is not None]
    records = {r.method: r for r in sorted(trained, key=lambda r: str(r.method))}
    if not records:
        return None
    look = looks([*results.network_strategies, *(m.strategy for m in records)], SCRATCH)

    def paint_one(axes: "Axes", method: Method) -> None:
        for column, width in (("valid_loss", 1.4), ("train_loss", 0.6)):
            losses = _loss_of(records[method], column)
            style = look[method.strategy]
            label = plain(method.strategy) if column == "valid_loss" else None
            epochs = np.arange(1, len(losses) + 1)
            # Over the first: losses of different objectives have different units.
            ratio = losses / losses[0]
            axes.plot(epochs, ratio, style.line, color=style.color, lw=width, label=label)

    return _panels(
        list(records), paint_one, name, "Loss of the pre-trainings by epoch", "loss / first"
    )


def _panels(
    methods: Sequence[Method],
    paint_one: Callable[["Axes", Method], None],
    name: str,
    label: str,
    ylabel: str,
) -> str:
    backbones = list(dict.fromkeys(method.backbone for method in methods))

    def paint(figure: "Figure") -> None:
        # One panel for each backbone, on the same axes.
        panels = figure.subplots(1, len(backbones), squeeze=False, sharex=True, sharey=True)[0]
        for axes, backbone in zip(panels, backbones, strict=True):
            for method in methods:
                if method.backbone == backbone:
                    paint_one(axes, method)
            loss_axes(axes)
            axes.set_title(plain(backbone or ""))
        panels[0].set_ylabel(ylabel)
        _legend(figure, panels)

    return draw(name, label, (2.6 + 2.5 * len(backbones), 3.2), paint)


def _legend(figure: "Figure", panels: Sequence["Axes"]) -> None:
    """Draw a legend with each strategy once, whichever panels contain it."""
    entries = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(entries.values()), list(entries), loc="outside right upper", fontsize=8)
