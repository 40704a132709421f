"""Batches that are too large for the memory of a GPU."""

from dataclasses import replace

import torch

from gnnpre._warnings import PerformanceWarning, warn_user

from ._loader import TrainingData, plan_batches
from ._settings import TrainingSettings

__all__ = ["with_half_batches"]


def with_half_batches(
    settings: TrainingSettings,
    data: TrainingData,
    error: torch.cuda.OutOfMemoryError,
    may_halve: bool,
) -> TrainingSettings:
    """Return settings with batches of half the size, with a warning.

    Parameters
    ----------
    settings : TrainingSettings
        The settings with which the memory did not suffice.
    data : TrainingData
        Crystals of the training.
    error : torch.cuda.OutOfMemoryError
        The error.
    may_halve : bool
        Whether that is possible: not twice, and not for one of several processes.

    Returns
    -------
    TrainingSettings
        The changed settings.

    Raises
    ------
    torch.cuda.OutOfMemoryError
        If it is not possible; the message names the parameters to change.
    """
    edges = _largest_batch(settings, data) // 2
    advice = (
        f"Set max_edges={edges} (half of the largest batch now), which bounds what a batch takes "
        "whatever its crystals, or a smaller batch_size."
    )
    if not may_halve or settings.batch_size == 1:
        raise torch.cuda.OutOfMemoryError(f"{error} {advice}") from error
    warn_user(
        f"The GPU has too little memory for batches of {settings.batch_size} crystals: going on "
        f"with half of that, from the beginning of this epoch. {advice}",
        PerformanceWarning,
    )
    max_edges = None if settings.max_edges is None else max(1, settings.max_edges // 2)
    return replace(settings, batch_size=settings.batch_size // 2, max_edges=max_edges)


def _largest_batch(settings: TrainingSettings, data: TrainingData) -> int:
    """Return the number of edges of the largest batch, in the order of the data set."""
    counts = data.train.graphs.edge_counts
    plan = plan_batches(data.train.indices, counts, settings.batch_size, settings.max_edges)
    return max(int(counts[batch].sum()) for batch in plan)
