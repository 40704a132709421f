"""Length scales and noise of a kernel, by the errors of left-out rows in closed form.

The marginal likelihood of normal noise explains outliers by short length scales: on MatBench's
dielectric its kernels have a tenth larger errors. scikit-learn's GaussianProcessRegressor has no
other criterion, and computes all distances anew in each step, which takes most of the time with
hundreds of columns; here the distances of each block are computed once.
"""

import numpy as np
from scipy.linalg import LinAlgError, cholesky
from scipy.optimize import minimize
from sklearn.metrics import euclidean_distances

from ._gaussian_process import rows_of_groups
from ._process_kernel import ROOT3, ProcessKernel, inverse_of
from ._target_transforms import TargetTransform

__all__ = ["LeftOutError", "tune_kernel"]

# Bounds of the optimiser: length scales relative to the median distance, noise relative to the
# amplitude.
LENGTH_SCALES, NOISE_LEVELS = (1e-2, 1e3), (1e-4, 20.0)
# Length scales relative to the median distance, and noise relative to the amplitude, that the
# optimiser starts from: with many blocks of features it ends in local minima.
STARTS = ((1.0, 0.1), (3.0, 0.01), (3.0, 1.0))
# Below this fraction of the target's spread, errors count by their squares: a smooth minimum.
SMOOTH_BELOW = 0.05


def tune_kernel(
    table: np.ndarray,
    y: np.ndarray,
    transform: TargetTransform,
    noise_scale: np.ndarray,
    blocks: tuple[int, ...],
    start: ProcessKernel | None = None,
    groups: np.ndarray | None = None,
) -> ProcessKernel:
    """Return the kernel with the least error of left-out rows.

    Parameters
    ----------
    table : ndarray of shape (n, d)
        Features.
    y : ndarray of shape (n,)
        The target in its unit.
    transform : TargetTransform
        The transformation that the process learns.
    noise_scale : ndarray of shape (n,)
        Variance of the noise of each row relative to a row of weight one.
    blocks : tuple of int
        Number of columns of each block.
    start : ProcessKernel, optional
        Where the optimiser starts; by default at the median distances and beyond.
    groups : ndarray of int of shape (n,), optional
        Rows of one group are left out together; by default each row alone.

    Returns
    -------
    ProcessKernel
        A kernel of amplitude one: errors depend on the ratio of noise and amplitude alone.
    """
    # 1. squared distances in each block of features: all that the kernel needs
    splits = np.cumsum(blocks)[:-1]
    squares = [
        euclidean_distances(block, squared=True)
        for block in np.split(table.astype(np.float64), splits, axis=1)
    ]
    # 2. logarithms of length scales and noise, bounded around the median distance
    medians = [_median_length(square, len(blocks)) for square in squares]
    low, high = np.log(LENGTH_SCALES)
    bounds = [(np.log(median) + low, np.log(median) + high) for median in medians]
    bounds.append((np.log(NOISE_LEVELS[0]), np.log(NOISE_LEVELS[1])))
    initial = [[factor * median for median in medians] + [noise] for factor, noise in STARTS]
    if start is not None:
        initial = [[*start.lengths, start.noise / start.amplitude]]
    # 3. from each guess; gradients are exact
    error = LeftOutError(squares, y, transform, noise_scale, groups)
    results = [
        minimize(
            error,
            np.clip(np.log(values), *np.transpose(bounds)),
            method="L-BFGS-B",
            jac=True,
            bounds=bounds,
            options={"maxiter": 40, "ftol": 1e-4},
        )
        for values in initial
    ]
    best = min(results, key=lambda result: float(result.fun))
    *lengths, noise = np.exp(best.x).tolist()
    return ProcessKernel(1.0, tuple(lengths), noise, blocks)


def _median_length(squares: np.ndarray, n_blocks: int) -> float:
    """Return the length at which a kernel is neither all ones nor the identity."""
    positive = squares[squares > 0]
    return float(np.sqrt(np.median(positive) * n_blocks)) if len(positive) else 1.0


