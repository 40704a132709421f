"""Names of the work that a training is part of, and the unit of y, for lines of progress."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["current_label", "error_text", "label_unit", "progress_label"]

_LABELS: ContextVar[tuple[str, ...]] = ContextVar("gnnpre_progress_label", default=())
_UNIT: ContextVar[str] = ContextVar("gnnpre_label_unit", default="")


@contextmanager
def progress_label(text: str) -> Iterator[None]:
    """Name the trainings of a block of code; blocks within each other add up.

    The name belongs to the thread: a search names its trials in the worker that runs them.
    """
    token = _LABELS.set((*_LABELS.get(), text))
    try:
        yield
    finally:
        _LABELS.reset(token)


def current_label() -> str:
    """Return the names of the blocks around, such as ``trial 3, fold 2 of 5``."""
    return ", ".join(_LABELS.get())


@contextmanager
def label_unit(unit: str) -> Iterator[None]:
    """Name the unit of y in the trainings of a block of code; an empty text names none."""
    token = _UNIT.set(unit)
    try:
        yield
    finally:
        _UNIT.reset(token)


def error_text(value: float) -> str:
    """Write an error of predictions with the unit that the block of code around names."""
    return f"error {value:.4g} {_UNIT.get() or 'in the unit of y'}"
