"""FIRE, a minimiser by damped dynamics, for many crystals at once."""

import numpy as np

__all__ = ["Fire"]

# Bitzek et al., PRL 97, 170201 (2006), with the names of the paper.
N_MIN, F_INC, F_DEC, ALPHA_START, F_ALPHA = 5, 1.1, 0.5, 0.1, 0.99
TIME_STEP, LARGEST_TIME_STEP = 0.1, 1.0
# No coordinate moves farther in one step, in Å.
LARGEST_MOVE = 0.2


class Fire:
    """Velocities and time steps of n systems, each minimised on its own.

    Parameters
    ----------
    owner : ndarray of shape (M,)
        The system, 0 to n - 1 in order, that each of the M coordinates (rows of 3) belongs to.
    n : int
        Number of systems.
    """

    def __init__(self, owner: np.ndarray, n: int) -> None:
        self.owner = owner
        self.velocity = np.zeros((len(owner), 3))
        self.time_step = np.full(n, TIME_STEP)
        self.alpha = np.full(n, ALPHA_START)
        self.n_downhill = np.zeros(n, dtype=np.int64)

    def moves(self, forces: np.ndarray) -> np.ndarray:
        """Return the displacement of each coordinate in this step.

        Parameters
        ----------
        forces : ndarray of shape (M, 3)
            Minus the gradient.

        Returns
        -------
        ndarray of shape (M, 3)
            The displacements, in the unit of the coordinates.
        """
        # 1. turn velocities towards the forces
        power = self._sum(forces * self.velocity)  # (n,)
        downhill = power > 0
        self._mix(forces, downhill)
        # 2. longer time steps after some steps downhill; uphill: stop, and go on carefully
        self.n_downhill = np.where(downhill, self.n_downhill + 1, 0)
        faster = self.n_downhill > N_MIN
        grown = np.minimum(self.time_step * F_INC, LARGEST_TIME_STEP)
        self.time_step = np.where(faster, grown, self.time_step)
        self.alpha = np.where(faster, self.alpha * F_ALPHA, self.alpha)
        self.time_step = np.where(downhill, self.time_step, self.time_step * F_DEC)
        self.alpha = np.where(downhill, self.alpha, ALPHA_START)
        # 3. move, no coordinate of a system farther than the limit
        steps = self.time_step[self.owner, None]
        self.velocity += steps * forces
        moves = steps * self.velocity
        longest = np.zeros(len(self.time_step))
        np.maximum.at(longest, self.owner, np.linalg.norm(moves, axis=1))
        shrink = np.minimum(1.0, LARGEST_MOVE / np.maximum(longest, LARGEST_MOVE))
        limited: np.ndarray = moves * shrink[self.owner, None]
        return limited

    def keep(self, systems: np.ndarray) -> "Fire":
        """Return the state of some of the systems, renumbered from 0.

        Parameters
        ----------
        systems : ndarray of bool of shape (n,)
            Which ones.

        Returns
        -------
        Fire
            Their state.
        """
        rows = systems[self.owner]
        number = np.cumsum(systems) - 1
        state = Fire(number[self.owner[rows]], int(systems.sum()))
        state.velocity = self.velocity[rows]
        state.time_step = self.time_step[systems]
        state.alpha, state.n_downhill = self.alpha[systems], self.n_downhill[systems]
        return state

    def _mix(self, forces: np.ndarray, downhill: np.ndarray) -> None:
        """Turn velocities towards the forces; those of systems that went uphill become zero."""
        speed = np.sqrt(self._sum(self.velocity**2))
        size = np.sqrt(self._sum(forces**2))
        towards = self.alpha * speed / np.where(size > 0, size, 1.0)
        mixed = (1 - self.alpha)[self.owner, None] * self.velocity
        mixed += towards[self.owner, None] * forces
        self.velocity = np.where(downhill[self.owner, None], mixed, 0.0)

    def _sum(self, values: np.ndarray) -> np.ndarray:
        totals: np.ndarray = np.bincount(
            self.owner, weights=values.sum(axis=1), minlength=len(self.time_step)
        )
        return totals
