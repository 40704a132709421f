"""Memory that arrays no longer need, but that the C library keeps for later ones."""

import contextlib
import ctypes
import sys

__all__ = ["release_memory"]


def release_memory() -> None:
    """Return free memory to the system, where the C library can.

    glibc keeps the memory of arrays below 32 MB for the thread that used it: after a pass over
    millions of crystals, it would add to the memory of the thread that trains.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library has no such function
            ctypes.CDLL(None).malloc_trim(0)
