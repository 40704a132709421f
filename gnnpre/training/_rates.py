"""Learning rates during a training: the schedules, applied to an optimizer."""

from collections.abc import Mapping
from typing import Any

import torch

from ._schedules import CosineSchedule, PlateauSchedule

__all__ = ["CosineRate", "LearningRate", "PlateauRate", "make_rate"]


class LearningRate:
    """Learning rate that stays as it is; the base of those that follow a schedule."""

    def before_step(self, optimizer: torch.optim.Optimizer, progress: float) -> None:
        """Set the rate of a step; ``progress`` is the fraction of the training (0 to 1)."""

    def after_epoch(self, row: Mapping[str, Any]) -> None:
        """Adapt the rate to the losses of an epoch."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed training needs, JSON-serializable."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of :meth:`state_dict`."""


class CosineRate(LearningRate):
    """Learning rate that follows a :class:`CosineSchedule`, step by step."""

    def __init__(self, schedule: CosineSchedule, optimizer: torch.optim.Optimizer) -> None:
        self.schedule = schedule
        self.largest = [group["lr"] for group in optimizer.param_groups]
        self._last: list[float] | None = None

    def before_step(self, optimizer: torch.optim.Optimizer, progress: float) -> None:
        """Set the rate of a step."""
        groups = optimizer.param_groups
        # Whatever a callback sets would be overwritten without a word.
        if self._last is not None and self._last != [group["lr"] for group in groups]:
            raise ValueError(
                f"A callback changed the learning rate from {self._last[0]:.3g} to "
                f"{groups[0]['lr']:.3g}, but the schedule sets it before each step. Set "
                "schedule=None to leave the learning rate to the callback."
            )
        factor = self.schedule.factor(progress)
        self._last = [rate * factor for rate in self.largest]
        for group, rate in zip(groups, self._last, strict=True):
            group["lr"] = rate


class PlateauRate(LearningRate):
    """Learning rate that follows a :class:`PlateauSchedule`, by torch's own scheduler."""

    def __init__(self, schedule: PlateauSchedule, optimizer: torch.optim.Optimizer) -> None:
        self.monitor = schedule.monitor
        self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer,
            factor=schedule.factor,
            patience=schedule.patience,
            threshold=schedule.threshold,
            min_lr=schedule.min_learning_rate,
        )

    def after_epoch(self, row: Mapping[str, Any]) -> None:
        """Lower the rate if the monitored loss has not improved for long enough."""
        self.scheduler.step(row.get(self.monitor, row["train_loss"]))

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed training needs, JSON-serializable."""
        state = self.scheduler.state_dict()
        return {key: state[key] for key in ("best", "num_bad_epochs", "last_epoch", "_last_lr")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of :meth:`state_dict`."""
        self.scheduler.load_state_dict({**self.scheduler.state_dict(), **state})


def make_rate(
    schedule: CosineSchedule | PlateauSchedule | None, optimizer: torch.optim.Optimizer
) -> LearningRate:
    """Return the learning rate that follows a checked schedule."""
    if isinstance(schedule, CosineSchedule):
        return CosineRate(schedule, optimizer)
    if isinstance(schedule, PlateauSchedule):
        return PlateauRate(schedule, optimizer)
    return LearningRate()
