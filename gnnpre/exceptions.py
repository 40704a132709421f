"""Warning classes of gnnpre, all of which derive from :class:`GnnpreWarning`."""

from ._warnings import (
    DataQualityWarning,
    GnnpreWarning,
    PerformanceWarning,
    StorageWarning,
    TrainingWarning,
    UnseenElementWarning,
)

__all__ = [
    "DataQualityWarning",
    "GnnpreWarning",
    "PerformanceWarning",
    "StorageWarning",
    "TrainingWarning",
    "UnseenElementWarning",
]
