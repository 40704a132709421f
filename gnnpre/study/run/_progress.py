"""Lines about the epochs of a job, for people who wait and for log files."""

import time
from collections.abc import Callable
from typing import Any

from gnnpre.training import ReportEpoch

__all__ = ["EpochLines", "duration"]

#: Seconds between two lines of one job.
INTERVAL = 60.0


class EpochLines:
    """Writes a line for the first epoch of a job, then at most one a minute, and for the last.

    Parameters
    ----------
    write : callable
        Function of a line of text.
    job : str
        Description of the job.
    n_epochs : int
        Epochs of the whole training.
    """

    def __init__(self, write: Callable[[str], None], job: str, n_epochs: int) -> None:
        self.write = write
        self.job = job
        self.n_epochs = n_epochs
        self.started = time.monotonic()
        self.first_epoch: int | None = None  # that this process trains, from 0
        self.last_line = -INTERVAL
        self.validation = ""

    def callbacks(self) -> list[Any]:
        """Return the callbacks for an estimator; validation reports before training."""
        return [
            ReportEpoch(self.note_validation, "valid_loss"),
            ReportEpoch(self.note_epoch, "train_loss"),
        ]

    def note_validation(self, epoch: int, loss: float) -> None:
        """Remember the validation loss of an epoch for its line."""
        self.validation = f", validation {loss:.4g}"

    def note_epoch(self, epoch: int, loss: float) -> None:
        """Write the line of an epoch if it is time for one."""
        now = time.monotonic()
        if self.first_epoch is None:
            self.first_epoch = epoch
        is_last = epoch + 1 == self.n_epochs
        if is_last or now - self.last_line >= INTERVAL:
            self.last_line = now
            rest = self._remaining(epoch, now)
            text = f"training loss {loss:.4g}{self.validation}{rest}"
            self.write(f"epoch {epoch + 1} of {self.n_epochs} {self.job}: {text}")

    def _remaining(self, epoch: int, now: float) -> str:
        # Epochs of an earlier process took no time of this one.
        n_here = epoch + 1 - (self.first_epoch or 0)
        seconds = (now - self.started) / n_here * (self.n_epochs - epoch - 1)
        return f", {duration(seconds)} left" if seconds else ""


def duration(seconds: float) -> str:
    """Write a time span in the unit that suits it."""
    for name, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} s"
