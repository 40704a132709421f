"""Base class of splitters that group crystals."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.model_selection import BaseCrossValidator

from gnnpre._validation import check_bool, check_number
from gnnpre._warnings import GnnpreWarning, warn_user

from ._structure_groups import check_lengths

__all__ = ["GroupFolds", "check_random_state"]


class GroupFolds(BaseCrossValidator):
    """Base class of splitters that derive groups from crystals and balance them over folds."""

    #: Plural noun of the groups, for messages.
    _groups_are: str

    def __init__(
        self, n_splits: int = 5, *, shuffle: bool = False, random_state: int | None = None
    ) -> None:
        check_number("n_splits", n_splits, integer=True, low=2, low_included=True)
        check_bool("shuffle", shuffle)
        check_random_state(random_state)
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state

    @abstractmethod
    def _labels(self, X: Any) -> np.ndarray:
        """Label the group of each crystal."""

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds.

        Parameters
        ----------
        X, y, groups : object, optional
            Ignored.

        Returns
        -------
        int
            The number of folds.
        """
        return self.n_splits

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the indices of each fold's training and test crystals.

        Parameters
        ----------
        X : container of n structures, or CrystalGraphs
            The crystals.
        y : object of length n, optional
            The targets; only their number is looked at.
        groups : object, optional
            Ignored with a warning: groups come from the crystals.

        Yields
        ------
        train : ndarray of int
            The crystals to train on, ascending.
        test : ndarray of int
            The crystals to test on, ascending.

        Raises
        ------
        ValueError
            If there are fewer groups than folds, or ``y`` has another length than ``X``.
        TypeError
            If ``X`` is not a container of crystals.
        """
        labels = self._labels(X)
        if y is not None:
            check_lengths("y", y, len(labels))
        if groups is not None:
            warn_user(
                f"{type(self).__name__} makes its own groups from X and ignores the argument "
                "groups. To split by yours, use scikit-learn's GroupKFold.",
                GnnpreWarning,
            )
        folds = self._folds(labels)
        for fold in range(self.n_splits):
            yield np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)

    def _folds(self, labels: np.ndarray) -> np.ndarray:
        """Return the number of the fold of each crystal."""
        # By label, not by row: the same crystals in another order make the same folds.
        _, group, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        if len(sizes) < self.n_splits:
            raise ValueError(
                f"n_splits={self.n_splits}, but the {len(labels)} crystals of X have only "
                f"{len(sizes)} {self._groups_are}, and one is never split. Lower n_splits to "
                f"{len(sizes)} or less, add crystals, or split by something finer."
            )
        rng = np.random.default_rng(self.random_state) if self.shuffle else None
        return _spread(sizes, self.n_splits, rng)[group]


def _spread(sizes: np.ndarray, n_splits: int, rng: np.random.Generator | None) -> np.ndarray:
    """Assign each group, the largest first, to the fold that has fewest crystals yet."""
    order = np.arange(len(sizes)) if rng is None else rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    load, fold_of_group = np.zeros(n_splits, dtype=np.int64), np.empty(len(sizes), dtype=np.int64)
    for group in order:
        lightest = np.flatnonzero(load == load.min())
        fold = lightest[0] if rng is None else rng.choice(lightest)
        fold_of_group[group] = fold
        load[fold] += sizes[group]
    return fold_of_group


def check_random_state(random_state: Any) -> None:
    """Check that a seed is None or an int that NumPy and scikit-learn accept."""
    if random_state is not None:
        check_number("random_state", random_state, integer=True, low_included=True, high=2**32 - 1)
