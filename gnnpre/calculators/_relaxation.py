"""Relaxation of many crystals at once."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from gnnpre._labels import rows_text
from gnnpre._validation import check_bool, check_number
from gnnpre._warnings import warn_user
from gnnpre.graphs import Crystals, as_crystals

from ._fire import Fire
from ._force_field_model import ForceFieldFunction

__all__ = ["Relaxation", "relax_structures"]


@dataclass(frozen=True)
class Relaxation:
    """Crystals after a relaxation.

    Parameters
    ----------
    crystals : Crystals
        The relaxed crystals, in the order of the input; ``crystals[i]`` is a pymatgen Structure.
    energy : ndarray of shape (n,)
        Energies in eV per cell.
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
        Most steps.
    max_atoms : int, default=2000
        Most atoms in a batch, unless one crystal has more.
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

    Warns
    -----
    UnseenElementWarning
        If the force field has never seen an element.
    ConvergenceWarning
        If crystals fall apart: atoms nearly meet, or the cell collapses, where a force field knows
        nothing. They stop as they were one step before, and the others go on.

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
    function = ForceFieldFunction(model, skin, dtype, device)
    function.warn_of_unseen_elements(crystals)
    # Batches by atoms: one large cell takes the memory of many small ones.
    batches, broken = [], []
    for rows in _batches(crystals.n_atoms, max_atoms):
        batch = _Batch(crystals[rows], relax_cell)
        batches.append(batch.relax(function, fmax, smax, max_steps))
        broken.append(rows.start + np.flatnonzero(batch.is_broken))
    _warn_of_broken(np.concatenate(broken), structures)
    columns = [
        np.concatenate(column) for column in zip(*(rest for _, rest in batches), strict=True)
    ]
    relaxed = Crystals.concatenate([batch for batch, _ in batches])
    return Relaxation(_with_columns(relaxed, crystals), *columns)


