"""Labels of a training set as far as its statistics need them, read chunk by chunk."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from gnnpre.graphs import CrystalGraphs

from ._lazy_targets import iterate_chunks
from ._references import element_counts
from ._scaling import RunningMeanSquare
from ._targets import Targets

__all__ = ["LabelSummary", "summarize_labels"]


@dataclass(frozen=True)
class LabelSummary:
    """Energies and compositions of the frames that have an energy, and the size of all forces.

    Attributes
    ----------
    counts : scipy.sparse.csr_array of shape (n, n_elements)
        Atoms of each element.
    energy : ndarray of shape (n,)
        Energies in eV.
    frames : ndarray of int of shape (n,)
        Their positions in the training set.
    sources : ndarray of int of shape (n,), or None
        Positions of their sources.
    force : float
        Root mean square of the components of all forces, in eV/Å; 0 without forces.
    """

    counts: Any
    energy: np.ndarray
    frames: np.ndarray
    sources: np.ndarray | None
    force: float


def summarize_labels(
    graphs: CrystalGraphs, targets: Targets, train: np.ndarray, n_elements: int
) -> LabelSummary:
    """Read the labels of the training set once.

    Parameters
    ----------
    graphs : CrystalGraphs
        All crystals.
    targets : Targets
        Their targets.
    train : ndarray of int
        Rows of the training set.
    n_elements : int
        Number of elements that the model has energies for.

    Returns
    -------
    LabelSummary
        The summary.
    """
    counts, energies, frames, sources = [], [], [], []
    first = 0  # position of the first frame of a chunk
    force = RunningMeanSquare()
    for crystals, chunk in iterate_chunks(graphs.to_crystals(), targets, train):
        # Sums of squares, so that forces of all chunks need not fit in memory.
        values = chunk.atom["forces"].cpu().numpy()
        force.add(values[np.isfinite(values)])
        energy = chunk.crystal["energy"].cpu().numpy()
        rows = np.flatnonzero(np.isfinite(energy))
        energies.append(energy[rows])
        frames.append(first + rows)
        first += len(energy)
        counts.append(element_counts(crystals, n_elements)[rows])
        if "source" in chunk.crystal:
            sources.append(chunk.crystal["source"].cpu().numpy()[rows])
    table = sparse.vstack(counts, format="csr")
    counts.clear()  # half of the memory
    return LabelSummary(
        counts=table,
        energy=np.concatenate(energies),
        frames=np.concatenate(frames),
        sources=np.concatenate(sources) if sources else None,
        force=force.root(),
    )
