"""Crystals of an evaluation set that are also in a pre-training set."""

from pathlib import Path
from typing import Any

import numpy as np

from gnnpre._row_order import warn_of_other_order
from gnnpre._validation import check_bool, check_choice, check_n_jobs, check_number
from gnnpre.pretrained import read_leak_keys

from .._crystals import read_crystals
from .._splits._structure_groups import LARGEST_SYMPREC, SYMPREC
from ._key_audit import audit_by_keys
from ._leak_report import LEVELS, NO_OVERLAP, LeakAudit
from ._matching import MatchSettings
from ._overlaps import AuditSettings, Side, as_id_list, check_ids, find_overlaps

__all__ = ["drop_leaks", "leak_audit"]


def leak_audit(
    pretraining_structures: Any,
    evaluation_structures: Any,
    *,
    pretraining_ids: Any = None,
    evaluation_ids: Any = None,
    match: bool = True,
    ltol: float = 0.2,
    stol: float = 0.3,
    angle_tol: float = 5.0,
    scale: bool = True,
    symprec: float = SYMPREC,
    n_jobs: int | None = None,
) -> LeakAudit:
    """Find the evaluation crystals that occur in the pre-training set.

    Four levels, from the surest: the same id; the same structure by pymatgen's StructureMatcher
    [1]_; the same prototype, which here is reduced formula and space group; the same reduced
    formula. The expensive levels are compared only for crystals whose formula both sets have.

    Parameters
    ----------
    pretraining_structures : container of m structures, CrystalGraphs, str or Path
        Crystals that a model was, or is to be, pre-trained on; or a model that was released with
        leak keys, such as ``"gnnpre-1"`` or its file. A ``CrystalStore`` is read into memory.
    evaluation_structures : container of n structures, or CrystalGraphs
        Crystals that it is evaluated on. Neither set is modified.
    pretraining_ids : sequence of length m, optional
        Ids such as ``"mp-149"``; None, NaN or ``pandas.NA`` where one is missing.
    evaluation_ids : sequence of length n, optional
        Ids of the evaluation crystals; both sets have ids or none has.
    match : bool, default=True
        Whether to compare structures, the level ``"structure"``.
    ltol : float, default=0.2
        Tolerance of lattice vectors relative to their length, at most 1.
    stol : float, default=0.3
        Tolerance of sites relative to ``(volume / n_atoms) ** (1/3)``, at most 10.
    angle_tol : float, default=5.0
        Tolerance of angles in degrees, at most 90.
    scale : bool, default=True
        Bring both structures to one volume first, as StructureMatcher does by default.
    symprec : float, default=0.1
        Distance in Å within which atoms count as symmetric.
    n_jobs : int, optional
        Processes for symmetry and matching; one by default, -1 for all cores.

    Returns
    -------
    LeakAudit
        The level of each evaluation crystal and the first pre-training crystal that it equals.

    Raises
    ------
    ValueError
        If a set is empty, ids do not fit, a parameter is out of range, or a model has no leak keys.
    TypeError
        If a set is not a container of crystals.
    FileNotFoundError
        If there is no such model.

    See Also
    --------
    drop_leaks : Select the pre-training crystals to keep.

    Notes
    -----
    The size of a vacuum does not matter: directions that are not periodic, and gaps of 6 Å or more
    between lattice planes of a periodic crystal, get a vacuum of fixed width before structures
    are compared, and ``stol`` is taken relative to the volume without it. Layers match layers
    only, never their bulk crystal. Chains and molecules are compared in the orientation that they
    are stored in; they have no prototype. Elements count, charges and magnetic moments do not.

    A model comes with keys of its training structures instead of the structures: their ids,
    compositions and fingerprints (radial distributions at a fixed volume per atom, which do not
    depend on the cell, the volume or the vacuum). Structures of one composition whose fingerprints
    are near each other count as the same; and ``seen_labels`` of the result says with which
    labels. There is no level "prototype", ``match`` is a row of the keys, and the tolerances and
    ``symprec`` have no effect.

    Time grows with the pairs of crystals that share a composition and do not match: thousands of
    frames of one composition on both sides are slow, and ``match=False`` is then the first thing
    to try.

    References
    ----------
    .. [1] S. P. Ong et al., "Python Materials Genomics (pymatgen)", Comput. Mater. Sci. 68, 314
       (2013).

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from gnnpre.model_selection import leak_audit
    >>> salt = Structure.from_spacegroup(
    ...     "Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ... )
    >>> iron = Structure(Lattice.cubic(2.9), ["Fe", "Fe"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    >>> audit = leak_audit([iron, salt], [salt.get_primitive_structure()])
    >>> audit
    LeakAudit(n=1, structure=1, prototype=1, composition=1, none=0)
    >>> audit.match
    array([1])
    """
    settings = _check_settings(match, ltol, stol, angle_tol, scale, symprec, n_jobs)
    if isinstance(pretraining_structures, (str, Path)):
        if pretraining_ids is not None:
            raise ValueError(
                f"pretraining_ids with the model {str(pretraining_structures)!r}, which has ids of "
                "its own: leave pretraining_ids out."
            )
        # A path is that of a model, which carries keys of its crystals in place of them.
        keys = read_leak_keys(pretraining_structures)
        return audit_by_keys(keys, _read_evaluation(evaluation_structures, evaluation_ids), match)
    pretraining, evaluation = _read(
        pretraining_structures, evaluation_structures, pretraining_ids, evaluation_ids
    )
    levels = set(LEVELS)
    if not match:
        levels.remove("structure")
    if pretraining.ids is None:
        levels.remove("id")
    matches = find_overlaps(pretraining, evaluation, levels, settings)
    return LeakAudit(evaluation.formulas, len(pretraining.crystals), matches)


