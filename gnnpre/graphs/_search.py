"""Pairs of neighbours, the result of a search on a CPU or GPU."""

from dataclasses import dataclass

import numpy as np

__all__ = ["CUTOFF_TOLERANCE", "NeighborPairs"]

# Squared distances are compared with that of the cutoff to within this tolerance (Å^2).
CUTOFF_TOLERANCE = 1e-8


@dataclass(frozen=True)
class NeighborPairs:
    """All pairs within the cutoff, none of an atom with itself; sorted by crystal and target."""

    index: np.ndarray  # (2, E) int32: source, target, counted within their crystal
    shift: np.ndarray  # (E, 3) int32: cells between source and its image
    distance: np.ndarray  # (E,) Å
    n_pairs: np.ndarray  # (n,)
