"""Pairs of neighbours, the result of a search on a CPU or GPU."""

from dataclasses import dataclass

import numpy as np

__all__ = ["CUTOFF_TOLERANCE", "SHORTEST_DISTANCE", "NeighborPairs", "index_type"]

# Squared distances are compared with that of the cutoff to within this tolerance (Å^2).
CUTOFF_TOLERANCE = 1e-8
# Two atoms nearer than this (Å) are one atom entered twice.
SHORTEST_DISTANCE = 0.01


@dataclass(frozen=True)
class NeighborPairs:
    """All pairs within the cutoff, none of an atom with itself; sorted by crystal and target."""

    index: np.ndarray  # (2, E) integers: source, target, counted within their crystal
    shift: np.ndarray  # (E, 3) integers: cells between source and its image
    distance: np.ndarray  # (E,) Å
    n_pairs: np.ndarray  # (n,)
    too_near: int | None = None  # a pair nearer than SHORTEST_DISTANCE, if there is one


def index_type(n_atoms: np.ndarray) -> type[np.signedinteger]:
    """Return the type that counts the atoms within crystals: int16, or int32 for large ones.

    Edges are nearly all of the memory of graphs, and their atoms were more than two thirds of it.
    """
    return np.int16 if n_atoms.max(initial=0) <= np.iinfo(np.int16).max else np.int32
