"""Error against time of the processor: what a user gets for a minute, ten, a hundred."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gnnpre.inspection import MISSING, Entry, Table, draw, number, plain

from ._looks import looks
from ._record import Record
from ._results import SCRATCH, StudyResults
from ._statistics import Cell, Key

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Cost", "cost_plot", "cost_table", "costs", "worth_table"]

BUDGETS = (1.0, 10.0, 100.0)
MINUTE = 60.0
#: Shorter times are not told apart on the plot.
SHORTEST = 1e-3
COST_NOTE = (
    "Core-minutes: time of the processor for one run (features or graphs, training, and prediction "
    "of validation and test crystals), averaged over runs; for means of rows the sum of theirs. "
    "Pre-training is done once and not in it."
)


class Cost(NamedTuple):
    """Core-minutes of a method on a data set, and its errors."""

    minutes: float
    mae: float
    validation_mae: float


def costs(results: StudyResults, cells: Mapping[Key, Cell]) -> dict[Key, Cost]:
    """Return the cost of each complete cell whose records are of a processor."""
    by_key = {record.key: record for record in results.records}
    summary = {}
    for (data, method), cell in cells.items():
        records = results.of(data, method)
        minutes = [_core_minutes(record, by_key) for record in records]
        if cell.complete and np.isfinite(minutes).all():
            validation = float(np.mean([record.validation_mae for record in records]))
            summary[data, method] = Cost(float(np.mean(minutes)), cell.mean, validation)
    return summary


def _core_minutes(record: Record, by_key: Mapping[str, Record]) -> float:
    """Return the time of a record and of its members; NaN for other devices."""
    machine = record.extra.get("machine") or {}
    if str(machine.get("device") or "cpu") != "cpu":
        return float("nan")
    seconds = record.extra.get("core_seconds")
    if seconds is None:  # records of an earlier version have the time on the clock alone
        seconds = record.seconds * (machine.get("threads") or 1)
    members = record.extra.get("members") or []
    if any(key not in by_key for key in members):
        return float("nan")
    return float(seconds) / MINUTE + sum(_core_minutes(by_key[key], by_key) for key in members)


def worth_table(results: StudyResults, costs: Mapping[Key, Cost]) -> Table:
    """Tabulate the error that each budget buys, the method chosen by validation error."""
    rows = [
        [Entry(data), *(_best_within(data, costs, budget) for budget in BUDGETS)]
        for data in results.data_names
    ]
    notes = [
        "The test error of the method with the least validation error among those that take no "
        "longer, with its core-minutes. Methods that some run lacks are left out.",
        COST_NOTE,
    ]
    header = ["", *(f"{budget:g} core-minute{'s' * (budget > 1)}" for budget in BUDGETS)]
    return Table("What a user gets for one minute, ten, a hundred", header, rows, notes)


def _best_within(data: str, costs: Mapping[Key, Cost], budget: float) -> Entry:
    affordable = {
        method: cost
        for (name, method), cost in costs.items()
        if name == data and cost.minutes <= budget and np.isfinite(cost.validation_mae)
    }
    if not affordable:
        return Entry(MISSING, missing=True)
    method = min(affordable, key=lambda item: affordable[item].validation_mae)
    cost = affordable[method]
    return Entry(f"{number(cost.mae)} ({method}, {number(cost.minutes, 2)})")


def cost_table(results: StudyResults, costs: Mapping[Key, Cost]) -> Table:
    """Tabulate core-minutes: methods x data sets."""
    rows = [
        [Entry(str(method)), *(_minutes_entry(costs.get((d, method))) for d in results.data_names)]
        for method in results.methods
    ]
    return Table("Core-minutes of one run", ["", *results.data_names], rows, [COST_NOTE])


def _minutes_entry(cost: Cost | None) -> Entry:
    return Entry(MISSING, missing=True) if cost is None else Entry(number(cost.minutes, 2))


def cost_plot(results: StudyResults, data: str, costs: Mapping[Key, Cost], name: str) -> str | None:
    """Plot the error of each method against its core-minutes on one data set."""
    points = {method: cost for (item, method), cost in costs.items() if item == data}
    if len(points) < 2:
        return None
    look = looks([str(method) for method in points], SCRATCH)

    def paint(figure: "Figure") -> None:
        axes = figure.subplots()
        for method, cost in points.items():
            style = look[str(method)]
            minutes = max(cost.minutes, SHORTEST)
            label = plain(str(method))
            axes.plot([minutes], [cost.mae], style.marker, color=style.color, label=label)
        axes.set_xscale("log")
        unit = results.data[data].unit
        axes.set_xlabel("core-minutes")
        axes.set_ylabel(f"mean absolute error{f' ({plain(unit)})' if unit else ''}")
        figure.legend(loc="outside right upper", fontsize=8)

    return draw(name, f"Error against core-minutes on {data}", (6.4, 3.4), paint)
