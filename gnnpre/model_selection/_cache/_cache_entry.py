"""An entry of the cache on disk."""

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
        The transformer or function, and its input.
    size : int
        Bytes on disk.
    seconds : float
        How long it took to compute.
    created : datetime
        Time of the computation.
    version : str
        Version of gnnpre that computed it; other versions do not use it.

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
    """Return an entry; None for one that is damaged, or that another process writes or removes."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        size = sum(path.stat().st_size for path in folder.iterdir())
        return CacheEntry(
            key=folder.name.removesuffix(SUFFIX),
            label=str(about["label"]),
            size=size,
            seconds=float(about["seconds"]),
            created=datetime.fromisoformat(about["created"]),
            version=str(about["version"]),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
