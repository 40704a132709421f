"""A Gaussian process for one target: its transformation, its kernel, and all labelled rows."""

from typing import Any, Protocol

import numpy as np

from ._blas_threads import suitable_blas_threads
from ._gaussian_process import ExactProcess, Process, SparseProcess
from ._process_kernel import ProcessKernel
from ._robust_process import Rows, Trial, fit_robustly, tune
from ._target_transforms import TargetTransform

__all__ = ["MachineState", "TargetProcess", "fit_column", "labelled_rows"]

#: A fitted machine as JSON-serializable values and arrays.
MachineState = tuple[dict[str, Any], dict[str, np.ndarray]]

PROCESSES: dict[str, Any] = {"exact": ExactProcess, "sparse": SparseProcess}


class Settings(Protocol):
    """Parameters of ``KernelRegressor`` that a fit reads."""

    transforms: Any
    max_tuning: int
    max_exact: int
    n_landmarks: int


class TargetProcess:
    """A fitted process with the transformation of its target.

    Parameters
    ----------
    transform : TargetTransform
        The transformation.
    process : Process or None
        The process of the transformed target, None where the target is constant.
    """

    def __init__(self, transform: TargetTransform, process: Process | None) -> None:
        self.transform = transform
        self.process = process

    def predict(self, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return means and standard deviations in the unit of the target, each ``(n,)``."""
        if self.process is None:
            return np.full(len(table), self.transform.center_value), np.zeros(len(table))
        return self._to_unit(*self.process.predict(table))

    def left_out(
        self, table: np.ndarray, y: np.ndarray, weights: np.ndarray, groups: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predict each row of the fit from the other groups, NaN where it has no label."""
        mean, std = np.full(len(y), np.nan), np.full(len(y), np.nan)
        rows = labelled_rows(y, weights)
        if self.process is None:
            mean[rows], std[rows] = self.transform.center_value, 0.0
            return mean, std
        z = self.transform.forward(y[rows])
        noise_scale = self.process.noise_scale
        predicted = self.process.left_out(table[rows], z, noise_scale, groups[rows])
        mean[rows], std[rows] = self._to_unit(*predicted)
        return mean, std

    def _to_unit(self, mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.transform.inverse(mean), std * self.transform.slope(mean)

    def to_state(self) -> MachineState:
        """Return the process as JSON and arrays."""
        state: dict[str, Any] = {"transform": self.transform.to_state(), "form": None}
        if self.process is None:
            return state, {}
        kernel = self.process.kernel
        state["form"] = "exact" if isinstance(self.process, ExactProcess) else "sparse"
        state["kernel"] = {
            "amplitude": kernel.amplitude,
            "lengths": list(kernel.lengths),
            "noise": kernel.noise,
            "blocks": list(kernel.blocks),
        }
        return state, self.process.to_state()

    @classmethod
    def from_state(cls, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> "TargetProcess":
        """Return the process that :meth:`to_state` described."""
        transform = TargetTransform.from_state(state["transform"])
        if state["form"] is None:
            return cls(transform, None)
        values = state["kernel"]
        kernel = ProcessKernel(
            amplitude=float(values["amplitude"]),
            lengths=tuple(float(length) for length in values["lengths"]),
            noise=float(values["noise"]),
            blocks=tuple(int(size) for size in values["blocks"]),
        )
        _check_kernel(kernel, arrays["table" if state["form"] == "exact" else "landmarks"])
        return cls(transform, PROCESSES[state["form"]].from_state(kernel, arrays))


def _check_kernel(kernel: ProcessKernel, table: np.ndarray) -> None:
    """Raise ValueError unless a kernel from a file fits its table."""
    values = [kernel.amplitude, kernel.noise, *kernel.lengths]
    if not all(np.isfinite(value) and value > 0 for value in values):
        raise ValueError(f"a kernel has {values}; expected numbers above 0")
    if len(kernel.blocks) != len(kernel.lengths) or min(kernel.blocks, default=0) < 1:
        raise ValueError(f"a kernel has {len(kernel.lengths)} lengths for blocks {kernel.blocks}")
    if table.ndim != 2 or table.shape[1] != sum(kernel.blocks):
        raise ValueError(f"a kernel with blocks {kernel.blocks} has a table {table.shape}")


def labelled_rows(y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the rows that have a label and a weight."""
    return np.flatnonzero(np.isfinite(y) & (weights > 0))


def fit_column(
    table: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    groups: np.ndarray,
    settings: Settings,
    blocks: tuple[int, ...],
    random: np.random.RandomState,
) -> TargetProcess:
    """Choose the transformation, tune the kernel on a subset, and condition on all rows.

    Parameters
    ----------
    table : ndarray of shape (n, d)
        Mapped features.
    y : ndarray of shape (n,)
        The target, NaN where missing.
    weights : ndarray of shape (n,)
        Weights of the rows.
    groups : ndarray of int of shape (n,)
        Rows of one group are left out together.
    settings : KernelRegressor
        Its parameters.
    blocks : tuple of int
        Number of columns of each block of the table.
    random : RandomState
        Draws subsets.

    Returns
    -------
    TargetProcess
        The fitted process.
    """
    rows = labelled_rows(y, weights)
    if np.ptp(y[rows]) == 0:
        return TargetProcess(TargetTransform("identity").fit(y[rows]), None)
    # 1. tune a kernel for each transformation, and keep that of the least left-out error
    names = [settings.transforms] if isinstance(settings.transforms, str) else settings.transforms
    tuning = _subset(rows, settings.max_tuning, random)
    sample = Rows(table[tuning], y[tuning], 1 / weights[tuning], blocks, groups[tuning])
    with suitable_blas_threads(len(tuning)):
        best = _best_trial(sample, y[rows], list(dict.fromkeys(names)))
    # 2. condition on all rows, or on what landmarks see of them
    everything = Rows(table[rows], y[rows], 1 / weights[rows], blocks, groups[rows])
    landmarks = None
    if len(rows) > settings.max_exact:
        landmarks = table[_subset(rows, settings.n_landmarks, random)]
    with suitable_blas_threads(len(rows)):
        process, _ = fit_robustly(best.kernel, everything, best.transform, landmarks)
    return TargetProcess(best.transform, process)


def _best_trial(sample: Rows, y: np.ndarray, names: list[str]) -> Trial:
    """Tune a kernel for each transformation of all labels y, and keep that of the least error."""
    trials: list[Trial] = []
    for name in names:
        transform = TargetTransform(name).fit(y)
        trials.append(tune(sample, transform, start=trials[0].kernel if trials else None))
    best = min(trials, key=lambda trial: trial.error)  # the first of equal ones
    # Once more, with the outliers known.
    return tune(sample, best.transform, start=best.kernel, noise_scale=best.noise_scale)


def _subset(rows: np.ndarray, size: int, random: np.random.RandomState) -> np.ndarray:
    return rows if len(rows) <= size else np.sort(random.choice(rows, size, replace=False))
