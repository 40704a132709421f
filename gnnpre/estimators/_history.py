"""The history of a training as rows and as a table."""

from collections.abc import Iterable
from typing import Any

from gnnpre.objectives import Objective

__all__ = ["history_frame", "history_rows"]


def history_rows(history: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the history of a net, one dictionary per epoch, without its batches.

    Parameters
    ----------
    history : iterable of dict
        The history of a skorch net.

    Returns
    -------
    list of dict
        The same without the entry ``batches``.
    """
    return [{key: value for key, value in row.items() if key != "batches"} for row in history]


def history_frame(rows: list[dict[str, Any]], objective: Objective) -> Any:
    """Return the history as a table, with the units of its columns.

    Parameters
    ----------
    rows : list of dict
        The history, one dictionary per epoch.
    objective : Objective
        The objective, which knows the units of the parts of its loss.

    Returns
    -------
    DataFrame
        One row per epoch; ``attrs["units"]`` has a unit for each column that has one.
    """
    import pandas as pd

    frame = pd.DataFrame(rows)
    units = {"dur": "s"}
    for term, unit in objective.term_units().items():
        units |= {f"train_{term}": unit, f"valid_{term}": unit}
        # Where the loss is its only term, with a weight of 1, it has the same unit.
        for name in ("train", "valid"):
            if rows and rows[0].get(f"{name}_loss") == rows[0].get(f"{name}_{term}"):
                units[f"{name}_loss"] = unit
    frame.attrs["units"] = {name: unit for name, unit in units.items() if unit and name in frame}
    return frame.set_index("epoch") if "epoch" in frame else frame
