"""Which crystals train, validate and test."""

from typing import NamedTuple

import numpy as np
from sklearn.model_selection import KFold

__all__ = ["FOLD_SEED", "N_FOLDS", "Split", "split_data"]

# MatBench's, for its regression tasks.
N_FOLDS, FOLD_SEED = 5, 18012019
# The papers' parts for validation and test; the rest trains.
VALIDATION = TEST = 0.2
#: Fewest crystals of which each part gets one.
FEWEST = 5


class Split(NamedTuple):
    """Indices of crystals, ascending."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def split_data(
    n: int,
    protocol: str,
    *,
    seed: int,
    fold: int | None = None,
    validation: float = 0.1,
    n_labels: int | None = None,
) -> Split:
    """Split n crystals by a protocol.

    ``"papers"``: a random order by ``seed``, of which a fifth tests, a fifth validates and the
    rest trains. ``"matbench"``: the fold number ``fold`` tests, and ``validation`` of the others
    validates. Of ``n_labels`` crystals only for training and validation, both have their share.
    """
    if n < FEWEST:
        raise ValueError(f"A data set has {n} crystals; expected {FEWEST} or more to split.")
    if protocol == "papers":
        order = np.random.default_rng(seed).permutation(n)
        n_test, n_valid = round(n * TEST), round(n * VALIDATION)
        test, rest = order[:n_test], order[n_test:]
    else:
        folds = KFold(N_FOLDS, shuffle=True, random_state=FOLD_SEED)
        # The folds depend on the number of rows alone, not on the crystals.
        remaining, test = list(folds.split(np.zeros(n)))[fold or 0]
        rest = np.random.default_rng([seed, fold or 0]).permutation(remaining)
        n_valid = max(1, round(len(rest) * validation))
    valid, train = rest[:n_valid], rest[n_valid:]
    if n_labels is not None:
        train, valid = _cut(train, valid, n_labels)
    return Split(np.sort(train), np.sort(valid), np.sort(test))


def _cut(train: np.ndarray, valid: np.ndarray, n_labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Reduce both in proportion; the crystals of fewer labels are among those of more."""
    n_available = len(train) + len(valid)
    if n_labels > n_available:
        raise ValueError(
            f"n_labels={n_labels}, but the protocol leaves {n_available} crystals for training and "
            "validation: lower it, or leave it out."
        )
    n_valid = max(1, round(n_labels * len(valid) / n_available))
    return train[: n_labels - n_valid], valid[:n_valid]
