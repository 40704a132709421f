"""The interface of an adapter, which every published model has one of."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from pymatgen.core import Structure

__all__ = ["Adapter", "recorded", "require"]


class Adapter(ABC):
    """A published model, loaded with its weights, that computes features of atoms.

    Parameters
    ----------
    weights : str
        Name of one of the sets of weights that the package holds.
    device : str
        Device to compute on.
    """

    #: Name of the package, and of the extra that installs it.
    package: ClassVar[str]
    #: Names of the sets of weights, the default first.
    weights: ClassVar[tuple[str, ...]]
    #: Message-passing layers; layer 0 is the embedding of the elements.
    n_layers: ClassVar[int]
    #: Features of an atom in each layer.
    n_features: ClassVar[int]
    #: Atomic numbers that the model was made for.
    elements: frozenset[int]

    @abstractmethod
    def __init__(self, weights: str, device: str) -> None: ...

    @abstractmethod
    def features(
        self, structures: "Sequence[Structure]", layers: Sequence[int]
    ) -> list[dict[int, np.ndarray]]:
        """Return the features of each structure by layer, arrays ``(n_atoms, n_features)``."""


def require(package: str) -> None:
    """Import an optional package, or raise an error with the command that installs it."""
    try:
        import_module(package)
    except ImportError as error:
        raise ImportError(
            f"FoundationFeatures({package!r}) needs the package {package} ({error}): "
            f'pip install "gnnpre[{package}]"'
        ) from error


def package_version(package: str) -> str:
    """Return the version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


@contextmanager
def recorded(
    modules: dict[int, nn.Module], select: Callable[[Any], torch.Tensor]
) -> Iterator[dict[int, torch.Tensor]]:
    """Record the output of modules while the block runs; one thread at a time."""
    outputs: dict[int, torch.Tensor] = {}

    def hook_of(layer: int) -> Callable[[nn.Module, Any, Any], None]:
        def record(module: nn.Module, inputs: Any, output: Any) -> None:
            outputs[layer] = select(output)

        return record

    # Hooks, as the packages return features of some layers only.
    handles = [module.register_forward_hook(hook_of(k)) for k, module in modules.items()]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
