"""How a model is trained: the part of an estimator's parameters that concerns the loop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any

import numpy as np
import torch

from gnnpre._devices import resolve_device
from gnnpre._validation import (
    check_bool,
    check_choice,
    check_number,
    check_path,
    check_random_state,
)
from gnnpre.backbones import has_compiler, has_triton

from ._schedules import resolve_schedule
from ._time_limit import seconds_of

__all__ = ["DTYPES", "STRATEGIES", "TrainingSettings", "draw_seed"]

#: How the backbone takes part in training; replay adds data and losses, and trains all of it.
STRATEGIES = (
    "auto",
    "full",
    "head",
    "frozen_then_full",
    "layerwise",
    "replay",
    "kernel",
    "blended",
)
DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of one training; the estimators document them."""

    max_epochs: int
    batch_size: int
    max_edges: int | None
    learning_rate: float
    weight_decay: float
    schedule: Any
    gradient_clip: float | None
    ema_decay: float | None
    patience: int | None
    restore_best: bool
    device: str
    dtype: str
    compile: bool | str
    verbose: int
    checkpoint_dir: str | None
    resume: bool
    backbone_lr_scale: float = 1.0
    strategy: str = "full"
    layer_decay: float = 0.7
    frozen_epochs: float = 0.25
    checkpoint_epochs: Sequence[int] | None = None
    max_time: float | str | None = None
    n_processes: int | str | None = None

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> "TrainingSettings":
        """Read the settings among the parameters of an estimator, which need not have all."""
        names = {field.name for field in fields(cls)} & set(parameters)
        return cls(**{name: parameters[name] for name in names})

    def validate(self) -> None:
        """Check that each setting is of its type and within its range."""
        check_number("max_epochs", self.max_epochs, integer=True)
        check_number("batch_size", self.batch_size, integer=True)
        check_number("learning_rate", self.learning_rate)
        check_number("weight_decay", self.weight_decay, low_included=True)
        check_number("verbose", self.verbose, integer=True, low_included=True)
        check_number("backbone_lr_scale", self.backbone_lr_scale, low_included=True)
        check_choice("dtype", self.dtype, DTYPES)
        check_choice("strategy", self.strategy, STRATEGIES)
        check_number("layer_decay", self.layer_decay, high=1.0)
        check_number("frozen_epochs", self.frozen_epochs, high=1.0)
        resolve_schedule(self.schedule)
        seconds_of(self.max_time)
        self._validate_optional()
        resolve_device(self.device)

    def _validate_optional(self) -> None:
        if self.max_edges is not None:
            check_number("max_edges", self.max_edges, integer=True)
        if self.gradient_clip is not None:
            check_number("gradient_clip", self.gradient_clip)
        if self.ema_decay is not None:
            check_number("ema_decay", self.ema_decay, high=1.0, high_included=False)
        if self.patience is not None:
            check_number("patience", self.patience, integer=True)
        if isinstance(self.n_processes, str) and self.n_processes != "auto":
            raise ValueError(
                f"n_processes={self.n_processes!r}; expected an int above 0, 'auto' or None."
            )
        if not isinstance(self.n_processes, (str, type(None))):
            check_number("n_processes", self.n_processes, integer=True)
        for name in ("restore_best", "resume"):
            check_bool(name, getattr(self, name))
        # A comparison with a name alone has no truth value for pandas.NA or an array.
        is_named = isinstance(self.compile, str) and self.compile in ("auto", "cuda_graphs")
        if not is_named and not isinstance(self.compile, (bool, np.bool_)):
            raise ValueError(
                f"compile={self.compile!r}; expected True, False, 'auto' or 'cuda_graphs'."
            )
        self._validate_checkpoints()

    def _validate_checkpoints(self) -> None:
        if self.checkpoint_dir is not None:
            check_path("checkpoint_dir", self.checkpoint_dir)
        if self.resume and self.checkpoint_dir is None:
            raise ValueError("resume=True needs checkpoint_dir, the folder to resume from.")
        if self.checkpoint_epochs is not None:
            _check_epochs(self.checkpoint_epochs, self.max_epochs)
            if self.checkpoint_dir is None:
                raise ValueError(
                    f"checkpoint_epochs={self.checkpoint_epochs!r} needs checkpoint_dir, the "
                    "folder to keep the models in."
                )


def _check_epochs(epochs: Any, max_epochs: int) -> None:
    """Check that ``epochs`` are some different epochs of the training."""
    start = f"checkpoint_epochs={epochs!r}"
    expected = "expected a list or tuple of different ints from 1, such as (12, 25, 50)"
    if not isinstance(epochs, (list, tuple)) or not epochs:
        raise ValueError(f"{start}; {expected}, or None for no checkpoints.")
    for epoch in epochs:
        whole = isinstance(epoch, Integral) and not isinstance(epoch, bool)
        if not whole or int(epoch) < 1:
            raise ValueError(f"{start} has {epoch!r}; {expected}.")
        if epoch > max_epochs:
            raise ValueError(
                f"{start} has {epoch}, but max_epochs={max_epochs}: leave that epoch out, or set "
                f"max_epochs={epoch}."
            )
        if epochs.count(epoch) > 1:
            raise ValueError(f"{start} has {epoch} more than once; {expected}.")


def resolve_compile(compile: bool | str, device: torch.device) -> bool:
    """Return whether ``compile`` asks for compiled functions on a device."""
    if isinstance(compile, str):  # "auto", or "cuda_graphs" on top of it
        return has_triton() if device.type == "cuda" else has_compiler()
    return bool(compile)


def draw_seed(random_state: Any) -> int:
    """Draw the seed of one training; None draws from the system, never from global states."""
    check_random_state("random_state", random_state)
    if random_state is None:
        return int(np.random.default_rng().integers(2**31 - 1))
    from sklearn import utils

    return int(utils.check_random_state(random_state).randint(2**31 - 1))
