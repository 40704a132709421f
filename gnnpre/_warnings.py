"""Warning classes of gnnpre, and the one function that issues them."""

import sys
import warnings

__all__ = [
    "DataQualityWarning",
    "GnnpreWarning",
    "PerformanceWarning",
    "StorageWarning",
    "TrainingWarning",
    "UnseenElementWarning",
    "warn_user",
]


#: Packages that gnnpre calls, or that call it on behalf of the user (pipelines, searches).
_INTERNAL = {"contextlib", "gnnpre", "joblib", "sklearn", "skorch", "torch"}


class GnnpreWarning(UserWarning):
    """Base class of the warnings that gnnpre issues.

    Examples
    --------
    Turn all of them into errors:

    >>> import warnings
    >>> from gnnpre.exceptions import GnnpreWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", GnnpreWarning)
    """


class DataQualityWarning(GnnpreWarning):
    """Structures, labels or graphs look wrong or do not suit the task.

    Examples
    --------
    >>> from gnnpre.exceptions import DataQualityWarning, GnnpreWarning
    >>> issubclass(DataQualityWarning, GnnpreWarning)
    True
    """


class UnseenElementWarning(GnnpreWarning):
    """Crystals hold elements that the model was not trained on.

    Examples
    --------
    >>> from gnnpre.exceptions import GnnpreWarning, UnseenElementWarning
    >>> issubclass(UnseenElementWarning, GnnpreWarning)
    True
    """


class TrainingWarning(GnnpreWarning):
    """A training ended early, diverged, or did not improve the model.

    Examples
    --------
    >>> from gnnpre.exceptions import GnnpreWarning, TrainingWarning
    >>> issubclass(TrainingWarning, GnnpreWarning)
    True
    """


class PerformanceWarning(GnnpreWarning):
    """Results are right, but take longer to compute than they could.

    Examples
    --------
    >>> from gnnpre.exceptions import GnnpreWarning, PerformanceWarning
    >>> issubclass(PerformanceWarning, GnnpreWarning)
    True
    """


class StorageWarning(GnnpreWarning):
    """A file could not be written or read, and the computation went on without it.

    Examples
    --------
    >>> from gnnpre.exceptions import GnnpreWarning, StorageWarning
    >>> issubclass(StorageWarning, GnnpreWarning)
    True
    """


def warn_user(message: str | Warning, category: type[Warning] = GnnpreWarning) -> None:
    """Issue a warning that points at the line outside gnnpre that called into it."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back and _is_internal(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _is_internal(module: str) -> bool:
    """Return whether a frame of this module is skipped on the way to the user's line."""
    return module.split(".")[0] in _INTERNAL
