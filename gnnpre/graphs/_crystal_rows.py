"""Containers of n crystals, which are indexed like an array."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from ._indexing import resolve_rows

__all__ = ["CrystalRows"]


class CrystalRows(ABC):
    """Base class of containers of n crystals: length, shape and index of an array of objects.

    scikit-learn splits such a container as it splits an array: it looks at ``shape``, and passes
    an index array or a mask.
    """

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of crystals."""

    @abstractmethod
    def _get_one(self, row: int) -> Any:
        """Return one crystal; ``row`` is within 0 and n - 1."""

    @abstractmethod
    def _get_some(self, rows: slice | np.ndarray) -> Any:
        """Return a container of some crystals; a slice has a step of 1."""

    @property
    def shape(self) -> tuple[int]:
        """Shape ``(n,)``, which scikit-learn reads from an X."""
        return (len(self),)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            if not -len(self) <= key < len(self):
                raise IndexError(f"Index {key} is out of bounds for {len(self)} crystals.")
            return self._get_one(int(key) % len(self))
        return self._get_some(resolve_rows(key, len(self), type(self).__name__))

    def __iter__(self) -> Iterator[Any]:
        return (self._get_one(row) for row in range(len(self)))

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError(
            f"{type(self).__name__} is not a table and cannot become an array. Estimators that "
            "need a table take fingerprints (EAD(pooling='mean')) or embeddings "
            "(Pretrainer.transform); scikit-learn's ensembles and resamplers (BaggingRegressor, "
            '...) take structures as pd.DataFrame({"structure": structures}), with '
            "StructureToGraph in the pipeline that they fit."
        )
