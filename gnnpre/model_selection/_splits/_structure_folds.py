"""Cross-validation with related crystals in one fold."""

from typing import Any

import numpy as np

from gnnpre._validation import check_n_jobs, check_number

from ._group_folds import GroupFolds
from ._structure_groups import LARGEST_SYMPREC, SYMPREC, structure_groups

__all__ = ["ChemicalSystemKFold", "CompositionKFold", "PrototypeKFold"]


class CompositionKFold(GroupFolds):
    """Folds that never split a composition.

    Polymorphs, supercells and frames of one reduced formula are all in the training part or all
    in the test part: the score is that for a formula never seen.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=False
        Spread groups of equal size over the folds at random. The largest go first either way,
        into the fold with fewest crystals, so that folds are as even as groups allow.
    random_state : int, optional
        Seed of the shuffle; without it each call of :meth:`split` shuffles anew.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    structure_groups : The labels, for scikit-learn's own splitters.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from gnnpre.model_selection import CompositionKFold
    >>> cubic = [Structure(Lattice.cubic(3.0), [x], [[0, 0, 0]]) for x in ("Po", "Mn", "Te")]
    >>> for train, test in CompositionKFold(3).split([*cubic, cubic[1] * (2, 1, 1)]):
    ...     print(train, test)
    [0 2] [1 3]
    [1 2 3] [0]
    [0 1 3] [2]
    """

    _groups_are = "compositions"

    def _labels(self, X: Any) -> np.ndarray:
        return structure_groups(X, by="composition")


class ChemicalSystemKFold(GroupFolds):
    """Folds that never split a chemical system: a set of elements in any proportions.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=False
        Spread groups of equal size over the folds at random. The largest go first either way,
        into the fold with fewest crystals, so that folds are as even as groups allow.
    random_state : int, optional
        Seed of the shuffle; without it each call of :meth:`split` shuffles anew.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    structure_groups : The labels, for scikit-learn's own splitters.

    Examples
    --------
    >>> from gnnpre.datasets import make_emt_frames
    >>> from gnnpre.model_selection import ChemicalSystemKFold, structure_groups
    >>> structures, labels = make_emt_frames(20, random_state=0)
    >>> systems = structure_groups(structures, by="chemical_system")
    >>> train, test = next(ChemicalSystemKFold(3).split(structures, labels))
    >>> set(systems[train]) & set(systems[test])
    set()
    """

    _groups_are = "chemical systems"

    def _labels(self, X: Any) -> np.ndarray:
        return structure_groups(X, by="chemical_system")


class PrototypeKFold(GroupFolds):
    """Folds that never split a prototype: anonymous formula and space group.

    The score is that for types of crystals never seen, such as perovskites.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    symprec : float, default=0.1
        Distance in Å within which atoms count as symmetric, at most 10.
    shuffle : bool, default=False
        Spread groups of equal size over the folds at random. The largest go first either way,
        into the fold with fewest crystals, so that folds are as even as groups allow.
    random_state : int, optional
        Seed of the shuffle; without it each call of :meth:`split` shuffles anew.
    n_jobs : int, optional
        Processes that look for symmetry; one by default, -1 for all cores.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    structure_groups : The labels, for scikit-learn's own splitters.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from gnnpre.model_selection import PrototypeKFold
    >>> cubes = [Structure(Lattice.cubic(3.0), [x], [[0, 0, 0]]) for x in ("Po", "Mn")]
    >>> salts = [
    ...     Structure(Lattice.cubic(4.1), [x, "Cl"], [[0] * 3, [0.5] * 3]) for x in ("Cs", "Tl")
    ... ]
    >>> for train, test in PrototypeKFold(2).split(cubes + salts):
    ...     print(train, test)
    [0 1] [2 3]
    [2 3] [0 1]
    """

    _groups_are = "prototypes"

    def __init__(
        self,
        n_splits: int = 5,
        *,
        symprec: float = SYMPREC,
        shuffle: bool = False,
        random_state: int | None = None,
        n_jobs: int | None = None,
    ) -> None:
        super().__init__(n_splits, shuffle=shuffle, random_state=random_state)
        check_number("symprec", symprec, high=LARGEST_SYMPREC)
        check_n_jobs(n_jobs)
        self.symprec = symprec
        self.n_jobs = n_jobs

    def _labels(self, X: Any) -> np.ndarray:
        return structure_groups(X, by="prototype", symprec=self.symprec, n_jobs=self.n_jobs)
