"""Labels of related crystals, which a split keeps together."""

from typing import Any

import numpy as np

from gnnpre._validation import check_choice, check_n_jobs, check_number
from gnnpre.graphs import Crystals

from .._crystals import anonymous_formulas, chemical_systems, read_crystals, reduced_formulas
from .._symmetry import space_group_numbers

__all__ = [
    "GROUPINGS",
    "LARGEST_SYMPREC",
    "SYMPREC",
    "check_lengths",
    "structure_groups",
]

GROUPINGS = ("composition", "chemical_system", "prototype")
# Å; the Materials Project's own, wide enough for relaxed crystals.
SYMPREC, LARGEST_SYMPREC = 0.1, 10.0


def structure_groups(
    X: Any, by: str = "composition", *, symprec: float = SYMPREC, n_jobs: int | None = None
) -> np.ndarray:
    """Label crystals so that those with equal labels belong on one side of a split.

    The labels serve as ``groups`` of any of scikit-learn's splitters that take some.

    Parameters
    ----------
    X : container of n structures, or CrystalGraphs
        The crystals; they are not modified.
    by : {"composition", "chemical_system", "prototype"}
        Crystals to keep together: those of one reduced formula (``"SiO2"``, all its polymorphs),
        of one set of elements (``"O-Si"``), or of one prototype, which is the formula with
        letters in place of elements and the number of the space group (``"AB_225"``, rock salt
        of any elements).
    symprec : float
        Distance in Å within which atoms count as symmetric, at most 10; for prototypes.
    n_jobs : int, optional
        Processes that look for symmetry; one by default, -1 for all cores.

    Returns
    -------
    ndarray of str of shape (n,)
        The labels.

    Raises
    ------
    ValueError
        If ``by`` is none of the three, or there are no crystals.
    TypeError
        If ``X`` is not a container of crystals.

    See Also
    --------
    CompositionKFold, ChemicalSystemKFold, PrototypeKFold : Folds by these labels.
    structure_train_test_split : One split by these labels.

    Notes
    -----
    The space group of a slab does not depend on its vacuum, whether the cell is periodic across it
    or not; see :func:`leak_audit`. Crystals that are periodic in one direction only, or in none
    (chains and molecules, in a box too), and those in which spglib finds no symmetry, have 0 for
    a space group.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from gnnpre.model_selection import structure_groups
    >>> salts = [
    ...     Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [x, y], [[0] * 3, [0.5] * 3])
    ...     for a, x, y in [(5.6, "Na", "Cl"), (4.2, "Mg", "O")]
    ... ]
    >>> structure_groups(salts).tolist()
    ['NaCl', 'MgO']
    >>> structure_groups(salts, by="prototype").tolist()
    ['AB_225', 'AB_225']
    """
    check_choice("by", by, GROUPINGS)
    check_number("symprec", symprec, high=LARGEST_SYMPREC)
    check_n_jobs(n_jobs)
    crystals = read_crystals(X)
    if by == "composition":
        return reduced_formulas(crystals)
    if by == "chemical_system":
        return chemical_systems(crystals)
    return _prototypes(crystals, symprec, n_jobs)


def _prototypes(crystals: Crystals, symprec: float, n_jobs: int | None) -> np.ndarray:
    numbers = space_group_numbers(crystals, symprec, n_jobs)
    pairs = zip(anonymous_formulas(crystals), numbers, strict=True)
    return np.array([f"{formula}_{number}" for formula, number in pairs])


def check_lengths(name: str, value: Any, n: int, first: str = "X") -> None:
    """Check that a value has as many entries as there are crystals."""
    try:
        length = len(value)
    except TypeError as error:
        raise TypeError(
            f"{name} is of type {type(value).__name__}, which has no length; expected one entry "
            f"for each crystal of {first}, {n} in all."
        ) from error
    if length != n:
        raise ValueError(
            f"{name} has {length} entries; {first} has {n} crystals. Pass one entry for each "
            "crystal, in the same order."
        )
