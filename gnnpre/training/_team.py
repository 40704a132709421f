"""Steps of a training whose batches several processes share; one process is the simple case.

The leader (process 0) owns everything: optimizer, average, schedule, best weights, callbacks, files
and progress. The followers know the data, the order of the batches, and the weights of each step.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress
from typing import Any

import torch
from torch import Tensor, nn

from gnnpre._joint_sums import split_batch
from gnnpre.objectives import LossTerm, ObjectiveModel

from ._average import LossTotals, combine
from ._ranks import Ranks, pack, unpack
from ._shares import Share

__all__ = ["Alone", "Leader", "Phase", "SharedStep"]


@dataclass(frozen=True)
class Phase:
    """The next task of the followers, as the leader announces it.

    Attributes
    ----------
    task : {"train", "validate", "end"}
        The next phase of the training.
    epoch : int
        Number of the epoch, from 1.
    random_state : Tensor, optional
        State of the generator that orders and perturbs the batches.
    freeze : bool
        Whether the backbone is frozen.
    trainable : list of bool
        Which parameters are trained.
    draws : bool or None
        Whether the model draws random numbers in a step.
    reports : bool
        Whether the loss of each batch is added up for callbacks.
    may_end_early : bool
        Whether the phase may end before its last batch, for want of time.
    result : dict, optional
        History and files, at the end.
    """

    task: str
    epoch: int = 0
    random_state: Tensor | None = None
    freeze: bool = False
    trainable: tuple[bool, ...] = ()
    draws: bool | None = None
    reports: bool = False
    may_end_early: bool = False
    result: dict[str, Any] | None = None


class Alone:
    """Steps of the only process: nothing to share."""

    share: Share | None = None

    def begin(self, phase: Phase, model: ObjectiveModel) -> None:
        """Announce the next phase to the other processes."""

    @contextmanager
    def batch(self, n_crystals: int) -> Iterator[None]:
        """Run the steps of one batch of ``n_crystals`` crystals."""
        yield

    def loss(self, terms: Mapping[str, LossTerm], *, step: bool = True) -> Tensor:
        """Return the loss of a batch from the terms of this process."""
        return combine(terms, step=step)

    def reported_loss(self, loss: Tensor) -> Tensor:
        """Return the loss of a batch, all shares together."""
        return loss.detach()

    def share_weights(self, model: ObjectiveModel, parameters: list[nn.Parameter]) -> bool:
        """Pass on the weights before a step; return whether there is one."""
        return True

    def end_early(self) -> None:
        """Announce to the other processes that this phase has no further step."""

    def collect_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Add up the gradients of all processes."""

    def add_totals(self, totals: LossTotals) -> None:
        """Add up the losses of an epoch."""


class SharedStep(Alone):
    """Steps of one of several processes."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.share: Share = Share(ranks.rank, ranks.size)
        self.is_split = True
        #: Which parameters are trained, as of the beginning of the phase.
        self.trainable: tuple[bool, ...] = ()
        self.may_end_early = False
        # Weights, or buffers too, that the followers do not have yet.
        self.weights_are_new = self.buffers_are_new = False

    @contextmanager
    def batch(self, n_crystals: int) -> Iterator[None]:
        """Run the steps of one batch; a small one is the leader's alone."""
        self.is_split = self.share.is_split(n_crystals)
        with split_batch(self.ranks.add_up if self.is_split else None):
            yield

    def loss(self, terms: Mapping[str, LossTerm], *, step: bool = True) -> Tensor:
        """Return the share of this process in the loss: all shares add up to it."""
        if not self.is_split:
            return combine(terms, step=step)
        divisors = [
            term.count if not step or term.entries is None else term.entries
            for term in terms.values()
        ]
        total = torch.stack([divisor.detach() for divisor in divisors])
        self.ranks.add_up(total)
        joint = {
            name: LossTerm(term.total, divisor, term.weight)
            for (name, term), divisor in zip(terms.items(), total, strict=True)
        }
        return combine(joint)

    def reported_loss(self, loss: Tensor) -> Tensor:
        """Return the loss of a batch, all shares together."""
        total = loss.detach().clone()
        if self.is_split:
            self.ranks.add_up(total)
        return total

    def collect_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Add up the gradients of all processes, for the leader."""
        if not self.is_split:
            return
        trained = list(compress(parameters, self.trainable))
        # The optimizer skips a weight without a gradient: one that no process has used.
        used = [p.grad is not None for p in trained]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        # A list would be copied to a GPU, and waited for.
        flags = trained[0].new_ones(len(used)) if all(used) else trained[0].new_tensor(used)
        flat = pack([*gradients, flags])
        self.ranks.add_up_at_leader(flat)
        if not self.ranks.leads:
            return
        sums, counts = flat.split([len(flat) - len(trained), len(trained)])
        if not all(used):  # reading them waits for a GPU
            used = [count > 0 for count in counts.tolist()]
        for parameter, gradient, is_used in zip(
            trained, unpack(sums, gradients), used, strict=True
        ):
            parameter.grad = gradient if is_used else None

    def share_weights(self, model: ObjectiveModel, parameters: list[nn.Parameter]) -> bool:
        """Pass on the weights before a step; return whether there is one.

        Not after the last step: the leader's callbacks may change them in between.
        """
        if self.may_end_early and not self._goes_on(True):
            return False
        if self.buffers_are_new:
            self.share_state(model)
        elif self.weights_are_new:
            weights = [parameter.data for parameter in parameters]
            flat = pack(weights)
            self.ranks.copy_from_leader(flat)
            if not self.ranks.leads:
                torch._foreach_copy_(weights, unpack(flat, weights))
        # Where the leader is alone with a batch, it alone knows the statistics afterwards.
        self.weights_are_new, self.buffers_are_new = True, not self.is_split
        return True

    def end_early(self) -> None:
        """Announce to the other processes that this phase has no further step."""
        self._goes_on(False)

    def _goes_on(self, value: bool) -> bool:
        """Return, in all processes, whether the leader goes on."""
        flag = torch.tensor(float(value))
        self.ranks.copy_from_leader(flag)
        return bool(flag)

    def share_state(self, model: ObjectiveModel) -> None:
        """Pass on all weights and buffers."""
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for value in model.state_dict().values():
            by_type.setdefault(value.dtype, []).append(value)
        # One message for each type: what a message takes does not depend on its size.
        for values in by_type.values():
            flat = pack(values)
            self.ranks.copy_from_leader(flat)
            if not self.ranks.leads:
                torch._foreach_copy_(values, unpack(flat, values))
        self.weights_are_new = self.buffers_are_new = False

    def add_totals(self, totals: LossTotals) -> None:
        """Add up the losses of an epoch over all processes."""
        sums = {
            name: (float(term.total), float(term.count), term.weight)
            for name, term in totals.terms.items()
        }
        for number, added in enumerate(self.ranks.gather(sums)):
            if number != self.ranks.rank:
                totals.add(
                    {
                        name: LossTerm(_number(total), _number(count), weight)
                        for name, (total, count, weight) in added.items()
                    }
                )


class Leader(SharedStep):
    """Steps of the process that runs the training loop."""

    def begin(self, phase: Phase, model: ObjectiveModel) -> None:
        """Announce the next phase to the followers, and pass on its weights."""
        self.ranks.broadcast(phase)
        self.trainable, self.may_end_early = phase.trainable, phase.may_end_early
        self.share_state(model)


def _number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)
