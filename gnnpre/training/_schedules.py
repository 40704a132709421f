"""Learning-rate schedules, as configs."""

import math
from typing import Any

from sklearn.base import BaseEstimator

from gnnpre._registry import Registered
from gnnpre._validation import check_choice, check_number

__all__ = ["CosineSchedule", "PlateauSchedule", "resolve_schedule"]


class CosineSchedule(Registered, BaseEstimator):
    """Linear warm-up, then a cosine down to ``final``, over the whole training.

    Parameters
    ----------
    warmup : float
        Part of the training (0 to 1) that the learning rate rises in.
    final : float
        The learning rate at the end, as a part of the largest.

    Examples
    --------
    >>> from gnnpre.training import CosineSchedule
    >>> CosineSchedule(warmup=0.1).factor(0.05)
    0.5
    """

    def __init__(self, warmup: float = 0.05, final: float = 0.01) -> None:
        self.warmup = warmup
        self.final = final

    def validate(self) -> None:
        """Check that each parameter is within its range.

        Raises
        ------
        ValueError
            If a parameter is out of range.
        """
        check_number("warmup", self.warmup, low_included=True, high=1.0)
        check_number("final", self.final, low_included=True, high=1.0)

    def factor(self, progress: float) -> float:
        """Learning rate at a point of the training, as a part of its largest.

        Parameters
        ----------
        progress : float
            Part of the training (0 to 1) that is over.

        Returns
        -------
        float
            The factor.
        """
        if progress < self.warmup:
            return progress / self.warmup
        # warmup=1 leaves nothing after it: no division by zero.
        rest = (progress - self.warmup) / max(1.0 - self.warmup, 1e-12)
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * min(rest, 1.0)))


class PlateauSchedule(Registered, BaseEstimator):
    """Lower the learning rate when a loss no longer falls; the papers' schedule.

    Parameters
    ----------
    factor : float
        Number that the learning rate is multiplied with.
    patience : int
        Epochs without improvement that are borne.
    threshold : float
        Improvement that counts, as a part of the best loss.
    min_learning_rate : float
        The learning rate goes no lower.
    monitor : {"valid_loss", "train_loss"}
        Which loss; the papers' code takes that of training. Without a validation set it is that
        of training in any case.

    References
    ----------
    The defaults are those of S. Jia et al. (2024) for CGCNN, but for ``monitor``.

    Examples
    --------
    >>> from gnnpre.training import PlateauSchedule
    >>> PlateauSchedule(monitor="train_loss")
    PlateauSchedule(monitor='train_loss')
    """

    def __init__(
        self,
        factor: float = 0.8,
        patience: int = 10,
        threshold: float = 2e-4,
        min_learning_rate: float = 1e-5,
        monitor: str = "valid_loss",
    ) -> None:
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.min_learning_rate = min_learning_rate
        self.monitor = monitor

    def validate(self) -> None:
        """Check that each parameter is within its range.

        Raises
        ------
        ValueError
            If a parameter is out of range.
        """
        check_number("factor", self.factor, high=1.0, high_included=False)
        check_number("patience", self.patience, integer=True, low_included=True)
        check_number("threshold", self.threshold, low_included=True)
        check_number("min_learning_rate", self.min_learning_rate, low_included=True)
        check_choice("monitor", self.monitor, ("valid_loss", "train_loss"))


def resolve_schedule(schedule: Any) -> CosineSchedule | PlateauSchedule | None:
    """Return the checked config that ``schedule`` is or names."""
    named = {"cosine": CosineSchedule, "plateau": PlateauSchedule}
    config = named[schedule]() if isinstance(schedule, str) and schedule in named else schedule
    if config is not None and not isinstance(config, (CosineSchedule, PlateauSchedule)):
        raise ValueError(
            f"schedule={schedule!r}; expected 'cosine', 'plateau', None, a CosineSchedule or a "
            "PlateauSchedule."
        )
    # Parameters of a config are checked here, not in __init__, as in scikit-learn.
    if config is not None:
        config.validate()
    return config
