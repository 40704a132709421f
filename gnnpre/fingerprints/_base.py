"""Base class of fingerprints: streaming over crystals, pooling, names."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from gnnpre._constraints import Check, HasConstraints, number, one_of
from gnnpre._devices import resolve_device
from gnnpre._registry import Registered
from gnnpre.graphs import (
    LARGEST_CUTOFF,
    POOLINGS,
    CrystalBatch,
    CrystalGraphs,
    PoolingTransformer,
    StructureToGraph,
    pool_atoms,
    stream_batches,
)

__all__ = ["CUTOFF", "Fingerprint"]

DTYPES = {"float32": torch.float32, "float64": torch.float64}
#: Check of a cutoff in Å; beyond the limit each atom has a hundred thousand neighbours.
CUTOFF: Check = number(high=LARGEST_CUTOFF)
# Atoms handled together: enough to hide the cost of a call, few enough for the cache.
CHUNK_ATOMS = 1024


def check_device(name: str, device: Any) -> None:
    """Check that torch has a device of this name; None is the default."""
    if device is not None:
        resolve_device(device, auto=False)


#: Parameters of every fingerprint.
FINGERPRINT_CONSTRAINTS: dict[str, Check] = {
    "pooling": one_of(*POOLINGS),
    "dtype": one_of(*DTYPES),
    "device": check_device,
}


class Fingerprint(Registered, HasConstraints, PoolingTransformer, BaseEstimator, ABC):
    """Base class of transformers from crystals to invariant numbers for each atom.

    A subclass has the parameters ``pooling``, ``dtype`` and ``device`` besides its own, declares
    the allowed values of its own in ``_constraints``, and defines the features of a batch
    (:meth:`compute`), their names, and the cutoff that they need.

    Examples
    --------
    >>> from gnnpre.fingerprints import EAD, Fingerprint
    >>> isinstance(EAD(), Fingerprint)
    True
    """

    dtype: str
    device: str | None

    @abstractmethod
    def compute(self, batch: CrystalBatch) -> Tensor:
        """Compute the features of each atom, differentiable in the edge vectors.

        Parameters
        ----------
        batch : CrystalBatch
            Crystals with at least every edge within the cutoff.

        Returns
        -------
        Tensor of shape (N, D)
            The features, in the precision and on the device of the edge vectors.
        """

    @abstractmethod
    def needed_cutoff(self, atomic_numbers: np.ndarray) -> float:
        """Return the cutoff that crystals of some elements need.

        Parameters
        ----------
        atomic_numbers : ndarray of int
            The elements.

        Returns
        -------
        float
            Largest distance in Å at which an atom is seen.
        """

    def check_parameters(self) -> None:
        """Check that every parameter has an allowed value.

        Raises
        ------
        ValueError, TypeError
            If one has not; the message names it.
        """
        for name, check in FINGERPRINT_CONSTRAINTS.items():
            check(name, getattr(self, name))
        super().check_parameters()

    def fit(self, X: Any, y: Any = None) -> "Fingerprint":
        """Check the parameters and the container of crystals; nothing is learnt.

        Parameters
        ----------
        X : container of n structures, or CrystalGraphs
            The crystals.
        y : object, optional
            Ignored.

        Returns
        -------
        Fingerprint
            This transformer.

        Raises
        ------
        ValueError
            If a parameter is out of range or there are no crystals.
        TypeError
            If ``X`` is not a container of crystals.
        """
        self.check_parameters()
        if not isinstance(X, CrystalGraphs):
            StructureToGraph().fit(X)
        elif len(X) == 0:
            raise ValueError("X has 0 crystals; a minimum of 1 is required.")
        return self

    def transform(self, X: Any) -> Any:
        """Compute the fingerprints.

        Parameters
        ----------
        X : container of n structures, or CrystalGraphs
            The crystals. Graphs with a smaller cutoff, or with ``max_neighbors``, lack edges: their
            neighbours are searched again.

        Returns
        -------
        list of ndarray of shape (n_atoms, D), or ndarray of shape (n, D) or (n, 3 D)
            One array for each crystal if ``pooling`` is None, otherwise one row for each.

        Raises
        ------
        ValueError, TypeError
            If a structure cannot be used; the message names it.
        """
        chunks = list(self._stream(X))
        values = np.concatenate([values for values, _ in chunks])
        if self.pooling is not None:
            return values
        counts = np.concatenate([counts for _, counts in chunks])
        return np.split(values, np.cumsum(counts)[:-1])

    def _stream(self, X: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield features, and atoms of each crystal, chunk by chunk."""
        self.check_parameters()
        first = 0
        for batch in stream_batches(X, self.needed_cutoff, CHUNK_ATOMS, DTYPES[self.dtype]):
            self._check_elements(batch, first)
            first += len(batch)
            if self.device is not None:
                batch = batch.to(self.device)
            with torch.no_grad():
                values = self.compute(batch)
                if self.pooling is not None:
                    values = pool_atoms(values, batch.batch, batch.n_atoms, self.pooling)
            yield values.cpu().numpy(), batch.n_atoms.cpu().numpy()

    def atom_features(self, X: Any) -> np.ndarray:
        """Compute the features of all atoms in one array; ``pooling`` is ignored.

        Parameters
        ----------
        X : container of n structures, or CrystalGraphs
            The crystals.

        Returns
        -------
        ndarray of shape (N, D)
            One row for each atom, crystal after crystal.
        """
        return np.concatenate(list(self.iterate_atom_features(X)))

    def iterate_atom_features(self, X: Any) -> Iterator[np.ndarray]:
        """Compute the features of all atoms chunk by chunk; ``pooling`` is ignored.

        Parameters
        ----------
        X : container of n structures, or CrystalGraphs
            The crystals.

        Yields
        ------
        ndarray of shape (N_chunk, D)
            One row for each atom of the next crystals.
        """
        unpooled = type(self)(**{**self.get_params(deep=False), "pooling": None})
        for values, _ in unpooled._stream(X):
            yield values

    def _check_elements(self, batch: CrystalBatch, first: int) -> None:
        """Check that the fingerprint is defined for the elements; ``first`` is the first row."""
