"""Gaussian processes on a table: exact, or with landmarks where there are too many rows."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular

from ._process_kernel import ProcessKernel, inverse_of

__all__ = ["ExactProcess", "Process", "SparseProcess", "rows_of_groups", "stable_cholesky"]

# Rows of the kernel matrix that are in memory together.
CHUNK = 1000


class Process:
    """Base class of fitted processes: predictions in chunks, and predictions for left-out rows."""

    kernel: ProcessKernel
    noise_scale: np.ndarray

    def predict(self, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return means, and deviations of noisy values of weight one, each ``(n,)``."""
        means, variances = self._predict(table)
        return means, self._deviations(variances)

    def _predict(self, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        chunks = [
            self._predict_chunk(table[start : start + CHUNK])
            for start in range(0, len(table), CHUNK)
        ]
        means, variances = zip(*chunks, strict=True)
        return np.concatenate(means), np.concatenate(variances)

    def _deviations(self, variances: np.ndarray) -> np.ndarray:
        """Return deviations of noisy values from variances without noise."""
        deviations: np.ndarray = np.sqrt(np.maximum(variances, 0) + self.kernel.noise)
        return deviations

    def squared_residuals(self, table: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Return the expectation of ``(z - f)^2`` at the rows of the fit, ``(n,)``.

        Parameters
        ----------
        table : ndarray of shape (n, d)
            Features that the process was fitted to.
        z : ndarray of shape (n,)
            Their target.

        Returns
        -------
        ndarray of shape (n,)
            Means over the functions ``f`` of the process.
        """
        means, variances = self._predict(table)
        expected: np.ndarray = np.square(z - means) + np.maximum(variances, 0)
        return expected

    def _predict_chunk(self, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return means, and variances without noise."""
        raise NotImplementedError

    def left_out(
        self, table: np.ndarray, z: np.ndarray, noise_scale: np.ndarray, groups: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predict each row of the fit from the rows of the other groups, in closed form.

        Parameters
        ----------
        table : ndarray of shape (n, d)
            Features that the process was fitted to.
        z, noise_scale : ndarray of shape (n,)
            Their target, and the relative variance of the noise.
        groups : ndarray of int of shape (n,)
            Groups that are left out together.

        Returns
        -------
        means, deviations : ndarray of shape (n,)
            Predictions, with the deviations of new rows of weight one.
        """
        raise NotImplementedError

    def to_state(self) -> dict[str, np.ndarray]:
        """Return the arrays that ``from_state`` needs."""
        raise NotImplementedError


class ExactProcess(Process):
    """A process that is conditioned on all rows; time grows with their cube.

    Parameters
    ----------
    kernel : ProcessKernel
        The kernel.
    table : ndarray of shape (n, d)
        Features.
    z : ndarray of shape (n,)
        Target.
    noise_scale : ndarray of shape (n,)
        Variance of the noise of each row relative to a row of weight one.
    covariance : ndarray of shape (n, n), optional
        ``kernel(table)``, where it has been computed before.
    """

    def __init__(
        self,
        kernel: ProcessKernel,
        table: np.ndarray,
        z: np.ndarray,
        noise_scale: np.ndarray,
        covariance: np.ndarray | None = None,
    ) -> None:
        self.kernel, self.table, self.z, self.noise_scale = kernel, table, z, noise_scale
        noisy = kernel(table) if covariance is None else covariance.copy()
        noisy[np.diag_indices_from(noisy)] += kernel.noise * noise_scale
        self.factor = stable_cholesky(noisy)
        self.alpha = cho_solve((self.factor, True), z)

    def _predict_chunk(self, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        covariance = self.kernel(table, self.table)  # (chunk, n)
        solved = solve_triangular(self.factor, covariance.T, lower=True)
        return covariance @ self.alpha, self.kernel.amplitude - np.square(solved).sum(axis=0)

    def squared_residuals(self, table: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Return the expectation of ``(z - f)^2`` at the rows of the fit, ``(n,)``."""
        noise = self.kernel.noise * self.noise_scale
        variances = noise - noise**2 * np.diag(inverse_of(self.factor))
        expected: np.ndarray = np.square(noise * self.alpha) + np.maximum(variances, 0)
        return expected

    def left_out(
        self, table: np.ndarray, z: np.ndarray, noise_scale: np.ndarray, groups: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predict each row of the fit from the other groups: equation 5.12, for blocks of rows."""
        inverse = inverse_of(self.factor)
        means, variances = np.empty(len(z)), np.empty(len(z))
        for rows in rows_of_groups(groups):
            block = np.linalg.inv(inverse[np.ix_(rows, rows)])
            means[rows] = z[rows] - block @ self.alpha[rows]
            variances[rows] = np.diag(block)
        return means, self._deviations(variances - self.kernel.noise * noise_scale)

    def to_state(self) -> dict[str, np.ndarray]:
        """Return the arrays that ``from_state`` needs."""
        return {"table": self.table, "z": self.z, "noise_scale": self.noise_scale}

    @classmethod
    def from_state(cls, kernel: ProcessKernel, arrays: dict[str, Any]) -> "ExactProcess":
        """Return the process that :meth:`to_state` described."""
        return cls(kernel, arrays["table"], arrays["z"], arrays["noise_scale"])


class SparseProcess(Process):
    """A process whose functions are sums of kernels at landmarks (projected process) [1]_.

    Time grows linearly with the rows, and with the square of the landmarks.

    Parameters
    ----------
    kernel : ProcessKernel
        The kernel.
    landmarks : ndarray of shape (m, d)
        Features of the landmarks.
    factor : ndarray of shape (m, m)
        Cholesky factor of their covariance.
    posterior : ndarray of shape (m, m)
        Cholesky factor of the same plus the sum over all rows.
    alpha : ndarray of shape (m,)
        Coefficients of the mean.

    References
    ----------
    .. [1] C. E. Rasmussen and C. K. I. Williams, "Gaussian Processes for Machine Learning", MIT
       Press (2006), equations 8.26 and 8.27.
    """

    def __init__(
        self,
        kernel: ProcessKernel,
        landmarks: np.ndarray,
        factor: np.ndarray,
        posterior: np.ndarray,
        alpha: np.ndarray,
    ) -> None:
        self.kernel, self.landmarks = kernel, landmarks
        self.factor, self.posterior, self.alpha = factor, posterior, alpha

    @classmethod
    def fit(
        cls,
        kernel: ProcessKernel,
        landmarks: np.ndarray,
        table: np.ndarray,
        z: np.ndarray,
        noise_scale: np.ndarray,
    ) -> "SparseProcess":
        """Condition the process on all rows of a table ``(n, d)``."""
        covariance = kernel(landmarks)  # (m, m)
        gram, moment = covariance.copy(), np.zeros(len(landmarks))
        weights = 1 / (kernel.noise * noise_scale)
        for start in range(0, len(table), CHUNK):
            rows = slice(start, start + CHUNK)
            across = kernel(table[rows], landmarks)  # (chunk, m)
            gram += across.T @ (weights[rows, None] * across)
            moment += across.T @ (weights[rows] * z[rows])
        posterior = stable_cholesky(gram)
        alpha = cho_solve((posterior, True), moment)
        process = cls(kernel, landmarks, stable_cholesky(covariance), posterior, alpha)
        process.noise_scale = noise_scale
        return process

    def _predict_chunk(self, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        across = self.kernel(table, self.landmarks)  # (chunk, m)
        solved = solve_triangular(self.posterior, across.T, lower=True)
        return across @ self.alpha, self._beyond(across) + np.square(solved).sum(axis=0)

    def _beyond(self, across: np.ndarray) -> np.ndarray:
        """Return the variance that no sum of kernels at the landmarks has."""
        solved = solve_triangular(self.factor, across.T, lower=True)
        variance: np.ndarray = self.kernel.amplitude - np.square(solved).sum(axis=0)
        return np.maximum(variance, 0)

    def left_out(
        self, table: np.ndarray, z: np.ndarray, noise_scale: np.ndarray, groups: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predict each row of the fit from the other groups; the landmarks stay."""
        noise = self.kernel.noise * noise_scale
        means, variances = np.empty(len(z)), np.empty(len(z))
        for chunk in _chunks_of_groups(groups):
            across = self.kernel(table[np.concatenate(chunk)], self.landmarks)
            solved = solve_triangular(self.posterior, across.T, lower=True)  # (m, chunk)
            residuals, beyond = z[np.concatenate(chunk)] - across @ self.alpha, self._beyond(across)
            end = 0
            for rows in chunk:
                here = slice(end, end := end + len(rows))
                # The inverse of the covariance of all rows, by Woodbury's identity.
                shared = solved[:, here].T @ solved[:, here]
                remainder = np.linalg.inv(np.diag(noise[rows]) - shared)
                means[rows] = z[rows] - noise[rows] * (remainder @ residuals[here])
                within = noise[rows] ** 2 * np.diag(remainder) - noise[rows]
                variances[rows] = within + beyond[here]
        return means, self._deviations(variances)

    def to_state(self) -> dict[str, np.ndarray]:
        """Return the arrays that ``from_state`` needs."""
        return {
            "landmarks": self.landmarks,
            "factor": self.factor,
            "posterior": self.posterior,
            "alpha": self.alpha,
        }

    @classmethod
    def from_state(cls, kernel: ProcessKernel, arrays: dict[str, Any]) -> "SparseProcess":
        """Return the process that :meth:`to_state` described."""
        return cls(kernel, *(arrays[n] for n in ("landmarks", "factor", "posterior", "alpha")))


def stable_cholesky(matrix: np.ndarray) -> np.ndarray:
    """Return the Cholesky factor; equal rows get the least addition to the diagonal that helps."""
    scale = float(np.mean(np.diag(matrix)))
    for relative in (0.0, 1e-12, 1e-10, 1e-8, 1e-6):
        try:
            return np.asarray(cholesky(matrix + relative * scale * np.eye(len(matrix)), lower=True))
        except LinAlgError:
            continue
    raise ValueError("The kernel matrix is singular: are features or weights beyond 1e100?")


def rows_of_groups(groups: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each group."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order])) + 1
    return list(np.split(order, starts))


def _chunks_of_groups(groups: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Yield the rows of each group, several groups together."""
    chunk: list[np.ndarray] = []
    size = 0
    for rows in rows_of_groups(groups):
        chunk.append(rows)
        size += len(rows)
        if size >= CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
