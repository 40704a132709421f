"""Check that weights from a file fit the model that its config describes, before it is built."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gnnpre.objectives import ObjectiveModel

from ._model_spec import ModelSpec
from ._randomness import SkipRandomFills, default_float32

__all__ = ["build_for_weights"]


def build_for_weights(spec: ModelSpec, weights: Mapping[str, Tensor]) -> ObjectiveModel:
    """Build the model of a spec and load weights into it.

    The model is built without memory first: a config that asks for billions of weights costs
    nothing, and is refused since the weights at hand do not fit.

    Raises
    ------
    ValueError
        If names, shapes or dtypes of the weights are not those of the model.
    """
    spec.check()
    try:
        with SkipRandomFills(), default_float32(), _Budget(weights), torch.device("meta"):
            model = spec()
    except (NotImplementedError, RuntimeError):
        pass  # a user's own module that computes with numbers when it is built
    else:
        _compare(model.state_dict(), weights)
    with SkipRandomFills(), default_float32(), _Budget(weights):
        model = spec()
    _compare(model.state_dict(), weights)
    model.load_state_dict(weights)
    return model


class _Budget(TorchDispatchMode):
    """Stops the building of a model that has far more tensors than there are weights for."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        # Buffers and intermediate results come on top of the weights.
        self.n_left = 100 * len(weights) + 1000

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation of torch, unless there were too many."""
        self.n_left -= 1
        if self.n_left < 0:
            raise ValueError("its config describes a larger model than it has weights for")
        return func(*args, **(kwargs or {}))


def _compare(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    missing, surplus = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected)
    if missing or surplus:
        raise ValueError(
            "its weights are not those of the model that its config describes: missing are "
            f"{missing[:3]}, too many are {surplus[:3]}"
        )
    for name, value in expected.items():
        weight = weights[name]
        if weight.shape != value.shape or weight.dtype != value.dtype:
            raise ValueError(
                f"its weight {name!r} is {weight.dtype} of shape {tuple(weight.shape)}, but its "
                f"config describes {value.dtype} of shape {tuple(value.shape)}"
            )
