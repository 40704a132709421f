"""Folder that gnnpre keeps downloaded data and compiled kernels in."""

import os
from functools import lru_cache
from pathlib import Path

__all__ = ["cache_folder"]

VARIABLE = "GNNPRE_HOME"


def cache_folder(*names: str) -> Path:
    """Return the absolute path of a folder in the cache, which may not exist yet.

    The cache is the folder that the environment variable ``GNNPRE_HOME`` names (``~`` is the home
    folder), else the user's cache folder. A relative path is resolved when it is first used, and
    stays the same folder if the working directory changes later.
    """
    return _absolute(os.environ.get(VARIABLE, "").strip()).joinpath(*names)


@lru_cache
def _absolute(value: str) -> Path:
    if value:
        return Path(value).expanduser().absolute()
    import pooch

    return Path(pooch.os_cache("gnnpre"))
