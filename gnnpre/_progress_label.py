"""Names of the work that a training is part of, such as a trial and a fold, for progress lines."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["current_label", "progress_label"]

_LABELS: ContextVar[tuple[str, ...]] = ContextVar("gnnpre_progress_label", default=())


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
