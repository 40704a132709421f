"""Sums of losses over an epoch, and averages of weights over a training."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gnnpre.objectives import LossTerm

__all__ = ["LossTotals", "WeightAverage", "combine"]


def combine(terms: Mapping[str, LossTerm], *, step: bool = False) -> Tensor:
    """Return the weighted sum of the means of the terms, over a data set or for a step."""
    means = ((term.weight, term.step_mean if step else term.mean) for term in terms.values())
    # Each operation costs as much as its arithmetic on a thousand numbers.
    return sum_of([mean if weight == 1 else weight * mean for weight, mean in means])


def sum_of(values: list[Tensor]) -> Tensor:
    """Return the sum of at least one tensor."""
    total, *rest = values
    for value in rest:
        total = total + value
    return total


class LossTotals:
    """Sums of loss terms over the batches of an epoch, in float64 on the device of the batches."""

    def __init__(self) -> None:
        self.terms: dict[str, LossTerm] = {}

    def add(self, terms: Mapping[str, LossTerm]) -> None:
        """Add the terms of one batch."""
        for name, term in terms.items():
            total, count = term.total.detach().double(), term.count.detach().double()
            if name in self.terms:
                total, count = total + self.terms[name].total, count + self.terms[name].count
            self.terms[name] = LossTerm(total, count, term.weight)

    @property
    def is_empty(self) -> bool:
        """Whether no label counts, so that there is no loss."""
        return not any(float(term.count) > 0 for term in self.terms.values())

    def means(self) -> dict[str, float]:
        """Return the mean of each term over the epoch, and that of the loss under ``"loss"``.

        Terms without a label that counts have no mean, and are left out.
        """
        if not self.terms:
            return {}
        counted = {name: term for name, term in self.terms.items() if float(term.count) > 0}
        means = {name: float(term.mean) for name, term in counted.items()}
        return {"loss": float(combine(self.terms)), **means}


class WeightAverage:
    """Exponential moving average of the weights of a model.

    The decay is small at first, so that a short training is not averaged with its start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.n_updates = 0
        named = dict(model.named_parameters())
        # Walking the modules at each step would take as long as the update itself.
        self.names, self.parameters = list(named), list(named.values())
        self.values = [value.detach().clone() for value in self.parameters]
        self.is_applied = False

    @property
    def next_share(self) -> float:
        """Share of the current weights in the average after the next update."""
        n_updates = self.n_updates + 1
        return 1.0 - min(self.decay, n_updates / (n_updates + 10))

    def update(self) -> None:
        """Average in the weights of the model after a step."""
        current = [value.detach() for value in self.parameters]
        torch._foreach_lerp_(self.values, current, self.next_share)
        self.n_updates += 1

    def blend(self, share: Tensor) -> None:
        """Average in the weights with a share that a recorded step reads anew each time."""
        differences = torch._foreach_sub([value.detach() for value in self.parameters], self.values)
        torch._foreach_mul_(differences, share)
        torch._foreach_add_(self.values, differences)

    def swap(self) -> None:
        """Exchange the average and the weights of the model."""
        for index, parameter in enumerate(self.parameters):
            self.values[index], parameter.data = parameter.data, self.values[index]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Run a block of code with the average as the weights of the model.

        Within such a block another one changes nothing: callbacks may predict in it.
        """
        if self.is_applied:
            yield
            return
        self.swap()
        self.is_applied = True
        try:
            yield
        finally:
            self.swap()
            self.is_applied = False

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages by name."""
        return dict(zip(self.names, self.values, strict=True))

    def load_state_dict(self, state: Mapping[str, Tensor], n_updates: int) -> None:
        """Restore averages of :meth:`state_dict`."""
        self.n_updates = n_updates
        for name, value in zip(self.names, self.values, strict=True):
            value.copy_(state[name])
