"""Progress of a training: a bar in terminals and notebooks, lines elsewhere, and a log."""

import logging
import math
import sys
import time
from collections.abc import Mapping
from typing import Any

from ._state import TrainingState

__all__ = ["Progress"]

logger = logging.getLogger("gnnpre")
#: Losses on the bar; a table (``verbose=2``) shows those of all parts.
_SHOWN = ("train_loss", "valid_loss")


class Progress:
    """Tell the user how a training goes.

    Nothing is printed for ``verbose=0``. For ``verbose=1`` it is a bar, or one line per epoch if
    the output is no terminal; for ``verbose=2`` a table with the losses of all parts. Every epoch
    is a message of level INFO of the logger ``gnnpre`` in any case.
    """

    def __init__(self, verbose: int, max_epochs: int, state: TrainingState) -> None:
        self.verbose = int(verbose)
        self.max_epochs = max_epochs
        # A resumed training begins in the middle; the time it took before says nothing of now.
        self.first = state.epoch
        self.start = time.perf_counter()
        self.columns: list[str] = []
        self.bar: Any = None
        if self.verbose == 1 and _shows_bars():
            from tqdm.auto import tqdm

            self.bar = tqdm(total=max_epochs, initial=self.first, unit="epoch")

    def update(self, state: TrainingState) -> None:
        """Show the losses of the last epoch."""
        row = state.history[-1]
        line = self._line(state.epoch, row)
        logger.info(line)
        if self.bar is not None:
            self.bar.set_postfix({key: f"{row[key]:.4g}" for key in _SHOWN if key in row})
            self.bar.update(state.epoch - self.bar.n)
        elif self.verbose == 1:  # a log file: lines that stay readable
            print(line, file=sys.stderr, flush=True)
        elif self.verbose > 1:
            print(self._table_row(state.epoch, row), file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the bar."""
        if self.bar is not None:
            self.bar.close()

    def _line(self, epoch: int, row: Mapping[str, Any]) -> str:
        losses = ", ".join(f"{key} {row[key]:.4g}" for key in _SHOWN if key in row)
        return f"epoch {epoch}/{self.max_epochs}: {losses}, {self._remaining(epoch)} left"

    def _remaining(self, epoch: int) -> str:
        """Return the time that the remaining epochs will take at most, as m:ss or h:mm:ss."""
        per_epoch = (time.perf_counter() - self.start) / (epoch - self.first)
        minutes, seconds = divmod(math.ceil(per_epoch * (self.max_epochs - epoch)), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"

    def _table_row(self, epoch: int, row: Mapping[str, Any]) -> str:
        """Return a row of the table, below its header in the first epoch."""
        header = ""
        if not self.columns:
            self.columns = [
                key for key in row if key.startswith(("train_", "valid_")) and _is_loss(key)
            ]
            widths = [max(len(name), 9) for name in self.columns]
            names = zip(self.columns, widths, strict=True)
            header = "  ".join(["epoch", *(f"{name:>{width}}" for name, width in names)])
            header += "      left\n"
        cells = (f"{row.get(key, math.nan):>{max(len(key), 9)}.4g}" for key in self.columns)
        return header + "  ".join([f"{epoch:5d}", *cells, f"{self._remaining(epoch):>8}"])


def _is_loss(key: str) -> bool:
    return not key.endswith(("_best", "_batch_count"))


def _shows_bars() -> bool:
    """Return whether a bar that is redrawn can be read: in a terminal or a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return sys.stderr.isatty() or type(shell).__name__ == "ZMQInteractiveShell"
