"""Errors of a method by run and by crystal, and those of two methods side by side."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from ._record import Record

__all__ = ["aligned", "errors_by_run", "mean_by_crystal", "mean_mae_by_run"]

Run = int | None


def mean_mae_by_run(records: Sequence[Record]) -> dict[Run, float]:
    """Average the error of each run over repetitions within it."""
    by_run: dict[Run, list[float]] = defaultdict(list)
    for record in records:
        by_run[record.run].append(record.mae)
    return {run: float(np.mean(values)) for run, values in by_run.items()}


def errors_by_run(records: Sequence[Record]) -> dict[Run, dict[int, float]]:
    """For each run the error of each test crystal, averaged over repetitions within the run."""
    by_run: dict[Run, list[Record]] = defaultdict(list)
    for record in records:
        by_run[record.run].append(record)
    return {run: _errors_by_crystal(repeats) for run, repeats in by_run.items()}


def _errors_by_crystal(records: Sequence[Record]) -> dict[int, float]:
    errors: dict[int, list[float]] = defaultdict(list)
    for record in records:
        for index, error in zip(record.test_indices.tolist(), record.errors, strict=True):
            errors[index].append(float(error))
    return {index: float(np.mean(values)) for index, values in errors.items()}


def aligned(
    data: str, before: Mapping[int, float], after: Mapping[int, float]
) -> tuple[list[int], np.ndarray]:
    """Return the crystals of one run, and their errors (2, crystals) with two methods."""
    indices = sorted(before)
    # Both methods of a run test the same crystals, or a paired comparison means nothing.
    if indices != sorted(after):
        raise ValueError(
            f"records of data set {data!r} have different test crystals in one run: the folder "
            "mixes two versions of a study. Move the older records away and run it again."
        )
    return indices, np.array([[errors[i] for i in indices] for errors in (before, after)])


def mean_by_crystal(pairs: Sequence[tuple[list[int], np.ndarray]]) -> np.ndarray:
    """Average the errors of a crystal that several runs test: (crystals, methods)."""
    pairs_of: dict[int, list[np.ndarray]] = defaultdict(list)
    for indices, errors in pairs:
        for index, pair in zip(indices, errors.T, strict=True):
            pairs_of[index].append(pair)
    return np.array([np.mean(values, axis=0) for values in pairs_of.values()])
