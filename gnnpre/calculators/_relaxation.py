"""Relaxation of many crystals at once."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from gnnpre._labels import rows_text
from gnnpre._validation import check_bool, check_number
from gnnpre._warnings import warn_user
from gnnpre.graphs import Crystals, as_crystals

from ._fixed_atoms import warn_of_constraints
from ._force_field_model import ForceFieldFunction
from ._relaxing_batch import RelaxingBatch, with_geometry

__all__ = ["Relaxation", "relax_structures"]


@dataclass(frozen=True)
class Relaxation:
    """Crystals after a relaxation.

    Parameters
    ----------
    crystals : Crystals
        The relaxed crystals, in the order of the input; ``crystals[i]`` is a pymatgen Structure.
    energy : ndarray of shape (n,)
        Energies in eV per cell, on the scale of the labels of the pre-training.
    largest_force : ndarray of shape (n,)
        Largest force on an atom in eV/Å.
    largest_stress : ndarray of shape (n,)
        Largest component of the stress in eV/Å^3; NaN where the cell was not relaxed.
    n_steps : ndarray of int of shape (n,)
        Steps taken.
    converged : ndarray of bool of shape (n,)
        Whether force and stress came below the thresholds.

    Examples
    --------
    >>> import numpy as np
    >>> from gnnpre.calculators import Relaxation
    >>> from gnnpre.graphs import Crystals
    >>> copper = Crystals(
    ...     atomic_numbers=[29], positions=[[0, 0, 0]], cell=[3.6 * np.eye(3)], n_atoms=[1]
    ... )
    >>> one = np.ones(1)
    >>> Relaxation(copper, -3.7 * one, 0 * one, 0 * one, one, one > 0)
    Relaxation(n=1, converged=1)
    """

    crystals: Crystals
    energy: np.ndarray
    largest_force: np.ndarray
    largest_stress: np.ndarray
    n_steps: np.ndarray
    converged: np.ndarray

    def __repr__(self) -> str:
        return f"Relaxation(n={len(self.crystals)}, converged={int(self.converged.sum())})"


def relax_structures(
    structures: Any,
    model: Any,
    *,
    relax_cell: bool = True,
    fmax: float = 0.02,
    smax: float = 0.001,
    max_steps: int = 500,
    max_atoms: int = 2000,
    skin: float = 0.5,
    dtype: str = "float32",
    device: str = "auto",
) -> Relaxation:
    """Relax crystals to the nearest minimum of a force field, many at once.

    All crystals of a batch take a step together, by FIRE [1]_, each with its own time step, and
    leave the batch when they have converged. The cell relaxes with the atoms, as under ASE's
    ``UnitCellFilter``.

    Parameters
    ----------
    structures : container of n structures, or Crystals
        The crystals; they are left as they are.
    model : str, Path or Pretrainer
        The force field; see :class:`ForceFieldCalculator`.
    relax_cell : bool, default=True
        Whether the cell changes too, in crystals that are periodic in all directions.
    fmax : float, default=0.02
        Converged when no atom has a larger force, in eV/Å ...
    smax : float, default=0.001
        ... and no component of the stress is larger, in eV/Å^3 (0.001 is 0.16 GPa).
    max_steps : int, default=500
        Maximum number of steps of a crystal.
    max_atoms : int, default=2000
        Maximum number of atoms in a batch, unless one crystal has more.
    skin : float, default=0.5
        Additional reach of the neighbour list in Å.
    dtype : {"float32", "float64"}, default="float32"
        Precision of the network.
    device : str, default="auto"
        Where the network runs.

    Returns
    -------
    Relaxation
        The relaxed crystals, their energies, and which ones converged.

    Raises
    ------
    TypeError, ValueError
        If the model has no forces, or a parameter is out of range.
    FileNotFoundError
        If there is no such file of a model.

    Warns
    -----
    UnseenElementWarning
        If the force field has never seen an element.
    ConvergenceWarning
        If crystals have not converged after ``max_steps``, unless it is 0. Or if crystals fall
        apart: atoms nearly meet, or the cell collapses, where a force field knows nothing. They
        stop as they were one step before, and the others go on.
    DataQualityWarning
        If structures hold atoms fixed, as by ASE's constraints: all of them move here.

    References
    ----------
    .. [1] E. Bitzek et al., "Structural relaxation made simple", Phys. Rev. Lett. 97, 170201
       (2006).

    Examples
    --------
    >>> from gnnpre import CGCNN, ForceField, Pretrainer
    >>> from gnnpre.calculators import relax_structures
    >>> from gnnpre.datasets import make_emt_frames
    >>> frames, labels = make_emt_frames(8, random_state=0)
    >>> pretrainer = Pretrainer(CGCNN(8, 1), ForceField(), max_epochs=1, random_state=0)
    >>> relax_structures(frames[:2], pretrainer.fit(frames, labels), max_steps=2).n_steps
    array([2, 2])
    """
    check_bool("relax_cell", relax_cell)
    check_number("fmax", fmax)
    check_number("smax", smax)
    check_number("max_steps", max_steps, integer=True, low_included=True)
    check_number("max_atoms", max_atoms, integer=True)
    crystals = as_crystals(structures)
    warn_of_constraints(structures)
    function = ForceFieldFunction(model, skin, dtype, device)
    function.warn_of_unseen_elements(crystals)
    # Batches by atoms: one large cell takes the memory of many small ones.
    batches, broken = [], []
    for rows in _batches(crystals.n_atoms, max_atoms):
        batch = RelaxingBatch(crystals[rows], relax_cell)
        batches.append(batch.relax(function, fmax, smax, max_steps))
        broken.append(rows.start + np.flatnonzero(batch.is_broken))
    columns = [
        np.concatenate(column) for column in zip(*(rest for _, rest in batches), strict=True)
    ]
    relaxed = Crystals.concatenate([batch for batch, _ in batches])
    relaxation = Relaxation(_with_columns(relaxed, crystals), *columns)
    _warn_of_broken(np.concatenate(broken), structures)
    if max_steps > 0:
        _warn_of_unconverged(relaxation, np.concatenate(broken), max_steps, structures)
    return relaxation


def _warn_of_broken(rows: np.ndarray, structures: Any) -> None:
    if len(rows):
        warn_user(
            f"{len(rows)} crystals fell apart and were stopped, {rows_text(rows, structures)}: the "
            "force field does not hold there. They have converged=False and the geometry of the "
            "step before.",
            ConvergenceWarning,
        )


def _warn_of_unconverged(
    relaxation: Relaxation, broken: np.ndarray, max_steps: int, structures: Any
) -> None:
    rows = np.setdiff1d(np.flatnonzero(~relaxation.converged), broken)
    if len(rows):
        largest = relaxation.largest_force[rows].max()
        warn_user(
            f"{len(rows)} of {len(relaxation.converged)} crystals have not converged after "
            f"max_steps={max_steps}, {rows_text(rows, structures)}: their largest force is "
            f"{largest:.2g} eV/Å. Raise max_steps, or relax the returned crystals further.",
            ConvergenceWarning,
        )


def _batches(n_atoms: np.ndarray, max_atoms: int) -> list[slice]:
    """Return consecutive ranges of crystals with at most ``max_atoms`` atoms, or one crystal."""
    ranges, start, total = [], 0, 0
    for row, count in enumerate(n_atoms.tolist()):
        if row > start and total + count > max_atoms:
            ranges.append(slice(start, row))
            start, total = row, 0
        total += count
    return [*ranges, slice(start, len(n_atoms))]


def _with_columns(relaxed: Crystals, crystals: Crystals) -> Crystals:
    """Return the relaxed crystals with the ids, columns and index of the input."""
    return with_geometry(
        crystals, relaxed.positions, relaxed.cell, ids=crystals.ids, info=crystals.info
    )
