"""Plots of errors: predictions against targets, and improvements with their intervals."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gnnpre.inspection import GREY, INK, draw, paint_parity, parity_limits, plain

from ._looks import Look, looks
from ._record import Method, Record
from ._results import SCRATCH, StudyResults
from ._statistics import Average, Improvement, Key

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["improvement_plot", "parity_plot"]

AVERAGE = "average"


def parity_plot(results: StudyResults, data: str, methods: Sequence[Method], name: str) -> str:
    """Plot predictions against targets on all test crystals of all runs, a panel a method."""
    points = {method: _points(results.of(data, method)) for method in methods}
    limits = parity_limits(np.concatenate([p.ravel() for p in points.values()]))
    summary = results.data[data]
    unit = f" ({summary.unit})" if summary.unit else ""

    def paint(figure: "Figure") -> None:
        panels = figure.subplots(1, len(methods), squeeze=False, sharex=True, sharey=True)[0]
        for axes, (method, values) in zip(panels, points.items(), strict=True):
            paint_parity(axes, values, limits)
            axes.set_title(plain(str(method)))
            axes.set_xlabel(plain(f"target{unit}"))
        panels[0].set_ylabel(plain(f"prediction{unit}"))

    label = f"Predictions against targets on {data}: {', '.join(map(str, methods))}"
    return draw(name, label, (0.4 + 2.9 * len(methods), 3.3), paint)


def _points(records: Sequence[Record]) -> np.ndarray:
    targets = np.concatenate([record.targets for record in records])
    return np.array([targets, np.concatenate([record.predictions for record in records])])


def improvement_plot(
    results: StudyResults,
    compared: Mapping[Key, Improvement],
    averages: Mapping[Method, Average],
    name: str,
) -> str | None:
    """Plot improvement and interval of each strategy on each data set: a panel a backbone."""
    if not averages:
        return None
    strategies = list(dict.fromkeys(method.strategy for method in averages))
    look = looks(results.network_strategies, SCRATCH)
    groups = [*results.data_names, AVERAGE]
    backbones = [b for b in results.backbones if any(m.backbone == b for m in averages)]

    def paint(figure: "Figure") -> None:
        panels = figure.subplots(1, len(backbones), squeeze=False, sharex=True, sharey=True)[0]
        for axes, backbone in zip(panels, backbones, strict=True):
            for rank, strategy in enumerate(strategies):
                items = _items(results, compared, averages, Method(backbone, strategy))
                step = (rank + 1) / (len(strategies) + 1)
                # Side by side within the band of the data set.
                rows = [groups.index(group) + step for group in items]
                _paint_intervals(axes, rows, list(items.values()), look[strategy], strategy)
            _finish_improvements(axes, groups, backbone)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", fontsize=8)

    height = 1.0 + 0.16 * len(groups) * (len(strategies) + 1)
    size = (2.6 + 2.5 * len(backbones), height)
    return draw(name, "Improvement over scratch in percent", size, paint)


def _items(
    results: StudyResults,
    compared: Mapping[Key, Improvement],
    averages: Mapping[Method, Average],
    method: Method,
) -> dict[str, Improvement | Average]:
    items = {
        data: compared[data, method] for data in results.data_names if (data, method) in compared
    }
    return {**items, AVERAGE: averages[method]} if method in averages else {}


def _paint_intervals(
    axes: "Axes",
    rows: Sequence[float],
    items: Sequence[Improvement | Average],
    look: Look,
    label: str,
) -> None:
    """Draw points and intervals; without any the label still has its place in the legend."""
    centers = [item.percent for item in items]
    axes.hlines(
        rows, [item.low for item in items], [item.high for item in items], look.color, linewidth=1.2
    )
    axes.plot(centers, rows, look.marker, color=look.color, markersize=4, label=plain(label))


def _finish_improvements(axes: "Axes", groups: Sequence[str], title: str) -> None:
    axes.axvline(0.0, color=INK, linewidth=0.8)
    for edge in range(1, len(groups)):
        axes.axhline(edge, color=GREY, alpha=0.4, linewidth=0.6)
    axes.set_yticks(np.arange(len(groups)) + 0.5, [plain(group) for group in groups])
    axes.tick_params(axis="y", length=0)
    axes.set(ylim=(len(groups), 0), xlabel="improvement (%)", title=plain(title))