class LeftOutError:
    """Mean absolute error of predictions of each row from the other groups, and its gradient.

    With ``A`` the inverse of the covariance, ``alpha = A z``, and ``B`` the inverse of the block
    ``A[g, g]`` of a group, its residuals are ``r = B alpha[g]``: equation 5.12 of Rasmussen and
    Williams for blocks of rows. The derivative of a sum of functions of ``r`` is one product of
    matrices, whatever the number of parameters.

    Parameters
    ----------
    squares : list of ndarray of shape (n, n)
        Squared distances in each block.
    y : ndarray of shape (n,)
        The target in its unit.
    transform : TargetTransform
        The transformation that the process learns.
    noise_scale : ndarray of shape (n,)
        Variance of the noise of each row relative to a row of weight one.
    groups : ndarray of int of shape (n,), optional
        Rows of one group are left out together; by default each row alone.
    """

    def __init__(
        self,
        squares: list[np.ndarray],
        y: np.ndarray,
        transform: TargetTransform,
        noise_scale: np.ndarray,
        groups: np.ndarray | None = None,
    ) -> None:
        # Single rows need no blocks, and take a shorter way.
        self.groups = None if groups is None else [g for g in rows_of_groups(groups) if len(g) > 1]
        self.squares, self.y, self.transform, self.noise_scale = squares, y, transform, noise_scale
        self.z = transform.forward(y)
        self.unit = float(np.abs(y - np.median(y)).mean()) or 1.0

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the error in units of the spread, and its derivatives.

        Parameters
        ----------
        theta : ndarray of shape (n_blocks + 1,)
            Logarithms of the length scales and of the noise.

        Returns
        -------
        error : float
            The error.
        gradient : ndarray of shape (n_blocks + 1,)
            Its derivatives.
        """
        # 1. the covariance, (n, n), and its inverse
        *lengths, noise = np.exp(theta)
        scaled = [square / a**2 for square, a in zip(self.squares, lengths, strict=True)]
        distances = ROOT3 * np.sqrt(sum(scaled))
        decay = np.exp(-distances)
        covariance = (1 + distances) * decay
        covariance[np.diag_indices_from(covariance)] += noise * self.noise_scale
        try:
            inverse = inverse_of(cholesky(covariance, lower=True))
        except (LinAlgError, ValueError):  # nearly singular, or infinite: the optimiser turns back
            return np.inf, np.zeros_like(theta)

        # 2. residuals of left-out rows, and the derivative of their error
        alpha = inverse @ self.z
        blocks = self._blocks(inverse)
        left_out = self._times(blocks, alpha)
        means = self.z - left_out
        residuals = (self.transform.inverse(means) - self.y) / self.unit
        errors = np.sqrt(residuals**2 + SMOOTH_BELOW**2)
        slopes = -(residuals / errors) * self.transform.slope(means) / self.unit / len(self.y)

        # 3. contract with the derivatives of the covariance
        weights = self._times(blocks, slopes)
        pull = self._times_outer(inverse, weights, left_out) @ inverse
        pull -= np.outer(inverse @ weights, alpha)
        # d covariance / d log(length) = 3 exp(-sqrt(3) r) squares / length^2
        common = 3 * decay * pull
        gradient = [np.vdot(common, square) for square in scaled]
        gradient.append(noise * np.diag(pull) @ self.noise_scale)
        return float(errors.mean()), np.array(gradient)

    def _blocks(self, inverse: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return inverses of the blocks of groups: of single rows, and of larger groups."""
        single = 1 / np.diag(inverse)
        return single, [np.linalg.inv(inverse[np.ix_(g, g)]) for g in self.groups or []]

    def _times(self, blocks: tuple[np.ndarray, list[np.ndarray]], vector: np.ndarray) -> np.ndarray:
        """Return the product of a vector and the matrix that has these blocks."""
        single, larger = blocks
        product = single * vector
        for rows, block in zip(self.groups or [], larger, strict=True):
            product[rows] = block @ vector[rows]
        return product

    def _times_outer(self, matrix: np.ndarray, u: np.ndarray, r: np.ndarray) -> np.ndarray:
        """Return the product of a matrix and ``u r'``, of which pairs of one group remain."""
        product = matrix * (u * r)
        for rows in self.groups or []:
            product[:, rows] = np.outer(matrix[:, rows] @ u[rows], r[rows])
        return product
