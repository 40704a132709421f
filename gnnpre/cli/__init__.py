"""The command ``gnnpre``: the estimators from a terminal."""

from ._main import main

__all__ = ["main"]
