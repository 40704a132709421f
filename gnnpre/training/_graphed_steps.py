"""The steps of a training as CUDA graphs, one for each of a few sizes of batches.

Batches are filled up to one of these sizes. The first batch of a size makes an ordinary step, with
which kernels are compiled; the second one is recorded, and from then on the record is repeated.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gnnpre._warnings import PerformanceWarning, warn_user
from gnnpre.graphs import CrystalBatch
from gnnpre.objectives import LossTerm, ObjectiveModel

from ._average import combine
from ._cuda_graphs import RECORDERS, Outcome, RecordedStep
from ._padding import BatchSize, pad_batch, pad_targets, padded_size
from ._state import TrainingState
from ._steps import clear_gradients, clip_gradients, evaluate

__all__ = ["GraphedSteps", "find_obstacle"]

#: Sizes of batches whose steps are recorded; each keeps the memory of a step's inputs.
MOST_GRAPHS = 16

_Batch = tuple[CrystalBatch, dict[str, Tensor]]


class GraphedSteps:
    """The steps of a training, recorded for each size of batches.

    Parameters
    ----------
    state : TrainingState
        The training.
    gradient_clip : float or None
        Largest norm of the gradient.
    obstacle : str, optional
        Why steps cannot be recorded, as far as it is known at the start.
    """

    def __init__(
        self, state: TrainingState, gradient_clip: float | None, obstacle: str | None = None
    ) -> None:
        self.state = state
        self.gradient_clip = gradient_clip
        self.obstacle = obstacle
        self.is_checked = self.is_off = False
        self.parameters = list(state.model.parameters())
        first = self.parameters[0]
        self.device = first.device
        # What changes from step to step is read from tensors: numbers would be recorded too.
        self.rates = [torch.zeros((), device=self.device) for _ in state.optimizer.param_groups]
        self.share = torch.zeros((), dtype=first.dtype, device=self.device)
        self.steps: dict[Any, RecordedStep] = {}

    def run(self, batch: _Batch) -> Outcome | None:
        """Make a step; None where it has to be an ordinary one, after a warning of the reason."""
        if not self.is_checked:
            self.is_checked = True
            if reason := self.obstacle or find_obstacle(self.state, batch):
                self._give_up(reason)
        if self.is_off:
            return None
        try:
            return self._run(batch)
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:  # nothing has been computed yet: the step is made anew
            self._give_up(f"a step could not be recorded ({type(error).__name__}: {error})")
            return None

    def _give_up(self, reason: str) -> None:
        self.is_off = True
        self.steps.clear()
        warn_user(
            f"compile='cuda_graphs', but {reason}. Going on without recorded steps, as with "
            "compile='auto'.",
            PerformanceWarning,
        )

    def _run(self, batch: _Batch) -> Outcome | None:
        crystals, targets = batch
        # Nothing then tells targets of atoms from those of crystals.
        if len(crystals) == len(crystals.atomic_numbers):
            return None
        # 1. the batch, filled up
        size = padded_size(crystals)
        step = self._step_of(size, crystals, targets)
        if step is None:
            return None
        # 2. what changes from step to step
        groups, average = self.state.optimizer.param_groups, self.state.average
        for rate, group in zip(self.rates, groups, strict=True):
            rate.fill_(group["lr"])
        if average is not None:
            self.share.fill_(average.next_share)
        # 3. the step; the next one overwrites its results
        loss, terms = step.run(self._make_step)
        if average is not None:
            average.n_updates += 1
        copies = {
            name: LossTerm(term.total.clone(), term.count.clone(), term.weight)
            for name, term in terms.items()
        }
        return loss.clone(), copies

    def _step_of(
        self, size: BatchSize, batch: CrystalBatch, targets: dict[str, Tensor]
    ) -> RecordedStep | None:
        """Return the step for batches of this size, with a batch as its inputs."""
        model = self.state.model
        trained = tuple(parameter.requires_grad for parameter in self.parameters)
        key = size, trained, model.backbone.training
        if key not in self.steps and len(self.steps) == MOST_GRAPHS:
            return None
        left_out = model.left_out
        assert left_out is not None  # find_obstacle has asked
        padded = pad_batch(batch, size), pad_targets(targets, batch, size, left_out)
        if key not in self.steps:
            recorder = RECORDERS[self.device.type](self.device)
            self.steps[key] = RecordedStep(*padded, recorder)
        else:
            self.steps[key].fill(*padded)
        return self.steps[key]

    def _make_step(self, batch: _Batch) -> Outcome:
        """Make one step of the optimizer, by operations that a GPU can record."""
        state = self.state
        clear_gradients(self.parameters)
        with _fixed_buffers(state.model):
            terms, _ = evaluate(state.model, batch)
            loss = combine(terms, step=True)
            loss.backward(inputs=[p for p in self.parameters if p.requires_grad])
            if self.gradient_clip is not None:
                clip_gradients(self.parameters, self.gradient_clip)
            with _rates_from_tensors(state.optimizer, self.rates):
                state.optimizer.step()
            if state.average is not None:
                state.average.blend(self.share)
        return loss.detach(), {
            name: LossTerm(term.total.detach(), term.count.detach(), term.weight)
            for name, term in terms.items()
        }


@contextmanager
def _fixed_buffers(model: nn.Module) -> Iterator[None]:
    """Write to the buffers themselves where a block of code puts new tensors in their place."""
    before = [
        (module, name, buffer)
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    try:
        yield
        for module, name, buffer in before:
            after = module._buffers[name]
            if after is not None and after is not buffer:
                buffer.copy_(after)
    finally:
        for module, name, buffer in before:
            module._buffers[name] = buffer


@contextmanager
def _rates_from_tensors(optimizer: torch.optim.Optimizer, rates: list[Tensor]) -> Iterator[None]:
    """Have an optimizer read its learning rates from tensors."""
    groups = optimizer.param_groups
    before = [(group["lr"], group["capturable"]) for group in groups]
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = rate
        group["capturable"] = rate.is_cuda and torch.cuda.is_current_stream_capturing()
    try:
        yield
    finally:
        for group, (rate, is_capturable) in zip(groups, before, strict=True):
            group["lr"], group["capturable"] = rate, is_capturable


def find_obstacle(state: TrainingState, batch: _Batch) -> str | None:
    """Return why the steps of a training cannot be recorded; None if they can.

    Parameters
    ----------
    state : TrainingState
        The training, after its first step.
    batch : tuple of CrystalBatch and dict of str to Tensor
        A batch, to compare its loss with that of the same batch, filled up.

    Returns
    -------
    str or None
        The reason.
    """
    model = state.model
    device = next(model.parameters()).device
    if device.type not in RECORDERS:
        return f"the training runs on {device.type!r}, not on a GPU"
    if model.left_out is None:
        return f"{type(model).__name__} has losses that count every crystal of a batch"
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        return "batch normalization sees all crystals of a batch"
    if state.model_draws:
        return "the model draws random numbers (dropout), which a graph would repeat"
    if not _is_padding_exact(model, batch):
        return "the loss of a batch depends on crystals that no loss counts"
    return None


def _is_padding_exact(model: ObjectiveModel, batch: _Batch) -> bool:
    """Compare the loss of a batch with that of the same batch, filled up."""
    crystals, targets = batch
    size = padded_size(crystals)
    if len(crystals) == len(crystals.atomic_numbers):
        return True  # such batches are not filled up
    left_out = model.left_out or {}
    padded = pad_batch(crystals, size), pad_targets(targets, crystals, size, left_out)
    modes = [(module, module.training) for module in model.modules()]
    with torch.no_grad():
        model.eval()
        losses = [combine(evaluate(model, one)[0], step=True).double() for one in (batch, padded)]
    for module, training in modes:
        module.training = training
    difference = (losses[0] - losses[1]).abs()
    return bool(difference <= 1e-4 * losses[0].abs() + 1e-12)
