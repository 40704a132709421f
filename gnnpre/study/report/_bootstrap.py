"""Bootstrap intervals over the runs of an experiment and the crystals that each tests."""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["LEVEL", "N_RESAMPLES", "interval", "resampled_improvements"]

N_RESAMPLES = 2000
LEVEL = 0.95
#: Random indices drawn at once, which bounds the memory.
CHUNK = 4_000_000


def resampled_improvements(
    pairs: Sequence[np.ndarray], *, stream: str, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> np.ndarray:
    """Draw improvements in percent, with runs and then crystals within each resampled.

    Parameters
    ----------
    pairs : sequence of ndarray of shape (2, n_test)
        For each run the absolute errors of the reference and of the method on the same crystals.
    stream : str
        Name of the random stream. All methods of a data set have one name, and with it the same
        resamples; so have data sets of the same crystals.
    n_resamples : int, default=2000
        How many to draw.
    seed : int, default=0
        Seed of the draws.

    Returns
    -------
    ndarray of shape (n_resamples,)
        ``100 (reference - method) / reference`` of the mean absolute errors.

    References
    ----------
    A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their Application" (1997), section 3.8:
    both levels are resampled with replacement.
    """
    rng = np.random.default_rng([seed, zlib.crc32(stream.encode())])
    drawn = rng.integers(len(pairs), size=(n_resamples, len(pairs)))
    means = np.empty((2, *drawn.shape))
    for run, errors in enumerate(pairs):
        # A run that is drawn twice gets two resamples of its crystals.
        positions = np.nonzero(drawn == run)
        means[:, positions[0], positions[1]] = _resampled_means(errors, len(positions[0]), rng)
    reference, method = means.mean(axis=2)
    return 100.0 * (reference - method) / reference


def _resampled_means(errors: np.ndarray, n_draws: int, rng: np.random.Generator) -> np.ndarray:
    """Average resampled columns: (2, n_draws) from (2, n_test)."""
    n_test = errors.shape[1]
    step = max(1, CHUNK // n_test)
    chunks = [
        errors[:, rng.integers(n_test, size=(min(step, n_draws - start), n_test))].mean(axis=2)
        for start in range(0, n_draws, step)
    ]
    return np.concatenate([np.empty((2, 0)), *chunks], axis=1)


def interval(draws: np.ndarray | Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Return the percentile interval of draws, or of the mean over those of several data sets."""
    values = np.mean(list(draws.values()), axis=0) if isinstance(draws, Mapping) else draws
    tail = 50.0 * (1.0 - LEVEL)
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return float(low), float(high)
