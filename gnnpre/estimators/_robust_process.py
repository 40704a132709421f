"""Gaussian processes with noise of Student's t distribution, which outliers do not pull."""

from dataclasses import dataclass, replace

import numpy as np

from ._gaussian_process import ExactProcess, Process, SparseProcess
from ._kernel_tuning import tune_kernel
from ._process_kernel import ProcessKernel
from ._target_transforms import TargetTransform

__all__ = ["Rows", "Trial", "fit_robustly", "tune"]

# Degrees of freedom of the noise: its variance exists, and outliers far out lose their weight.
FREEDOM = 4.0
# Median of the square of a standard normal variable.
MEDIAN_SQUARE = 0.4549
# Most steps, and the largest change of a relative variance that ends them.
N_STEPS, CONVERGED = 5, 0.02


@dataclass(frozen=True)
class Rows:
    """Labelled rows of a table.

    Parameters
    ----------
    table : ndarray of shape (n, d)
        Features.
    y : ndarray of shape (n,)
        The target in its unit.
    noise_scale : ndarray of shape (n,)
        Inverse of the weights: relative variances of the noise.
    blocks : tuple of int
        Number of columns of each block.
    groups : ndarray of int of shape (n,)
        Rows of one group are left out together.
    """

    table: np.ndarray
    y: np.ndarray
    noise_scale: np.ndarray
    blocks: tuple[int, ...]
    groups: np.ndarray


@dataclass(frozen=True)
class Trial:
    """A tuned kernel, with the error of left-out rows and the noise of each row."""

    transform: TargetTransform
    kernel: ProcessKernel
    noise_scale: np.ndarray
    error: float


def tune(
    rows: Rows,
    transform: TargetTransform,
    start: ProcessKernel | None = None,
    noise_scale: np.ndarray | None = None,
) -> Trial:
    """Tune a kernel, and find outliers.

    Parameters
    ----------
    rows : Rows
        The rows to tune on.
    transform : TargetTransform
        The transformation of the target.
    start : ProcessKernel, optional
        Where the optimiser starts.
    noise_scale : ndarray of shape (n,), optional
        Noise of each row, if outliers have been found before.

    Returns
    -------
    Trial
        The kernel and its error.
    """
    scale = rows.noise_scale if noise_scale is None else noise_scale
    kernel = tune_kernel(rows.table, rows.y, transform, scale, rows.blocks, start, rows.groups)
    kernel = _calibrated(kernel, rows, transform, scale)
    process, scale = fit_robustly(kernel, rows, transform)
    mean, _ = process.left_out(rows.table, transform.forward(rows.y), scale, rows.groups)
    errors = np.abs(transform.inverse(mean) - rows.y)
    error = float(np.average(errors, weights=1 / rows.noise_scale))
    return Trial(transform, kernel, scale, error)


def _calibrated(
    kernel: ProcessKernel, rows: Rows, transform: TargetTransform, noise_scale: np.ndarray
) -> ProcessKernel:
    """Scale amplitude and noise so that half of the left-out residuals are as expected."""
    z = transform.forward(rows.y)
    process = ExactProcess(kernel, rows.table, z, noise_scale)
    mean, std = process.left_out(rows.table, z, noise_scale, rows.groups)
    factor = float(np.median(((z - mean) / std) ** 2) / MEDIAN_SQUARE)
    # More than half of the values may be equal, as zero band gaps are.
    factor = factor if factor > 0 else 1.0
    return replace(kernel, amplitude=factor * kernel.amplitude, noise=factor * kernel.noise)


def fit_robustly(
    kernel: ProcessKernel,
    rows: Rows,
    transform: TargetTransform,
    landmarks: np.ndarray | None = None,
) -> tuple[Process, np.ndarray]:
    """Condition a process on rows, with more noise for outliers.

    Noise of Student's t distribution is normal noise whose variance differs from row to row; the
    expectation-maximisation of [1]_ alternates between these variances and the process.

    Parameters
    ----------
    kernel : ProcessKernel
        The kernel.
    rows : Rows
        The rows.
    transform : TargetTransform
        The transformation of the target.
    landmarks : ndarray of shape (m, d), optional
        Landmarks of a sparse process; exact by default.

    Returns
    -------
    process : Process
        The process.
    noise_scale : ndarray of shape (n,)
        Relative variances of the noise.

    References
    ----------
    .. [1] K. L. Lange, R. J. A. Little and J. M. G. Taylor, "Robust statistical modeling using the
       t distribution", J. Am. Stat. Assoc. 84, 881 (1989).
    """
    z = transform.forward(rows.y)
    covariance = kernel(rows.table) if landmarks is None else None

    def condition(noise_scale: np.ndarray) -> Process:
        if landmarks is None:
            return ExactProcess(kernel, rows.table, z, noise_scale, covariance)
        return SparseProcess.fit(kernel, landmarks, rows.table, z, noise_scale)

    noise_scale = rows.noise_scale
    process = condition(noise_scale)
    # Student's t by reweighting: a residual far beyond the noise raises the noise of its row.
    for _ in range(N_STEPS):
        squares = process.squared_residuals(rows.table, z) / (kernel.noise * rows.noise_scale)
        previous = noise_scale
        noise_scale = rows.noise_scale * (FREEDOM + squares) / (FREEDOM + 1)
        process = condition(noise_scale)
        if np.abs(noise_scale - previous).max() < CONVERGED:
            break
    return process, noise_scale
