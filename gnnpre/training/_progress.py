"""Progress of a training: a bar in terminals and notebooks, lines elsewhere, and a log."""

import logging
import math
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from gnnpre._progress_label import current_label

from ._state import TrainingState
from ._time_limit import TimeLimit

__all__ = ["Progress"]

logger = logging.getLogger("gnnpre")
#: Losses on the bar; a table (``verbose=2``) shows those of all parts.
_SHOWN = ("train_loss", "valid_loss")
#: Columns of the history that no line shows beside the losses.
_HIDDEN = ("_loss", "_loss_best", "_batch_count")


class Progress:
    """Tell the user how a training goes.

    Nothing is printed for ``verbose=0``. For ``verbose=1`` it is a bar, or one line per epoch if
    the output is not a terminal; for ``verbose=2`` a table with the losses of all parts. Every
    epoch is a message of level INFO of the logger ``gnnpre`` in any case. Lines name the fold,
    trial or job of the training where it belongs to one, and show each term of the loss in its
    unit.
    """

    def __init__(
        self, verbose: int, max_epochs: int, state: TrainingState, limit: TimeLimit
    ) -> None:
        self.verbose = int(verbose)
        self.max_epochs = max_epochs
        self.limit = limit
        self.label = current_label()
        # A resumed training begins in the middle; the time it took before says nothing of now.
        self.first = state.epoch
        self.start = time.perf_counter()
        self.columns: list[str] = []
        self.bar: Any = None
        if self.verbose == 1 and _shows_bars():
            from tqdm.auto import tqdm

            self.bar = tqdm(
                total=max_epochs, initial=self.first, unit="epoch", desc=self.label or None
            )

    def update(self, state: TrainingState) -> None:
        """Show the losses of the last epoch."""
        row = state.history[-1]
        line = self._line(state, row)
        logger.info(line)
        if self.bar is not None:
            # Short names: a terminal may have 80 columns.
            losses = [f"{key.removesuffix('_loss')} {row[key]:.4g}" for key in _SHOWN if key in row]
            self.bar.set_postfix_str(", ".join([*losses, *_details(state, row)]), refresh=False)
            self.bar.update(state.epoch - self.bar.n)
        elif self.verbose == 1:  # a log file: lines that stay readable
            print(line, file=sys.stderr, flush=True)
        elif self.verbose > 1:
            print(self._table_row(state.epoch, row), file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the bar."""
        if self.bar is not None:
            self.bar.close()

    def _line(self, state: TrainingState, row: Mapping[str, Any]) -> str:
        start = f"{self.label}: " if self.label else ""
        losses = [f"{key} {row[key]:.4g}" for key in _SHOWN if key in row]
        details = ", ".join(_details(state, row))
        details = f" ({details})" if details else ""
        return (
            f"{start}epoch {state.epoch}/{self.max_epochs}: {', '.join(losses)}{details}, "
            f"{self._remaining(state.epoch)} left"
        )

    def _remaining(self, epoch: int) -> str:
        """Return the time that the remaining epochs will take at most, as m:ss or h:mm:ss."""
        per_epoch = (time.perf_counter() - self.start) / (epoch - self.first)
        seconds = min(per_epoch * (self.max_epochs - epoch), self.limit.remaining())
        minutes, seconds = divmod(math.ceil(seconds), 60)
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


def _details(state: TrainingState, row: Mapping[str, Any]) -> Iterator[str]:
    """Yield the parts of the loss in their units, and the scores of ``epoch_scoring``."""
    prefix = "valid_" if "valid_loss" in row else "train_"
    for key, value in row.items():
        term = key.removeprefix(prefix)
        if not key.startswith(prefix) or key.endswith(_HIDDEN) or isinstance(value, bool):
            continue
        in_unit = state.model.in_label_unit(term, value)
        # A single term repeats the loss, unless it has a unit of its own.
        if in_unit or value != row[f"{prefix}loss"]:
            yield in_unit or f"{term} {value:.4g}"


def _is_loss(key: str) -> bool:
    return not key.endswith(("_best", "_batch_count"))


def _shows_bars() -> bool:
    """Return whether a bar that is redrawn can be read: in a terminal or a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return sys.stderr.isatty() or type(shell).__name__ == "ZMQInteractiveShell"
