"""What all fingerprints share: streaming over crystals, pooling, names."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.metaestimators import available_if
from torch import Tensor

from gnnpre._validation import check_choice
from gnnpre.graphs import (
    CrystalBatch,
    CrystalGraphs,
    IndexedTransformerMixin,
    StructureToGraph,
    stream_batches,
)

__all__ = ["Fingerprint"]

DTYPES = {"float32": torch.float32, "float64": torch.float64}
POOLINGS = (None, "mean", "sum", "cumulants")
CUMULANTS = ("cumulant1", "cumulant2", "cumulant3")
# Atoms handled together: enough to hide the cost of a call, few enough for the cache.
CHUNK_ATOMS = 1024


def _is_pooled(fingerprint: Any) -> bool:
    return fingerprint.pooling is not None


class Fingerprint(IndexedTransformerMixin, BaseEstimator, ABC):
    """Base class of transformers from crystals to invariant numbers for each atom.

    A subclass has the parameters ``pooling``, ``dtype`` and ``device`` beside its own, and gives
    the features of a batch (:meth:`compute`), their names, and the cutoff that they need.

    Examples
    --------
    >>> from gnnpre.fingerprints import EAD, Fingerprint
    >>> isinstance(EAD(), Fingerprint)
    True
    """

    pooling: str | None
    dtype: str
    device: str | None

    @abstractmethod
    def compute(self, batch: CrystalBatch) -> Tensor:
        """Compute the features of each atom, with derivatives where the edge vectors want some.

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
    def atom_feature_names(self) -> list[str]:
        """Name the features of an atom.

        Returns
        -------
        list of str of length D
            The names.
        """

    @abstractmethod
    def needed_cutoff(self, atomic_numbers: np.ndarray) -> float:
        """Give the cutoff that crystals of some elements need.

        Parameters
        ----------
        atomic_numbers : ndarray of int
            The elements.

        Returns
        -------
        float
            Largest distance in Å at which an atom is seen.
        """

    @abstractmethod
    def _check_parameters(self) -> None:
        """Refuse parameters that are out of range."""

    def fit(self, X: Any, y: Any = None) -> "Fingerprint":
        """Check parameters and the container of crystals; there is nothing to learn.

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
            If ``X`` is no container of crystals.
        """
        self._check_all()
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
            The crystals. Graphs whose edges do not hold all neighbours that are asked for (a
            smaller cutoff, or ``max_neighbors``) get them anew from their positions.

        Returns
        -------
        list of ndarray of shape (n_atoms, D), or ndarray of shape (n, D) or (n, 3 D)
            An array a crystal where ``pooling`` is None, one row a crystal else.

        Raises
        ------
        ValueError, TypeError
            If a structure cannot be used; the message names it.
        """
        parts = list(self._stream(X))
        values = np.concatenate([values for values, _ in parts])
        if self.pooling is not None:
            return values
        counts = np.concatenate([counts for _, counts in parts])
        return np.split(values, np.cumsum(counts)[:-1])

    def _stream(self, X: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield features, and atoms of each crystal, part by part."""
        self._check_all()
        first = 0
        for batch in stream_batches(X, self.needed_cutoff, CHUNK_ATOMS, DTYPES[self.dtype]):
            self._check_elements(batch, first)
            first += len(batch)
            if self.device is not None:
                batch = batch.to(self.device)
            with torch.no_grad():
                values = pool_atoms(self.compute(batch), batch, self.pooling)
            yield values.cpu().numpy(), batch.n_atoms.cpu().numpy()

    def atom_features(self, X: Any) -> np.ndarray:
        """Compute the features of all atoms in one array, whatever ``pooling`` says.

        Parameters
        ----------
        X : container of n structures, or CrystalGraphs
            The crystals.

        Returns
        -------
        ndarray of shape (N, D)
            A row an atom, crystal after crystal.
        """
        unpooled = type(self)(**{**self.get_params(deep=False), "pooling": None})
        return np.concatenate([values for values, _ in unpooled._stream(X)])

    @available_if(_is_pooled)
    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the columns of pooled fingerprints.

        Parameters
        ----------
        input_features : object, optional
            Ignored: crystals have no columns.

        Returns
        -------
        ndarray of str
            Names of the columns.
        """
        names = self.atom_feature_names()
        poolings = CUMULANTS if self.pooling == "cumulants" else (self.pooling,)
        return np.array([f"{pooling}_{n}" for pooling in poolings for n in names], dtype=object)

    def set_output(self, *, transform: str | None = None) -> "Fingerprint":
        """Choose the container of pooled fingerprints; those of atoms, no table, stay a list.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, optional
            The container; None changes nothing.

        Returns
        -------
        Fingerprint
            This transformer.
        """
        # scikit-learn's own is there only where columns have names, and a pipeline asks each step.
        if _is_pooled(self):
            super().set_output(transform=transform)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = False
        return tags

    def _check_all(self) -> None:
        check_choice("pooling", self.pooling, POOLINGS)
        check_choice("dtype", self.dtype, tuple(DTYPES))
        _check_device(self.device)
        self._check_parameters()

    def _check_elements(self, batch: CrystalBatch, first: int) -> None:
        """Refuse elements that this fingerprint does not know; ``first`` counts from here on."""


def _check_device(device: Any) -> None:
    if device is None:
        return
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, TypeError, AssertionError) as error:
        raise ValueError(
            f"device={device!r} is none that torch has here; expected None, 'cpu' or 'cuda'."
        ) from error


def pool_atoms(values: Tensor, batch: CrystalBatch, pooling: str | None) -> Tensor:
    """Pool features of atoms over each crystal: ``(N, D) -> (n, D)``, or ``(n, 3 D)``."""
    if pooling is None:
        return values
    if pooling == "sum":
        return _sum(values, batch)
    count = batch.n_atoms[:, None].to(values.dtype)
    mean = _sum(values, batch) / count
    if pooling == "mean":
        return mean
    centred = values - mean[batch.batch]
    square = centred * centred
    variance = _sum(square, batch) / count
    third = _sum(square * centred, batch) / count
    return torch.cat([mean, variance, third], dim=1)


def _sum(values: Tensor, batch: CrystalBatch) -> Tensor:
    total = values.new_zeros((len(batch), values.shape[1]))
    return total.index_add(0, batch.batch, values)
