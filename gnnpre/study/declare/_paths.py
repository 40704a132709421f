"""Paths in the declaration of a study."""

import os
import re
from pathlib import Path

__all__ = ["FRAME_SUFFIXES", "TABLE_SUFFIXES", "expand_path", "is_frames", "is_path"]

FRAME_SUFFIXES = (".extxyz", ".extxyz.gz", ".xyz", ".xyz.gz")
TABLE_SUFFIXES = (".json", ".json.gz", ".parquet", ".csv", ".csv.gz", ".tsv")


def is_path(source: str) -> bool:
    """Return whether a source is the path of a file, not the name of a table."""
    return (
        "/" in source
        or os.sep in source
        or source.lower().endswith((*FRAME_SUFFIXES, *TABLE_SUFFIXES))
    )


def is_frames(path: Path) -> bool:
    """Return whether a file holds frames, by its name."""
    return path.name.lower().endswith(FRAME_SUFFIXES)


def expand_path(what: str, path: str | Path) -> Path:
    """Replace ``~`` and environment variables in a path.

    A study file reaches data that lie elsewhere on each machine by
    ``$GNNPRE_DATA/upstream/frames.extxyz.gz``, for example.
    """
    if not isinstance(path, (str, Path)):
        raise TypeError(f"{what} is {path!r}; expected the path of a file, as text.")
    text = os.path.expandvars(str(path))
    unset = re.search(r"\$\{?(\w+)", text)
    if unset:
        raise ValueError(
            f"{what} is {str(path)!r}, but the environment variable {unset[1]} is not set: set it "
            "to the folder that holds the file, or write the whole path."
        )
    return Path(text).expanduser()
