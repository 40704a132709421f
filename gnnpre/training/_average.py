"""Sums of losses over an epoch, and averages of weights over a training."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gnnpre.objectives import LossTerm

__all__ = ["LossTotals", "WeightAverage", "combine"]


def combine(terms: Mapping[str, LossTerm], *, step: bool = False) -> Tensor:
    """Give the loss: the weighted sum of the means of its terms, over a data set or for a step."""
    means = [term.step_mean if step else term.mean for term in terms.values()]
    weights = [term.weight for term in terms.values()]
    return torch.stack([w * mean for w, mean in zip(weights, means, strict=True)]).sum()


class LossTotals:
    """Loss terms added up over the batches of an epoch, on their device."""

    def __init__(self) -> None:
        self.terms: dict[str, LossTerm] = {}

    def add(self, terms: Mapping[str, LossTerm]) -> None:
        """Add the terms of one batch."""
        for name, term in terms.items():
            total, count = term.total.detach(), term.count.detach()
            if name in self.terms:
                total, count = total + self.terms[name].total, count + self.terms[name].count
            self.terms[name] = LossTerm(total, count, term.weight)

    def means(self) -> dict[str, float]:
        """Mean of each term over the epoch, and of the loss under ``"loss"``."""
        if not self.terms:
            return {}
        means = {name: float(term.mean) for name, term in self.terms.items()}
        return {"loss": float(combine(self.terms)), **means}


class WeightAverage:
    """Exponential moving average of the weights of a model.

    The decay is small at first, so that a short training is not averaged with its start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.n_updates = 0
        self.names = [name for name, _ in model.named_parameters()]
        self.values = [value.detach().clone() for value in model.parameters()]

    def update(self, model: nn.Module) -> None:
        """Take in the weights of ``model`` after a step."""
        self.n_updates += 1
        decay = min(self.decay, self.n_updates / (self.n_updates + 10))
        current = [value.detach() for value in model.parameters()]
        torch._foreach_lerp_(self.values, current, 1.0 - decay)

    def swap(self, model: nn.Module) -> None:
        """Exchange the average and the weights of ``model``."""
        for index, parameter in enumerate(model.parameters()):
            self.values[index], parameter.data = parameter.data, self.values[index]

    def state_dict(self) -> dict[str, Tensor]:
        """Give the averages by name."""
        return dict(zip(self.names, self.values, strict=True))

    def load_state_dict(self, state: Mapping[str, Tensor], n_updates: int) -> None:
        """Take up averages that :meth:`state_dict` gave."""
        self.n_updates = n_updates
        for name, value in zip(self.names, self.values, strict=True):
            value.copy_(state[name])
