"""Predictions of batches, joined to one array or split into crystals."""

from collections.abc import Sequence

import numpy as np

__all__ = ["join_batches", "split_atoms"]


def join_batches(batches: Sequence[dict[str, np.ndarray]], name: str) -> np.ndarray:
    """Return one prediction of all batches, row after row."""
    return np.concatenate([batch[name] for batch in batches])


def split_atoms(
    batches: Sequence[dict[str, np.ndarray]], name: str, n_atoms: np.ndarray
) -> list[np.ndarray]:
    """Return one prediction for atoms as a list of arrays ``(n_atoms, ...)``, one per crystal."""
    return np.split(join_batches(batches, name), np.cumsum(n_atoms)[:-1])
