"""Alloys of seven metals with ASE's effective medium theory: real physics, no download."""

from functools import lru_cache
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from gnnpre._validation import as_random_state

from ..graphs import FrameLabels
from ._alloys import belongs_to_frames, distort, draw_crystal, fcc_metal
from ._composition import chemical_system, reduced_formula, structure_from_arrays
from ._emt_calculator import make_emt
from ._parameters import check_choice

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

__all__ = ["make_emt_frames", "make_emt_property"]

_BULK_STRAIN = 0.01  # in ln V, either side: the third-order error is below 0.1 %
_FORCE_TOLERANCE = 0.01  # eV/Å, of relaxed cells
_RELAXATION_STEPS = 200

#: Frames and atoms that are drawn at most: a larger number is a mistake.
MOST = 10**7


def make_emt_frames(
    n_frames: int = 200,
    *,
    max_atoms: int = 8,
    strain: float = 0.03,
    rattle: float = 0.08,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[list["Structure"], FrameLabels]:
    """Make strained, rattled alloys of seven metals with energies, forces and stresses.

    The labels are those of the effective medium theory (EMT) potential [1]_ of ASE, a smooth
    many-body potential of Al, Cu, Ag, Au, Ni, Pd and Pt. The cells are fcc, bcc and hcp with a
    random composition of one to four elements on their sites, and ordered L1_2 and L1_0 cells;
    their lattice constants follow Vegard's law.

    Parameters
    ----------
    n_frames : int, default=200
        Number of frames. Fewer frames of the same ``random_state`` are the first of more.
    max_atoms : int, default=8
        Maximum number of atoms of a cell; at least 4, which L1_2 needs.
    strain : float, default=0.03
        Standard deviation of each component of the random symmetric strain of the cell. The
        volume changes besides, by a uniform linear strain within two and a half times as much.
    rattle : float, default=0.08
        Standard deviation of the displacement of each coordinate, in Å.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same frames in every call.

    Returns
    -------
    structures : list of n_frames pymatgen Structure
        The crystals.
    labels : FrameLabels
        Energies in eV per cell, about zero for the fcc metals (ASE's reference); forces in eV/Å;
        stresses in eV/Å^3, positive in tension. The columns of ``info`` are ``prototype``
        (before straining), ``formula`` (reduced) and ``group`` (the elements, such as
        ``"Au-Cu"``), by which to split.

    Raises
    ------
    ValueError
        If a number is out of its range.

    See Also
    --------
    make_emt_property : A property of relaxed cells of other compositions.

    References
    ----------
    .. [1] K. W. Jacobsen, P. Stoltze, J. K. Nørskov, "A semi-empirical effective medium theory
       for metals and alloys", Surf. Sci. 366, 394 (1996).

    Examples
    --------
    >>> from gnnpre.datasets import make_emt_frames
    >>> structures, labels = make_emt_frames(5, random_state=0)
    >>> len(structures), labels.shape, labels.stress.shape
    (5, (5,), (5, 3, 3))
    >>> sorted(labels.info)
    ['formula', 'group', 'prototype']
    """
    _check_count("n_frames", n_frames, 1)
    _check_count("max_atoms", max_atoms, 4)
    _check_size("strain", strain, "no unit", 0.1)
    _check_size("rattle", rattle, "Å", 0.5)
    # 1. structures
    rng = as_random_state("random_state", random_state)
    frames, prototypes = [], []
    for _ in range(n_frames):
        prototype, atoms = draw_crystal(rng, max_atoms, belongs_to_frames)
        distort(rng, atoms, strain, rattle)
        frames.append(atoms)
        prototypes.append(prototype)
    # 2. labels of the potential
    return [_to_structure(atoms) for atoms in frames], _label(frames, prototypes)


def make_emt_property(
    n_structures: int = 100,
    *,
    target: str = "bulk_modulus",
    max_atoms: int = 8,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[list["Structure"], np.ndarray]:
    """Make relaxed alloys of seven metals and a property of them, from the same potential.

    Random alloys as in :func:`make_emt_frames` are relaxed (cell and positions) with ASE's
    effective medium theory (EMT) potential. No composition is shared with the frames, whatever
    the two seeds are: a hash of the reduced formula assigns each alloy to the one or the other,
    and the pure metals belong to the frames. No composition occurs twice, so that folds of a
    cross-validation are disjoint in composition, too.

    Parameters
    ----------
    n_structures : int, default=100
        Number of crystals. Fewer of the same ``random_state`` are the first of more; cells of 8
        atoms have some 1,400 compositions.
    target : {"bulk_modulus", "formation_energy"}, default="bulk_modulus"
        ``"bulk_modulus"``: change of the mean stress with ln V at fixed fractional coordinates,
        in GPa. ``"formation_energy"``: energy per atom relative to the relaxed fcc metals, in
        eV/atom.
    max_atoms : int, default=8
        Maximum number of atoms of a cell; at least 4, which L1_2 needs.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same crystals in every call.

    Returns
    -------
    structures : list of n_structures pymatgen Structure
        The relaxed crystals.
    y : ndarray of shape (n_structures,)
        Their property.

    Raises
    ------
    ValueError
        If ``target`` is none of the above, a number is out of its range, or there are fewer
        than ``n_structures`` compositions of cells of ``max_atoms``.

    See Also
    --------
    make_emt_frames : Energies, forces and stresses of other compositions.

    Examples
    --------
    >>> from gnnpre.datasets import make_emt_property
    >>> structures, y = make_emt_property(3, target="formation_energy", random_state=0)
    >>> len(structures), y.shape
    (3, (3,))
    """
    _check_count("n_structures", n_structures, 1)
    _check_count("max_atoms", max_atoms, 4)
    check_choice("target", target, list(_PROPERTIES))
    rng = as_random_state("random_state", random_state)
    crystals = _draw_relaxed(rng, n_structures, max_atoms)
    structures = [_to_structure(atoms) for atoms in crystals]  # before the property strains them
    return structures, np.array([_PROPERTIES[target](atoms) for atoms in crystals])


def _draw_relaxed(rng: np.random.RandomState, n: int, max_atoms: int) -> list["Atoms"]:
    """Draw n alloys that relax, each of a composition of its own that no frame has."""
    crystals: list[Atoms] = []
    seen: set[str] = set()

    def is_new(numbers: np.ndarray) -> bool:
        return not belongs_to_frames(numbers) and reduced_formula(numbers) not in seen

    while len(crystals) < n:
        _, atoms = draw_crystal(rng, max_atoms, is_new)
        seen.add(reduced_formula(atoms.numbers))
        if _relax(atoms):
            crystals.append(atoms)
    return crystals


def _label(frames: list["Atoms"], prototypes: list[str]) -> FrameLabels:
    energy, forces, stress = [], [], []
    for atoms in frames:
        atoms.calc = make_emt()
        energy.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
        stress.append(atoms.get_stress(voigt=False))
    # For splits: by prototype, by formula, or by the set of elements.
    info = {
        "prototype": prototypes,
        "formula": [reduced_formula(atoms.numbers) for atoms in frames],
        "group": [chemical_system(atoms.numbers) for atoms in frames],
    }
    return FrameLabels(
        [len(atoms) for atoms in frames],
        energy=np.array(energy),
        forces=np.concatenate(forces),
        stress=np.array(stress),
        info=info,
    )


def _relax(atoms: "Atoms") -> bool:
    """Relax cell and positions in place, and return whether that converged."""
    from ase.filters import UnitCellFilter
    from ase.optimize import BFGS

    atoms.calc = make_emt()
    cell_and_positions: Any = UnitCellFilter(atoms)
    optimizer = BFGS(cell_and_positions, logfile=None)
    return bool(optimizer.run(fmax=_FORCE_TOLERANCE, steps=_RELAXATION_STEPS))


def _bulk_modulus(atoms: "Atoms") -> float:
    from ase.units import GPa

    # K = d(mean stress) / d(ln V), by central differences.
    cell, mean_stress = atoms.cell.array.copy(), []
    for step in (-_BULK_STRAIN, _BULK_STRAIN):
        atoms.set_cell(cell * np.exp(step / 3), scale_atoms=True)
        mean_stress.append(atoms.get_stress()[:3].mean())
    return float((mean_stress[1] - mean_stress[0]) / (2 * _BULK_STRAIN) / GPa)


def _formation_energy(atoms: "Atoms") -> float:
    references = sum(_metal_energy(z) for z in atoms.numbers.tolist())
    return float((atoms.get_potential_energy() - references) / len(atoms))


@lru_cache
def _metal_energy(atomic_number: int) -> float:
    """Return the energy of the relaxed fcc metal in eV/atom."""
    atoms = fcc_metal(atomic_number)
    _relax(atoms)
    return float(atoms.get_potential_energy())


_PROPERTIES = {"bulk_modulus": _bulk_modulus, "formation_energy": _formation_energy}


def _to_structure(atoms: "Atoms") -> "Structure":
    return structure_from_arrays(atoms.numbers, atoms.positions, atoms.cell.array)


def _check_count(name: str, value: Any, least: int) -> None:
    is_int = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_int or value < least:
        raise ValueError(f"{name} must be an int of at least {least}; got {value!r}.")
    if value > MOST:
        raise ValueError(f"{name} must be at most {MOST}; got {value!r}.")


def _check_size(name: str, value: Any, unit: str, most: float) -> None:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not (is_number and 0 <= value <= most):
        raise ValueError(f"{name} ({unit}) must be between 0 and {most}; got {value!r}.")
