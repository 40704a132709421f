"""The state of a training, in one place: the loop changes it, and a resumed run restores it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from skorch.history import History
from torch import Tensor

from gnnpre._validation import check_bool, check_number
from gnnpre.objectives import ObjectiveModel

from ._average import WeightAverage
from ._best import BestWeights, Weights
from ._randomness import PrivateRandomness
from ._rates import LearningRate

__all__ = ["TrainingState"]


@dataclass
class TrainingState:
    """Everything that the rest of a training depends on, besides its data and its settings.

    Attributes
    ----------
    model : ObjectiveModel
        The model with its current weights.
    optimizer : torch.optim.Optimizer
        The optimizer with its moments and learning rates.
    history : History
        One row per epoch; skorch's, shared with the net.
    generator : torch.Generator
        Orders and perturbs the batches.
    randomness : PrivateRandomness
        Random numbers that the model itself draws (dropout).
    rate : LearningRate
        Learning rate that follows the schedule.
    average : WeightAverage or None
        Moving average of the weights.
    best : BestWeights
        Weights of the best epoch so far.
    model_draws : bool or None
        Whether the model draws random numbers in a step; None until the first step shows it.
    n_earlier : int
        Rows of ``history`` from before this training (a callback may load them).
    stopped : bool
        Whether a callback ended the training.
    diverged : bool
        Whether the training loss of the last epoch was not finite.
    seconds : float
        Time that the epochs so far took, also before an interruption.
    checkpoints : dict of int to str
        Files of the models that were saved after some epochs.
    """

    model: ObjectiveModel
    optimizer: torch.optim.Optimizer
    history: History
    generator: torch.Generator
    randomness: PrivateRandomness
    rate: LearningRate
    average: WeightAverage | None
    best: BestWeights = field(default_factory=BestWeights)
    model_draws: bool | None = None
    n_earlier: int = 0
    stopped: bool = False
    diverged: bool = False
    seconds: float = 0.0
    checkpoints: dict[int, str] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """Number of epochs that this training has begun; between epochs, that it has done."""
        return len(self.history) - self.n_earlier

    @property
    def validates(self) -> bool:
        """Whether the epochs so far have a validation loss."""
        return any("valid_loss" in row for row in list(self.history)[self.n_earlier :])

    @contextmanager
    def evaluation_weights(self) -> Iterator[None]:
        """Run a block of code with the weights that are validated: the average, if there is one."""
        with nullcontext() if self.average is None else self.average.applied():
            yield

    def snapshot(self) -> Weights:
        """Copy the weights that are validated."""
        with self.evaluation_weights():
            return {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the part of the state that is tensors, by dotted names."""
        groups: dict[str, dict[str, Tensor]] = {
            "model": self.model.state_dict(),
            "optimizer": _optimizer_tensors(self.optimizer),
            "average": {} if self.average is None else self.average.state_dict(),
            "best": self.best.weights or {},
            "random": {"loader": self.generator.get_state(), **self.randomness.state_dict()},
        }
        # Copies, since safetensors refuses tensors that share memory (tied weights).
        return {
            f"{group}.{name}": value.detach().clone()
            for group, tensors in groups.items()
            for name, value in tensors.items()
        }

    def to_values(self) -> dict[str, Any]:
        """Return the other part of the state, JSON-serializable but for infinities."""
        return {
            "optimizer": self.optimizer.state_dict()["param_groups"],
            "rate": self.rate.state_dict(),
            "average_updates": 0 if self.average is None else self.average.n_updates,
            "best": self.best.state_dict(),
            "frozen": [n for n, p in self.model.named_parameters() if not p.requires_grad],
            "model_draws": self.model_draws,
            "n_earlier": self.n_earlier,
            "stopped": self.stopped,
            "seconds": self.seconds,
            "history": [{**row, "batches": []} for row in self.history],
        }

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Restore the state that :meth:`to_tensors` and :meth:`to_values` returned."""
        self.model.load_state_dict(_group(tensors, "model"))
        # A callback such as skorch's Freezer acts in one epoch, which may be over.
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name not in values["frozen"])
        self._restore_optimizer(_group(tensors, "optimizer"), values["optimizer"])
        self.rate.load_state_dict(values["rate"])
        if self.average is not None:
            self.average.load_state_dict(_group(tensors, "average"), values["average_updates"])
        # The state of a GPU's generator is there only if the training ran on one.
        random = _group(tensors, "random")
        self.generator.set_state(random.pop("loader").clone())
        self.randomness.load_state_dict(random)
        device = next(self.model.parameters()).device
        best = {name: value.clone().to(device) for name, value in _group(tensors, "best").items()}
        self.best.load_state_dict(values["best"], best, self.snapshot())
        # Some of skorch's callbacks read the last batch of the last epoch, whatever it holds.
        self.history[:] = [{**row, "batches": [{}]} for row in values["history"]]
        for name in ("model_draws", "stopped"):
            check_bool(name, values[name])
        check_number("n_earlier", values["n_earlier"], integer=True, low_included=True)
        check_number("seconds", values["seconds"], low_included=True)
        for name in ("model_draws", "n_earlier", "stopped", "seconds"):
            setattr(self, name, values[name])

    def _restore_optimizer(self, tensors: dict[str, Tensor], groups: list[dict[str, Any]]) -> None:
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            index, name = key.split(".", 1)
            slots.setdefault(int(index), {})[name] = value.clone()
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    slots = optimizer.state_dict()["state"]
    return {f"{i}.{name}": value for i, slot in slots.items() for name, value in slot.items()}


def _group(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return the tensors of one group, by their names within it."""
    start = f"{name}."
    return {
        key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)
    }
