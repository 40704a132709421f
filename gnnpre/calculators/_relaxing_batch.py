"""A batch of crystals that take the steps of a relaxation together."""

from typing import Any

import numpy as np

from gnnpre.graphs import Crystals

from ._fire import Fire
from ._force_field_model import ForceFieldFunction

__all__ = ["RelaxingBatch", "with_geometry"]


def with_geometry(
    crystals: Crystals, positions: np.ndarray, cell: np.ndarray, **more: Any
) -> Crystals:
    """Return crystals at other positions and in other cells."""
    return Crystals(
        atomic_numbers=crystals.atomic_numbers,
        positions=positions,
        cell=cell,
        n_atoms=crystals.n_atoms,
        pbc=crystals.pbc,
        index=crystals.index,
        **more,
    )


class RelaxingBatch:
    """Crystals on their way to the minimum.

    The coordinates of a crystal are those of its atoms in the cell of the start, and the three
    rows of the deformation of the cell times the number of atoms, so that the cell is as stiff as
    the atoms.

    Parameters
    ----------
    crystals : Crystals of shape (n,)
        The crystals at the start.
    relax_cell : bool
        Whether the cells of crystals that are periodic in all directions change too.

    Attributes
    ----------
    is_broken : ndarray of bool of shape (n,)
        Crystals that fell apart.
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
        """Take steps until all crystals have converged.

        Parameters
        ----------
        function : ForceFieldFunction
            Computes energies, forces and stresses.
        fmax, smax : float
            Thresholds of force in eV/Å and of stress in eV/Å^3.
        max_steps : int
            Maximum number of steps of a crystal.

        Returns
        -------
        relaxed : Crystals of shape (n,)
            The relaxed crystals.
        columns : tuple of ndarray of shape (n,)
            Energy, largest force, largest stress, steps and convergence.
        """
        n = len(self.crystals)
        energy, force, stress = np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan)
        n_steps, converged = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool)
        # Crystals leave the batch when they have converged: the others get all of the time.
        running = np.arange(n)
        fire = Fire(self._owners(running), n)
        for step in range(max_steps + 1):
            # 1. energies and forces; crystals that fell apart leave the batch
            active, values, intact = self._evaluate(function, running, first=step == 0)
            if not intact.all():
                fire, running = fire.keep(intact), running[intact]
            if not len(running):
                break
            # 2. how far each crystal is from its minimum
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
            # 3. a step of the others
            forces = self._generalised_forces(running, active, values)
            if done.any():
                fire = fire.keep(~done)
                forces = forces[np.repeat(~done, active.n_atoms + 3)]
                running = running[~done]
            self._move(running, fire.moves(forces))
        positions = self._positions(np.arange(n))
        cell = self.crystals.cell @ self.deformation.transpose(0, 2, 1)
        relaxed = with_geometry(self.crystals, positions, cell)
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
        return with_geometry(self.crystals[running], self._positions(running), cell)

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
