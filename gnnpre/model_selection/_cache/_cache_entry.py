"""An entry of the cache, as it lies on disk."""

import json
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

__all__ = ["ABOUT", "RESULT", "SUFFIX", "CacheEntry", "read_entry"]

SUFFIX = ".gnnpre-cache"
RESULT, ABOUT = "result.joblib", "about.json"


class CacheEntry(NamedTuple):
    """One result in a :class:`ContentMemory`.

    Parameters
    ----------
    key : str
        Name of its folder.
    label : str
        What was computed, of what.
    size : int
        Bytes on disk.
    seconds : float
        How long it took to compute.
    created : datetime
        When that was.
    version : str
        Version of gnnpre that computed it; only that one finds it again.

    Examples
    --------
    >>> import tempfile
    >>> from gnnpre.model_selection import ContentMemory
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     memory = ContentMemory(folder)
    ...     _ = memory.cache(len)([1, 2, 3])
    ...     [entry] = memory.entries()
    >>> entry.label
    'len(list of 3)'
    """

    key: str
    label: str
    size: int
    seconds: float
    created: datetime
    version: str


def read_entry(folder: Path) -> CacheEntry | None:
    """Give an entry; None for one that another process is removing, or has not finished."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        size = sum(path.stat().st_size for path in folder.iterdir())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    about["created"] = datetime.fromisoformat(about["created"])
    return CacheEntry(folder.name.removesuffix(SUFFIX), size=size, **about)
