"""Embeddings of crystals: what a layer of the backbone says of their atoms."""

from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnpre._validation import check_choice
from gnnpre.backbones import BackboneModule, pool
from gnnpre.graphs import CrystalBatch, CrystalGraphs, IndexedTransformerMixin
from gnnpre.training import predict_batches

from ._base import CrystalEstimator

__all__ = ["EMBEDDING_POOLINGS", "EmbeddingMixin"]

EMBEDDING_POOLINGS = ("mean", "sum", "max", "cumulants")
CUMULANTS = ("cumulant1", "cumulant2", "cumulant3")


class EmbeddingMixin(IndexedTransformerMixin, CrystalEstimator):
    """Gives a fitted estimator ``embed``, and ``transform`` as transformers have it.

    Subclasses have the parameters ``embedding_layer`` and ``embedding_pooling``.
    """

    embedding_layer: int
    embedding_pooling: str

    def embed(self, X: Any, *, layer: int = -1, pooling: str | None = "mean") -> Any:
        """Give the features that a layer of the backbone has of crystals, or of their atoms.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals; structures become graphs as those of the training did.
        layer : int
            0 is what the first round of messages starts from, 1 to n_layers what they give; -1 is
            what the backbone ends with.
        pooling : {"mean", "sum", "max", "cumulants"} or None
            Over the atoms: their mean, sum, largest value, or mean, variance and third central
            moment beside each other. None keeps the atoms.

        Returns
        -------
        ndarray of shape (n, C) or (n, 3 C), or list of n ndarray of shape (n_atoms, C)
            The embeddings.

        Raises
        ------
        ValueError
            If there is no such layer or pooling, or the graphs were built with other settings.
        """
        model = self._model()
        if pooling is not None:
            check_choice("pooling", pooling, EMBEDDING_POOLINGS)
        _check_layer(layer, model.backbone)
        parts = [self._embed(part, layer, pooling) for part in self._parts_to_predict(X)]
        return list(chain.from_iterable(parts)) if pooling is None else np.concatenate(parts)

    def _embed(self, graphs: CrystalGraphs, layer: int = -1, pooling: str | None = "mean") -> Any:
        model = self._model()

        def features(batch: CrystalBatch) -> dict[str, Tensor]:
            with torch.no_grad():
                scalars = layer_scalars(model.backbone, batch, layer)
                return {"scalars": scalars if pooling is None else pool(scalars, batch, pooling)}

        parts = predict_batches(model, graphs, features)
        rows = np.concatenate([part["scalars"] for part in parts])
        return np.split(rows, np.cumsum(graphs.atom_counts)[:-1]) if pooling is None else rows

    def transform(self, X: Any) -> np.ndarray:
        """Embed crystals: the features of ``embedding_layer``, pooled by ``embedding_pooling``.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals.

        Returns
        -------
        ndarray of shape (n, C) or (n, 3 C)
            The embeddings; :meth:`embed` also gives those of atoms.

        Raises
        ------
        ValueError
            If there is no such layer or pooling, or the graphs were built with other settings.
        """
        check_choice("embedding_pooling", self.embedding_pooling, EMBEDDING_POOLINGS)
        layer, pooling = self.embedding_layer, self.embedding_pooling
        return np.asarray(self.embed(X, layer=layer, pooling=pooling))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the columns of :meth:`transform`.

        Parameters
        ----------
        input_features : object, optional
            Ignored: crystals have no feature names.

        Returns
        -------
        ndarray of str
            Such as ``"cgcnn0"``, or ``"cumulant2_cgcnn0"``.
        """
        backbone = self._model().backbone
        prefix = type(self.spec_.backbone).__name__.lower()
        names = [f"{prefix}{channel}" for channel in range(backbone.out_channels)]
        if self.embedding_pooling == "cumulants":
            names = [f"{cumulant}_{name}" for cumulant in CUMULANTS for name in names]
        return np.array(names, dtype=object)


def _check_layer(layer: Any, backbone: BackboneModule) -> None:
    """Raise ValueError unless ``layer_scalars`` can return the features of ``layer``."""
    n_layers = backbone.n_layers
    # A subclass of BackboneModule may implement `forward` alone.
    if type(backbone).layer_features is BackboneModule.layer_features:
        n_layers = -1
    if isinstance(layer, bool) or layer not in range(-1, n_layers + 1):
        expected = "-1" if n_layers < 0 else f"an int from -1 to {n_layers}"
        name = type(backbone).__name__
        raise ValueError(
            f"layer={layer!r}; expected {expected}. {name} yields the features of single layers "
            "by layer_features(batch) and counts them by layer_patterns()."
        )


def layer_scalars(backbone: BackboneModule, batch: CrystalBatch, layer: int) -> Tensor:
    """Return the invariant features after a layer: 0 is before the first, -1 the final ones."""
    if layer == -1:
        scalars: Tensor = backbone(batch).scalars
        return scalars
    features = next(islice(backbone.layer_features(batch), layer, None), None)
    if features is None:
        raise ValueError(
            f"layer={layer}: layer_features of {type(backbone).__name__} yields fewer than "
            f"{layer + 1} features, although its layer_patterns() names {backbone.n_layers} layers."
        )
    return features.scalars
