"""The kernel of a Gaussian process: each block of columns has a length scale of its own."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpotri
from sklearn.metrics import euclidean_distances

__all__ = ["ROOT3", "ProcessKernel", "inverse_of", "matern"]

ROOT3 = np.sqrt(3.0)


@dataclass(frozen=True)
class ProcessKernel:
    """A Matérn kernel of order 3/2, whose functions are once differentiable.

    It is ``amplitude * (1 + sqrt(3) r) exp(-sqrt(3) r)`` where ``r`` is the Euclidean distance
    after each block of columns is divided by its length scale [1]_.

    Parameters
    ----------
    amplitude : float
        Variance of the process.
    lengths : tuple of float
        Length scale of each block.
    noise : float
        Variance of the noise of a row of weight one.
    blocks : tuple of int
        Number of columns of each block.

    References
    ----------
    .. [1] C. E. Rasmussen and C. K. I. Williams, "Gaussian Processes for Machine Learning", MIT
       Press (2006), equation 4.17.
    """

    amplitude: float
    lengths: tuple[float, ...]
    noise: float
    blocks: tuple[int, ...]

    def __call__(self, rows: np.ndarray, columns: np.ndarray | None = None) -> np.ndarray:
        """Return the covariances of rows of a table, ``(n, m)``."""
        scaled = self._scale(rows)
        squares = euclidean_distances(
            scaled, None if columns is None else self._scale(columns), squared=True
        )
        return self.amplitude * matern(squares)

    def _scale(self, table: np.ndarray) -> np.ndarray:
        return table.astype(np.float64) / np.repeat(self.lengths, self.blocks)


def matern(squares: np.ndarray) -> np.ndarray:
    """Return the correlation for squared distances in units of the length scale."""
    distances = ROOT3 * np.sqrt(squares)
    correlation: np.ndarray = (1 + distances) * np.exp(-distances)
    return correlation


def inverse_of(factor: np.ndarray) -> np.ndarray:
    """Return the inverse of a matrix from its lower Cholesky factor, ``(n, n)``."""
    # LAPACK's potri takes half the time of solving for the identity, and fills one triangle.
    triangle, _ = dpotri(factor, lower=1)
    inverse: np.ndarray = np.tril(triangle) + np.tril(triangle, -1).T
    return inverse
