"""A report of ids that several crystals have."""

from collections import Counter
from collections.abc import Callable, Sequence

from gnnpre._warnings import DataQualityWarning, warn_user

__all__ = ["warn_of_repeated_ids"]


def warn_of_repeated_ids(ids: Sequence[str], source: str, name: Callable[[int], str]) -> None:
    """Warn of ids that several crystals have: rows looked up by them would be mixed up.

    Parameters
    ----------
    ids : sequence of str
        The ids.
    source : str
        Where they are from, to begin the message with.
    name : callable
        ``name(row)`` returns the name of a file or row.
    """
    counts = Counter(ids)
    if len(counts) == len(ids):
        return
    repeated, count = counts.most_common(1)[0]
    first, second = [row for row, item in enumerate(ids) if item == repeated][:2]
    warn_user(
        f"{source}: {len(ids) - len(counts)} of {len(ids)} crystals have the id of another one; "
        f"{repeated!r} occurs {count} times, first for {name(first)} and {name(second)}.",
        DataQualityWarning,
    )
