"""Remarks of parsers, counted and reported once."""

import re
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from gnnpre._warnings import DataQualityWarning, warn_user

__all__ = ["WarningCounts", "count_warnings", "report_warnings"]

WarningCounts = Counter[str]
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?")
_SHOWN = 3  # different remarks
# pymatgen reads 0.3333 as 1/3, which a file of four digits means.
_HARMLESS = "fractional coordinates rounded to ideal values"


@contextmanager
def count_warnings() -> Iterator[WarningCounts]:
    """Yield a counter of the warnings that the block raises; they go no further."""
    counts: WarningCounts = Counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield counts
    # Numbers differ from file to file: "4 atoms are missing", "2 atoms ...".
    texts = [str(item.message) for item in caught]
    counts.update(_NUMBER.sub("N", text)[:200] for text in texts if _HARMLESS not in text)


def report_warnings(counts: WarningCounts, source: str) -> None:
    """Report the warnings of parsers as one.

    Parameters
    ----------
    counts : Counter of str
        The warnings.
    source : str
        The file or folder that was read.
    """
    if not counts:
        return
    listed = "; ".join(f"{count} times: {text}" for text, count in counts.most_common(_SHOWN))
    more = f"; and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else ""
    warn_user(
        f"The parser of {source} warned {counts.total()} times ({listed}{more}).",
        DataQualityWarning,
    )