def _warn_of_broken(rows: np.ndarray, structures: Any) -> None:
    if len(rows):
        warn_user(
            f"{len(rows)} crystals fell apart and were stopped, {rows_text(rows, structures)}: the "
            "force field does not hold there. They have converged=False and the geometry of the "
            "step before.",
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
    return _crystals(
        crystals, relaxed.positions, relaxed.cell, ids=crystals.ids, info=crystals.info
    )


def _crystals(crystals: Crystals, positions: np.ndarray, cell: np.ndarray, **more: Any) -> Crystals:
    return Crystals(
        atomic_numbers=crystals.atomic_numbers,
        positions=positions,
        cell=cell,
        n_atoms=crystals.n_atoms,
        pbc=crystals.pbc,
        index=crystals.index,
        **more,
    )


class _Batch:
    """Crystals on their way to the minimum.

    The coordinates of a crystal are those of its atoms in the cell of the start, and the three
    rows of the deformation of the cell times the number of atoms, so that the cell is as stiff as
    the atoms.
    """

    def __init__(self, crystals: Crystals, relax_cell: bool) -> None:
        self.crystals = crystals
        periodic = np.asarray(crystals.pbc.all(axis=1))
        self.moves_cell = periodic if relax_cell else np.zeros_like(periodic)  # (n,)
        self.deformation = np.tile(np.eye(3), (len(crystals), 1, 1))  # (n, 3, 3)
        self.reference = crystals.positions.copy()  # (N, 3)
        self.is_broken = np.zeros(len(crystals), dtype=bool)
        self._before = self.reference, self.deformation

    def relax(
        self, function: ForceFieldFunction, fmax: float, smax: float, max_steps: int
    ) -> tuple[Crystals, tuple[np.ndarray, ...]]:
        """Return the relaxed crystals, and energy, force, stress, steps and convergence."""
        n = len(self.crystals)
        energy, force, stress = np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan)
        n_steps, converged = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool)
        # Crystals leave the batch when they have converged: the others get all of the time.
        running = np.arange(n)
        fire = Fire(self._owners(running), n)
        for step in range(max_steps + 1):
            active, values, intact = self._evaluate(function, running, first=step == 0)
            if not intact.all():
                fire, running = fire.keep(intact), running[intact]
            if not len(running):
                break
            energy[running] = values["energy"]
            lengths = np.linalg.norm(values["forces"], axis=1)
            force[running] = np.maximum.reduceat(lengths, active.offsets[:-1])
            moves_cell = self.moves_cell[running]
            largest = np.abs(values["stress"]).max(axis=(1, 2))
            stress[running] = np.where(moves_cell, largest, np.nan)
            # A slab has no stress across its vacuum: cells count only where they may move.
            done = (force[running] <= fmax) & (~moves_cell | (largest <= smax))
            converged[running] = done
            n_steps[running] = step
            if step == max_steps or done.all():
                break
            forces = self._generalised_forces(running, active, values)
            if done.any():
                fire = fire.keep(~done)
                forces = forces[np.repeat(~done, active.n_atoms + 3)]
                running = running[~done]
            self._move(running, fire.moves(forces))
        positions = self._positions(np.arange(n))
        cell = self.crystals.cell @ self.deformation.transpose(0, 2, 1)
        relaxed = _crystals(self.crystals, positions, cell)
        return relaxed, (energy, force, stress, n_steps, converged)

    def _evaluate(
        self, function: ForceFieldFunction, running: np.ndarray, first: bool
    ) -> tuple[Crystals, dict[str, np.ndarray], np.ndarray]:
        """Return the intact crystals, their energies and derivatives, and which are intact.

        Atoms that coincide and cells that collapse have no neighbours to search: such crystals
        are stopped.
        """
        try:
            active = self._current(running)
            return active, function(active), np.ones(len(running), dtype=bool)
        except ValueError:
            # Before the first step the error is about the input.
            intact = np.array([not first and self._is_intact(function, row) for row in running])
            if first or intact.all():
                raise
        self._stop(running[~intact])
        if not intact.any():
            return self.crystals, {}, intact
        return (*self._evaluate(function, running[intact], first=False)[:2], intact)

    def _is_intact(self, function: ForceFieldFunction, row: int) -> bool:
        try:
            function(self._current(np.array([row])))
        except ValueError:
            return False
        return True

    def _stop(self, rows: np.ndarray) -> None:
        """Restore crystals as they were before the last step."""
        self.is_broken[rows] = True
        reference, deformation = self._before
        atoms = self._rows(rows)
        self.reference[atoms] = reference[atoms]
        self.deformation[rows] = deformation[rows]

    def _owners(self, running: np.ndarray) -> np.ndarray:
        """Return the number of the crystal of each coordinate: its atoms, then three cell rows."""
        return np.repeat(np.arange(len(running)), self.crystals.n_atoms[running] + 3)

    def _current(self, running: np.ndarray) -> Crystals:
        """Return the running crystals as they are now."""
        cell = self.crystals.cell[running] @ self.deformation[running].transpose(0, 2, 1)
        return _crystals(self.crystals[running], self._positions(running), cell)

    def _rows(self, running: np.ndarray) -> np.ndarray:
        selected = np.zeros(len(self.crystals), dtype=bool)
        selected[running] = True
        return np.repeat(selected, self.crystals.n_atoms)

    def _positions(self, running: np.ndarray) -> np.ndarray:
        owner = np.repeat(running, self.crystals.n_atoms[running])
        positions: np.ndarray = np.einsum(
            "na,nba->nb", self.reference[self._rows(running)], self.deformation[owner]
        )
        return positions

    def _generalised_forces(
        self, running: np.ndarray, active: Crystals, values: dict[str, np.ndarray]
    ) -> np.ndarray:
        """Return the forces on atoms and cell rows of all running crystals, ``(N + 3 n, 3)``."""
        deformation = self.deformation[running]
        owner = np.repeat(np.arange(len(running)), active.n_atoms)
        atoms = np.einsum("na,nab->nb", values["forces"], deformation[owner])
        volume = np.abs(np.linalg.det(active.cell))[:, None, None]
        virial = -volume * np.nan_to_num(values["stress"])
        cells = np.linalg.solve(deformation, virial).transpose(0, 2, 1)
        cells /= active.n_atoms[:, None, None]
        cells[~self.moves_cell[running]] = 0.0
        return _interleave(atoms, cells, active.n_atoms)

    def _move(self, running: np.ndarray, moves: np.ndarray) -> None:
        self._before = self.reference.copy(), self.deformation.copy()
        n_atoms = self.crystals.n_atoms[running]
        of_cell = _cell_rows(n_atoms)
        self.reference[self._rows(running)] += moves[~of_cell]
        steps = moves[of_cell].reshape(-1, 3, 3) / n_atoms[:, None, None]
        self.deformation[running] += steps


def _cell_rows(n_atoms: np.ndarray) -> np.ndarray:
    """Return which of the coordinates are rows of a cell, ``(N + 3 n,)``."""
    rows = np.zeros(int(n_atoms.sum()) + 3 * len(n_atoms), dtype=bool)
    ends = np.cumsum(n_atoms + 3)
    for back in (1, 2, 3):
        rows[ends - back] = True
    return rows


def _interleave(atoms: np.ndarray, cells: np.ndarray, n_atoms: np.ndarray) -> np.ndarray:
    of_cell = _cell_rows(n_atoms)
    joined = np.empty((len(of_cell), 3))
    joined[~of_cell], joined[of_cell] = atoms, cells.reshape(-1, 3)
    return joined
