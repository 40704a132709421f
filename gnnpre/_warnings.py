"""Warnings that point at the user's own line, however deep in the package they arise."""

import sys
import warnings

__all__ = ["warn_user"]


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn of the line that called into gnnpre."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] == "gnnpre":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
