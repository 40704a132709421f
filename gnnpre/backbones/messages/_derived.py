"""Value, gradient and second derivative of a block of messages, from the formula of an edge.

Each formula is a function of the inputs of E edges, in plain torch; ``torch.func`` differentiates
it. The second derivative is a gradient of a gradient ("reverse over reverse"): forward
differentiation of a gradient would be cheaper, but torch lacks it for some functions, such as SiLU.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ._roles import DIRECTION, PAIR, SOURCE, TARGET, Gradients

__all__ = ["gradient", "second", "value"]

Formula = Callable[..., tuple[Tensor, ...]]


def value(formula: Formula, roles: Sequence[str], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the messages (k, p, ...) of a block."""
    k, n_pairs = _block_shape(roles, inputs)
    rows = [_rows_of_edges(x, role, k) for x, role in zip(inputs, roles, strict=True)]
    return tuple(x.reshape(k, n_pairs, *x.shape[1:]) for x in formula(*rows))


def gradient(
    formula: Formula,
    roles: Sequence[str],
    inputs: Sequence[Tensor],
    cotangents: Sequence[Tensor],
    needs: Sequence[bool],
) -> Gradients:
    """Return the gradient of ``sum <cotangent, message>``, None for inputs that need none."""
    needed = [index for index, need in enumerate(needs) if need]
    if not needed:
        return (None,) * len(inputs)

    def messages(*changed: Tensor) -> tuple[Tensor, ...]:
        return value(formula, roles, _replaced(inputs, needed, changed))

    pull_back = torch.func.vjp(messages, *(inputs[index] for index in needed))[1]
    return _spread(pull_back(tuple(cotangents)), needed, len(inputs))


def second(
    formula: Formula,
    roles: Sequence[str],
    inputs: Sequence[Tensor],
    cotangents: Sequence[Tensor],
    tangents: Sequence[Tensor | None],
    needs: Sequence[bool],
) -> tuple[tuple[Tensor, ...], Gradients]:
    """Return derivatives along ``tangents`` of the messages and of their gradient.

    Second derivatives are symmetric: the derivative of the gradient along a tangent is the gradient
    of ``<gradient, tangent>``. The derivative of the messages is its gradient with respect to the
    cotangents, in which it is linear.
    """
    moved = {index: x for index, x in enumerate(tangents) if x is not None}
    needed = [index for index, need in enumerate(needs) if need]

    def gradient_of_moved(cotangents: tuple[Tensor, ...], *changed: Tensor) -> Gradients:
        current = _replaced(inputs, needed, changed)
        of_moved = [index in moved for index in range(len(inputs))]
        gradients = gradient(formula, roles, current, cotangents, of_moved)
        return tuple(gradients[index] for index in moved)

    start = tuple(cotangents), *(inputs[index] for index in needed)
    pull_back = torch.func.vjp(gradient_of_moved, *start)[1]
    changes, *gradients = pull_back(tuple(moved.values()))
    return changes, _spread(gradients, needed, len(inputs))


def _block_shape(roles: Sequence[str], inputs: Sequence[Tensor]) -> tuple[int, int]:
    """Return k and p, from the first input of atoms."""
    of_atoms = next(x for x, role in zip(inputs, roles, strict=True) if role in (TARGET, SOURCE))
    return of_atoms.shape[0], of_atoms.shape[1]


def _rows_of_edges(x: Tensor, role: str, k: int) -> Tensor:
    """Return one row for each of the k p edges of a block."""
    if role == DIRECTION and k == 2:
        x = torch.stack([x, -x])
    elif role in (PAIR, DIRECTION):
        x = x.expand(k, *x.shape)
    return x.flatten(0, 1)  # (k p, ...)


def _replaced(
    inputs: Sequence[Tensor], indices: Sequence[int], changed: Sequence[Tensor]
) -> list[Tensor]:
    replaced = list(inputs)
    for index, x in zip(indices, changed, strict=True):
        replaced[index] = x
    return replaced


def _spread(gradients: Sequence[Tensor], needed: Sequence[int], n_inputs: int) -> Gradients:
    spread: list[Tensor | None] = [None] * n_inputs
    for index, x in zip(needed, gradients, strict=True):
        spread[index] = x
    return tuple(spread)
