"""What every backbone is: a config that builds a module from crystals to atom features."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from sklearn.base import BaseEstimator
from torch import Tensor, nn

from ._elements import N_ELEMENTS

__all__ = ["AtomFeatures", "Backbone", "BackboneModule"]


class AtomFeatures(NamedTuple):
    """Features of N atoms, as a backbone gives them.

    Parameters
    ----------
    scalars : Tensor of shape (N, C)
        Invariant features.
    vectors : Tensor of shape (N, 3, C), optional
        Equivariant features, where the architecture has them.

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
    """Base class of the modules that backbones build: ``forward(batch) -> AtomFeatures``.

    Parameters
    ----------
    out_channels : int
        Channels C of the features.
    n_elements : int
        Largest atomic number that the module takes.

    Examples
    --------
    >>> from gnnpre import CGCNN
    >>> CGCNN(hidden_channels=16).build(cutoff=5.0).n_elements
    100
    """

    def __init__(self, out_channels: int, n_elements: int) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.n_elements = n_elements
        #: Whether compiled functions make sums over neighbours; no part of what is learnt.
        self.compiled = False

    def layer_patterns(self) -> list[tuple[str, ...]]:
        """Name the weights of each layer by patterns, from the input to the output.

        A weight belongs to the last layer that has a pattern for it. Modules in a ``layers`` list
        are one layer each; what comes before them is the first.

        Returns
        -------
        list of tuple of str
            Patterns of shells, such as ``[("*",), ("layers.0.*",), ("layers.1.*",)]``.
        """
        layers = getattr(self, "layers", ())
        return [("*",), *((f"layers.{index}.*",) for index in range(len(layers)))]


class Backbone(BaseEstimator, ABC):
    """Config of an architecture: visible parameters for clone and search, and :meth:`build`.

    A subclass assigns its parameters in ``__init__`` and does no more there. Its module takes a
    :class:`~gnnpre.graphs.CrystalBatch` and returns :class:`AtomFeatures`; positions and strain
    reach it through ``batch.edge_vectors`` alone.

    Examples
    --------
    >>> from gnnpre.backbones import Backbone, CGCNN
    >>> isinstance(CGCNN(), Backbone)
    True
    """

    #: Largest atomic number that the element embedding holds.
    max_atomic_number: int = N_ELEMENTS

    @abstractmethod
    def build(self, cutoff: float, mean_neighbors: float = 1.0) -> BackboneModule:
        """Make the module with fresh weights.

        Parameters
        ----------
        cutoff : float
            Largest edge length of the graphs, in Å.
        mean_neighbors : float
            Mean number of neighbours of an atom in the training set; part of the model from then
            on.

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