def drop_leaks(
    pretraining_structures: Any,
    evaluation_structures: Any,
    level: str = "structure",
    *,
    pretraining_ids: Any = None,
    evaluation_ids: Any = None,
    match: bool = True,
    ltol: float = 0.2,
    stol: float = 0.3,
    angle_tol: float = 5.0,
    scale: bool = True,
    symprec: float = SYMPREC,
    n_jobs: int | None = None,
) -> np.ndarray:
    """Return the pre-training crystals to keep so that none of them is in the evaluation set.

    After it :func:`leak_audit` with the same settings finds no overlap at ``level``, nor at a
    surer one.

    Parameters
    ----------
    pretraining_structures : container of m structures, or CrystalGraphs
        Crystals that a model is to be pre-trained on.
    evaluation_structures : container of n structures, or CrystalGraphs
        Crystals that it is evaluated on. Neither set is modified.
    level : {"structure", "id", "prototype", "composition"}
        Crystals that equal an evaluation crystal at this level or a surer one are left out; the
        order is id, structure, prototype, composition.
    pretraining_ids : sequence of length m, optional
        Ids such as ``"mp-149"``; None, NaN or ``pandas.NA`` where one is missing.
    evaluation_ids : sequence of length n, optional
        Ids of the evaluation crystals; both sets have ids or none has.
    match : bool, default=True
        Compare structures, where ``level`` asks for it.
    ltol : float, default=0.2
        Tolerance of lattice vectors relative to their length, at most 1.
    stol : float, default=0.3
        Tolerance of sites relative to ``(volume / n_atoms) ** (1/3)``, at most 10.
    angle_tol : float, default=5.0
        Tolerance of angles in degrees, at most 90.
    scale : bool, default=True
        Bring both structures to one volume first.
    symprec : float, default=0.1
        Distance in Å within which atoms count as symmetric.
    n_jobs : int, optional
        Processes for symmetry and matching; one by default, -1 for all cores.

    Returns
    -------
    ndarray of int
        Indices of the pre-training crystals to keep, ascending.

    Raises
    ------
    ValueError
        If a set is empty, ids do not fit or are missing for ``level="id"``, or a parameter is
        out of range.
    TypeError
        If a set is not a container of crystals.

    See Also
    --------
    leak_audit : Describe the overlap.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from gnnpre.model_selection import drop_leaks
    >>> cubic = [Structure(Lattice.cubic(3.0), [x], [[0, 0, 0]]) for x in ("Po", "Mn", "Te")]
    >>> drop_leaks(cubic, [cubic[1] * (2, 1, 1)]).tolist()
    [0, 2]
    """
    settings = _check_settings(match, ltol, stol, angle_tol, scale, symprec, n_jobs)
    _check_level(level, match, pretraining_ids)
    pretraining, evaluation = _read(
        pretraining_structures, evaluation_structures, pretraining_ids, evaluation_ids
    )
    levels = _levels_up_to(level, match, pretraining.ids is not None)
    # The audit with the two sets exchanged, the matcher's arguments in the same order.
    matches = find_overlaps(evaluation, pretraining, levels, settings, reference_first=False)
    overlap = LeakAudit(pretraining.formulas, len(evaluation.crystals), matches).level
    return np.flatnonzero(overlap == NO_OVERLAP)


def _levels_up_to(level: str, match: bool, has_ids: bool) -> set[str]:
    levels = set(LEVELS[: LEVELS.index(level) + 1])
    if level == "composition":
        levels -= {"structure", "prototype"}  # both imply it
    if not match:
        levels.discard("structure")
    if not has_ids:
        levels.discard("id")
    return levels


def _check_level(level: str, match: bool, pretraining_ids: Any) -> None:
    check_choice("level", level, LEVELS)
    if level == "structure" and not match:
        raise ValueError(
            "level='structure' with match=False; expected match=True, since structures are "
            "compared by matching them. Leave match out, or pass level='prototype'."
        )
    if level == "id" and pretraining_ids is None:
        raise ValueError(
            "level='id' without ids; expected pretraining_ids and evaluation_ids. Pass both, or "
            "another level."
        )


def _check_settings(
    match: bool,
    ltol: float,
    stol: float,
    angle_tol: float,
    scale: bool,
    symprec: float,
    n_jobs: int | None,
) -> AuditSettings:
    for name, value in (("match", match), ("scale", scale)):
        check_bool(name, value)
    numbers = {
        "ltol": (ltol, 1.0),
        "stol": (stol, 10.0),
        "angle_tol": (angle_tol, 90.0),
        "symprec": (symprec, LARGEST_SYMPREC),
    }
    for name, (number, high) in numbers.items():
        check_number(name, number, high=high)
    check_n_jobs(n_jobs)
    return AuditSettings(MatchSettings(ltol, stol, angle_tol, scale), symprec, n_jobs)


def _read(
    pretraining: Any, evaluation: Any, pretraining_ids: Any, evaluation_ids: Any
) -> tuple[Side, Side]:
    first = read_crystals(pretraining, "pretraining_structures")
    second = read_crystals(evaluation, "evaluation_structures")
    warn_of_other_order(pretraining, pretraining_ids=pretraining_ids)
    warn_of_other_order(evaluation, evaluation_ids=evaluation_ids)
    counts = len(first), len(second)
    first_ids, second_ids = check_ids(pretraining_ids, evaluation_ids, counts)
    return Side.of(first, first_ids), Side.of(second, second_ids)


def _read_evaluation(structures: Any, ids: Any) -> Side:
    crystals = read_crystals(structures, "evaluation_structures")
    if ids is not None:
        warn_of_other_order(structures, evaluation_ids=ids)
        ids = as_id_list("evaluation_ids", ids, len(crystals))
    return Side.of(crystals, ids)
