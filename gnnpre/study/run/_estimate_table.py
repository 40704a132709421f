"""The table of an estimate."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Estimate", "EstimateRow"]


@dataclass(frozen=True)
class EstimateRow:
    """Jobs of one kind, and the seconds that one of them takes; NaN if it was not timed.

    Parameters
    ----------
    what : str
        The kind of job.
    n_jobs : int
        How many of them are not done yet.
    seconds : float
        Time of one, on the threads of a job.
    core_hours : float
        Of all of them.

    Examples
    --------
    >>> from gnnpre.study import EstimateRow
    >>> EstimateRow("jdft2d cgcnn", 3, 1200.0, 1.0).core_hours
    1.0
    """

    what: str
    n_jobs: int
    seconds: float
    core_hours: float


@dataclass(frozen=True)
class Estimate:
    """The time that the jobs of a study will take; ``print`` it for a table.

    Parameters
    ----------
    rows : tuple of EstimateRow
        Pre-trainings, then evaluations.

    Examples
    --------
    >>> from gnnpre.study import Estimate, EstimateRow
    >>> print(Estimate((EstimateRow("evaluation jdft2d cgcnn", 3, 1200.0, 1.0),)))
    what                        jobs   seconds each   core-hours
    evaluation jdft2d cgcnn        3           1.20e+03         1.00
    in all                         3                        1.00
    """

    rows: tuple[EstimateRow, ...]

    @property
    def core_hours(self) -> float:
        """Core-hours of all jobs whose time is known."""
        return float(np.nansum([row.core_hours for row in self.rows]))

    def __str__(self) -> str:
        width = max([22, *(len(row.what) for row in self.rows)])
        lines = [f"{'what':<{width}} {'jobs':>9} {'seconds each':>14} {'core-hours':>12}"]
        for row in self.rows:
            seconds, hours = f"{row.seconds:#.3g}", f"{row.core_hours:.2f}"
            if np.isnan(row.seconds):
                seconds, hours = "not timed", ""
            lines.append(f"{row.what:<{width}} {row.n_jobs:>9} {seconds:>14} {hours:>12}")
        n_jobs = sum(row.n_jobs for row in self.rows)
        lines.append(f"{'in all':<{width}} {n_jobs:>9} {'':>14} {self.core_hours:>12.2f}")
        return "\n".join(lines)
