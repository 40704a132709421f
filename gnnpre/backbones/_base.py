"""The interface of every backbone: a config that builds a module from crystals to atom features."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

from sklearn.base import BaseEstimator
from torch import Tensor, nn

from gnnpre._constraints import HasConstraints
from gnnpre._registry import Registered
from gnnpre.graphs import CrystalBatch

from ._elements import N_ELEMENTS

__all__ = ["AtomFeatures", "Backbone", "BackboneModule"]


class AtomFeatures(NamedTuple):
    """Features of the N atoms of a batch.

    Parameters
    ----------
    scalars : Tensor of shape (N, C)
        Invariant features.
    vectors : Tensor of shape (N, 3, C), optional
        Equivariant features; None if the architecture has none.

    Examples
    --------
    >>> import torch
    >>> from gnnpre.backbones import AtomFeatures
    >>> AtomFeatures(torch.zeros(2, 8)).vectors is None
    True
    """

    scalars: Tensor
    vectors: Tensor | None = None


class BackboneModule(nn.Module):
    """Base class of the modules that backbones build.

    A subclass implements :meth:`layer_features`; ``module(batch)`` then returns the features
    after the last layer. A subclass that implements ``forward`` alone can be trained, but its
    estimators embed crystals by ``layer=-1`` only.

    Parameters
    ----------
    out_channels : int
        Number of channels C of the features.
    n_elements : int
        Largest atomic number that the module accepts.

    Examples
    --------
    >>> from gnnpre import CGCNN
    >>> module = CGCNN(hidden_channels=16, n_layers=2).build(cutoff=5.0)
    >>> module.n_elements, module.n_layers
    (100, 2)
    """

    def __init__(self, out_channels: int, n_elements: int) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.n_elements = n_elements
        #: Whether sums over neighbours use compiled kernels. Not a part of the saved model.
        self.compiled = False

    def layer_features(self, batch: CrystalBatch) -> Iterator[AtomFeatures]:
        """Yield the atom features before the first layer, then after each layer.

        Parameters
        ----------
        batch : CrystalBatch
            The crystals.

        Yields
        ------
        AtomFeatures
            ``n_layers + 1`` times. Layers that are not asked for are not computed.

        Raises
        ------
        NotImplementedError
            If the subclass implements ``forward`` alone.
        """
        raise NotImplementedError(
            f"{type(self).__name__} implements no layer_features: it has no features of single "
            "layers. Write layer_features(batch) as a generator that yields AtomFeatures before "
            "the first layer and after each one."
        )

    def forward(self, batch: CrystalBatch) -> AtomFeatures:
        """Return the atom features after the last layer.

        Parameters
        ----------
        batch : CrystalBatch
            The crystals.

        Returns
        -------
        AtomFeatures
            The features.
        """
        for features in self.layer_features(batch):
            last = features
        return last

    @property
    def n_layers(self) -> int:
        """Number of layers, without the embedding before the first."""
        return len(self.layer_patterns()) - 1

    def layer_patterns(self) -> list[tuple[str, ...]]:
        """Return the names of the weights of each layer, as patterns.

        A weight belongs to the last layer with a pattern that matches its name. By default the
        modules in the list ``layers`` are one layer each, and all other weights come before them.

        Returns
        -------
        list of tuple of str
            ``fnmatch`` patterns from the input to the output, such as
            ``[("*",), ("layers.0.*",), ("layers.1.*",)]``.
        """
        layers = getattr(self, "layers", ())
        return [("*",), *((f"layers.{index}.*",) for index in range(len(layers)))]


class Backbone(Registered, HasConstraints, BaseEstimator, ABC):
    """Base class of the configs of architectures: parameters, and :meth:`build`.

    A subclass only assigns its parameters in ``__init__``, so that ``clone`` and searches work.
    Its module takes a :class:`~gnnpre.graphs.CrystalBatch` and returns :class:`AtomFeatures`. It
    must use positions and cells through ``batch.edge_vectors`` alone: forces and stress are
    derivatives with respect to them.

    Examples
    --------
    >>> from gnnpre.backbones import Backbone, CGCNN
    >>> isinstance(CGCNN(), Backbone)
    True
    """

    #: Largest atomic number of the element embedding.
    max_atomic_number: int = N_ELEMENTS

    @abstractmethod
    def build(self, cutoff: float, mean_neighbors: float = 1.0) -> BackboneModule:
        """Build the module with newly initialised weights.

        Parameters
        ----------
        cutoff : float
            Largest edge length of the graphs, in Å.
        mean_neighbors : float
            Mean number of neighbours of an atom in the training set. It becomes a constant of the
            model.

        Returns
        -------
        BackboneModule
            The network.

        Raises
        ------
        ValueError
            If a parameter is out of range.

        Examples
        --------
        >>> from gnnpre import CGCNN
        >>> CGCNN(hidden_channels=16).build(cutoff=5.0).out_channels
        16
        """

    def search_space(self) -> dict[str, Any]:
        """Return the parameters that are worth a search, with their ranges.

        Returns
        -------
        dict
            From parameter name to an Optuna distribution.

        Examples
        --------
        >>> from gnnpre import CGCNN
        >>> sorted(CGCNN().search_space())
        ['hidden_channels', 'n_layers']
        """
        return {}
