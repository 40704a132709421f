"""Base classes of transformers from crystals that learn nothing from them."""

from abc import abstractmethod
from typing import Any

import numpy as np
from sklearn.utils.metaestimators import available_if

from ._tables import IndexedTransformerMixin

__all__ = ["POOLINGS", "PoolingTransformer", "StatelessTransformerMixin"]

#: Values of the parameter ``pooling``.
POOLINGS = (None, "mean", "sum", "cumulants")
CUMULANTS = ("cumulant1", "cumulant2", "cumulant3")


class StatelessTransformerMixin:
    """Mixin of transformers that take crystals instead of arrays, and need no ``fit``."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = False
        return tags


def _is_pooled(transformer: Any) -> bool:
    return transformer.pooling is not None


class PoolingTransformer(StatelessTransformerMixin, IndexedTransformerMixin):
    """Base class of transformers to features of atoms, which ``pooling`` reduces to a table.

    Only a table has named columns and can be a pandas or polars table: features of atoms are a
    list of arrays, one for each crystal.
    """

    pooling: str | None

    @abstractmethod
    def atom_feature_names(self) -> list[str]:
        """Return the names of the features of an atom.

        Returns
        -------
        list of str of length D
            The names.
        """

    @available_if(_is_pooled)
    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns of pooled features.

        Parameters
        ----------
        input_features : object, optional
            Ignored: crystals have no columns.

        Returns
        -------
        ndarray of str
            The pooling and the name of the feature of an atom, such as ``"mean_ead_l0_eta4_rs2"``
            or ``"mean_chgnet_layer4_0"``.
        """
        names = self.atom_feature_names()
        poolings = CUMULANTS if self.pooling == "cumulants" else (self.pooling,)
        return np.array([f"{pooling}_{n}" for pooling in poolings for n in names], dtype=object)

    def set_output(self, *, transform: str | None = None) -> Any:
        """Set the container of pooled features; those of atoms stay a list of arrays.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, optional
            The container; None leaves it unchanged.

        Returns
        -------
        estimator instance
            This transformer.
        """
        # scikit-learn defines it only for transformers with feature names, but pipelines call it on
        # every step.
        if _is_pooled(self):
            super().set_output(transform=transform)
        return self
