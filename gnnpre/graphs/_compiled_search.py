"""Neighbour lists on a CPU by a kernel in C, where there is a compiler."""

import ctypes
from functools import lru_cache

import numpy as np

from gnnpre._compiler import CompilerError, has_compiler
from gnnpre._kernel_cache import load_kernel
from gnnpre._warnings import PerformanceWarning, warn_user

from ._crystals import Crystals
from ._search import CUTOFF_TOLERANCE, SHORTEST_DISTANCE

__all__ = ["LEFT", "find_search", "search_compiled"]

#: ``INTERFACE_VERSION`` of ``kernels/neighbors.c``: raise both when arguments change.
INTERFACE_VERSION = 1
#: Number of edges of a crystal that the kernel leaves to another search.
LEFT = -1
NO_ROOM = -2


@lru_cache
def find_search() -> ctypes.CDLL | None:
    """Load the kernel; None if there is no compiler, with a warning if there is one that fails."""
    if not has_compiler():
        return None
    try:
        library = load_kernel("neighbors", (), __package__)
        _declare(library)
    except CompilerError as error:
        warn_user(
            f"No compiled search of neighbours: {error}. pymatgen's is used, which takes three "
            "times as long. Install gcc or clang, or name one in the environment variable CC.",
            PerformanceWarning,
        )
        return None
    return library


def _declare(library: ctypes.CDLL) -> None:
    """Declare the arguments: without their types ctypes would cut addresses to 32 bits."""
    count, real, pointer = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p
    try:
        library.interface.restype = count
        library.search.argtypes = [count, *[pointer] * 4, *[real] * 3, count, *[pointer] * 4]
        library.search.restype = count
        version = library.interface()
    except AttributeError as error:
        raise CompilerError(f"the library of neighbors.c is incomplete: {error}") from error
    if version != INTERFACE_VERSION:
        raise CompilerError(
            f"the library of neighbors.c has interface {version}; expected {INTERFACE_VERSION}"
        )


def search_compiled(
    library: ctypes.CDLL, crystals: Crystals, cutoff: float, room: int, skipped: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Search all pairs within the cutoff, in crystals with complete cells.

    Parameters
    ----------
    library : ctypes.CDLL
        The kernel.
    crystals : Crystals
        The n crystals.
    cutoff : float
        Largest distance in Å.
    room : int
        Number of edges to make room for at first.
    skipped : ndarray of bool of shape (n,)
        Crystals to leave out.

    Returns
    -------
    index : ndarray of int16 of shape (2, E)
        Source and target, counted within their crystal.
    shift : ndarray of int8 of shape (E, 3)
        Cells between source and its image.
    n_edges : ndarray of int of shape (n,)
        Number of edges; ``LEFT`` for crystals that another search has to do: those that were to be
        left out, very large ones, and those in which something is wrong.
    """
    arrays = (crystals.n_atoms, crystals.positions, crystals.cell, crystals.pbc)
    inputs = [np.ascontiguousarray(array) for array in arrays]
    largest = cutoff**2 + CUTOFF_TOLERANCE
    while True:
        index, shift = np.empty((2, room), dtype=np.int16), np.empty((room, 3), dtype=np.int8)
        n_edges = np.where(skipped, LEFT, 0).astype(np.int64)
        outputs = (index[0], index[1], shift, n_edges)
        total = library.search(
            len(crystals),
            *(array.ctypes.data for array in inputs),
            cutoff,
            largest,
            SHORTEST_DISTANCE**2,
            room,
            *(array.ctypes.data for array in outputs),
        )
        if total != NO_ROOM:
            return index[:, :total], shift[:total], n_edges
        room *= 2
