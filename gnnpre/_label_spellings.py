"""Labels that a conversion would change or has changed: units, and missing values as text."""

from typing import Any

import numpy as np

from ._label_numbers import rows_text
from ._warnings import DataQualityWarning, warn_user

__all__ = ["check_one_unit", "warn_of_missing_as_text", "warn_of_two_spellings"]

# What str() makes of None, NaN, pandas.NA and pandas.NaT, and databases of a missing value.
# Not "Na" and "NA": the one is sodium.
MISSING_TEXTS = ("", "nan", "NaN", "None", "<NA>", "NaT", "null", "N/A")


def warn_of_missing_as_text(name: str, labels: np.ndarray, values: Any) -> None:
    """Warn of missing values that ``astype(str)`` has made one class, or one group."""
    rows = np.flatnonzero(np.isin(labels, MISSING_TEXTS))
    if len(rows):
        warn_user(
            f"{name} is the text {str(labels[rows[0]])!r} in {len(rows)} of {len(labels)} rows, "
            f"the first at {rows_text(rows, values)}: these rows count as alike. If it stands for "
            "a missing value that was converted to text, leave them out, or fill them in.",
            DataQualityWarning,
        )


def warn_of_two_spellings(name: str, labels: list[Any], values: Any) -> None:
    """Warn of 7 beside "7", which a CSV file read in pieces has: they count as two groups."""
    numbers = {str(label) for label in labels if isinstance(label, (int, float))}
    rows = [row for row, label in enumerate(labels) if isinstance(label, str) and label in numbers]
    if rows:
        warn_user(
            f"{name} holds {labels[rows[0]]!r} as text at {rows_text(np.array(rows), values)}, and "
            "the same as a number in another row: they count as different. Convert all of them, "
            "with astype(str) for example.",
            DataQualityWarning,
        )


def check_one_unit(name: str, values: Any) -> None:
    """Check that numbers which carry a unit, as pymatgen's do, have one unit."""
    if not isinstance(values, (list, tuple)):
        return
    units = sorted({str(x.unit) for x in values if type(x).__name__ == "FloatWithUnit"})
    if len(units) > 1:
        raise ValueError(
            f"{name} has numbers in {len(units)} units, {', '.join(units[:3])}; convert all of "
            "them to one, with .to(...) for example."
        )
