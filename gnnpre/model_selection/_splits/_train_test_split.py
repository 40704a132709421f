"""One split into training and test crystals, whole groups on one side."""

from itertools import chain
from typing import Any

import numpy as np

# train_test_split itself indexes lists, Series and objects with a shape by this function.
from sklearn.utils import _safe_indexing

from gnnpre._row_order import warn_of_other_order
from gnnpre._validation import check_number

from ._group_folds import check_random_state
from ._structure_groups import SYMPREC, check_lengths, structure_groups

__all__ = ["structure_train_test_split"]


def structure_train_test_split(
    *arrays: Any,
    by: str = "composition",
    test_size: float | int = 0.25,
    random_state: int | None = None,
    symprec: float = SYMPREC,
    n_jobs: int | None = None,
) -> list[Any]:
    """Split crystals and arrays that belong to them in two, whole groups on one side.

    Parameters
    ----------
    *arrays : containers of length n
        First the crystals (a container of structures, or CrystalGraphs), then arrays, lists,
        Series or FrameLabels with one entry for each.
    by : {"composition", "chemical_system", "prototype"}
        Crystals that stay together; see :func:`structure_groups`.
    test_size : float or int, default=0.25
        Share of the crystals to test on, or their number. The test set is at most so large, as
        near as whole groups allow, and never empty.
    random_state : int, optional
        Seed of the choice of groups; without it each call chooses anew.
    symprec : float
        Distance in Å within which atoms count as symmetric; for prototypes.
    n_jobs : int, optional
        Processes that look for symmetry; one by default, -1 for all cores.

    Returns
    -------
    list of length 2 * len(arrays)
        Training and test rows of each argument, in its own type and in the order of the crystals.

    Raises
    ------
    ValueError
        If there are fewer than two groups, lengths differ, or a parameter is out of range.
    TypeError
        If the first argument is not a container of crystals, or another has no length.

    Warns
    -----
    DataQualityWarning
        If an argument has the index of the crystals in another order.

    See Also
    --------
    CompositionKFold, ChemicalSystemKFold, PrototypeKFold : Folds in place of one split.

    Examples
    --------
    >>> from gnnpre.datasets import make_emt_frames
    >>> from gnnpre.model_selection import structure_train_test_split
    >>> frames, labels = make_emt_frames(20, random_state=0)
    >>> train, test, labels_train, labels_test = structure_train_test_split(
    ...     frames, labels, by="chemical_system", random_state=0
    ... )
    >>> len(train) + len(test), len(labels_train) == len(train)
    (20, True)
    """
    if not arrays:
        raise ValueError(
            "No arrays were passed; expected the crystals first, then arrays of their labels: "
            "structure_train_test_split(structures, y)."
        )
    check_random_state(random_state)
    labels = structure_groups(arrays[0], by=by, symprec=symprec, n_jobs=n_jobs)
    for number, values in enumerate(arrays[1:], start=2):
        check_lengths(f"Argument {number}", values, len(labels), "argument 1")
    for number, values in enumerate(arrays[1:], start=2):
        warn_of_other_order(arrays[0], **{f"argument {number}": values})
    in_test = _choose_test(labels, _test_count(test_size, len(labels)), by, random_state)
    sides = np.flatnonzero(~in_test), np.flatnonzero(in_test)
    pairs = ([_safe_indexing(values, side) for side in sides] for values in arrays)
    return list(chain.from_iterable(pairs))


def _test_count(test_size: float | int, n: int) -> int:
    is_count = isinstance(test_size, (int, np.integer)) and not isinstance(test_size, bool)
    check_number("test_size", test_size, integer=is_count)
    if is_count and test_size < n:
        return int(test_size)
    if test_size >= 1:
        raise ValueError(
            f"test_size={test_size!r}; expected a share between 0 and 1, or an int: the number of "
            f"crystals, 1 to {n - 1}."
        )
    return min(max(1, round(test_size * n)), n - 1)


def _choose_test(labels: np.ndarray, count: int, by: str, random_state: int | None) -> np.ndarray:
    """Choose groups at random while they fit, and the smallest if none does."""
    _, group, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise ValueError(
            f"by={by!r} makes one group of all {len(labels)} crystals ({labels[0]}), and a group "
            "is never split. Pass crystals of at least 2 groups, or split by something finer."
        )
    # Greedy: groups in random order, each that still fits.
    order = np.random.default_rng(random_state).permutation(len(sizes))
    chosen, room = np.zeros(len(sizes), dtype=bool), count
    for candidate in order:
        if sizes[candidate] <= room:
            chosen[candidate] = True
            room -= sizes[candidate]
    if not chosen.any():
        chosen[order[np.argmin(sizes[order])]] = True
    return chosen[group]
