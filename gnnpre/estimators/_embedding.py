"""Embeddings of crystals: the features of their atoms after a layer of the backbone, pooled."""

from itertools import islice
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnpre._validation import check_choice
from gnnpre.backbones import BackboneModule, pool
from gnnpre.graphs import CrystalBatch, CrystalGraphs
from gnnpre.objectives import ObjectiveModel
from gnnpre.training import predict_batches

__all__ = [
    "EMBEDDING_POOLINGS",
    "check_embedding",
    "check_layer",
    "embed_graphs",
    "embed_middle_and_end",
    "embedding_names",
    "layer_scalars",
]

EMBEDDING_POOLINGS = ("mean", "sum", "max", "cumulants")
CUMULANTS = ("cumulant1", "cumulant2", "cumulant3")


def embed_graphs(
    model: ObjectiveModel,
    graphs: CrystalGraphs,
    layer: int = -1,
    pooling: str | None = "mean",
    rows: np.ndarray | None = None,
) -> Any:
    """Return the features after a layer: pooled ``(n, C)``, or a list of arrays of the atoms.

    Parameters
    ----------
    model : ObjectiveModel
        The trained model.
    graphs : CrystalGraphs
        The crystals.
    layer : int
        The layer, -1 for the final features.
    pooling : str or None
        Pooling over atoms, None for the features of atoms.
    rows : ndarray of int, optional
        Crystals to embed; all by default.

    Returns
    -------
    ndarray of shape (n, C) or (n, 3 C), or list of ndarray of shape (n_atoms, C)
        The embeddings.
    """

    def features(batch: CrystalBatch) -> dict[str, Tensor]:
        with torch.no_grad():
            scalars = layer_scalars(model.backbone, batch, layer)
            return {"scalars": scalars if pooling is None else pool(scalars, batch, pooling)}

    batches = predict_batches(model, graphs, features, rows)
    table = np.concatenate([batch["scalars"] for batch in batches])
    if pooling is not None:
        return table
    counts = graphs.atom_counts if rows is None else graphs.atom_counts[rows]
    return np.split(table, np.cumsum(counts)[:-1])


def embed_middle_and_end(
    model: ObjectiveModel, graphs: CrystalGraphs, rows: np.ndarray | None = None
) -> list[np.ndarray]:
    """Return cumulants of the features after the middle layer and of the final ones.

    Parameters
    ----------
    model : ObjectiveModel
        The model.
    graphs : CrystalGraphs
        The crystals.
    rows : ndarray of int, optional
        Crystals to embed; all by default.

    Returns
    -------
    list of ndarray of shape (n, 3 C)
        The embeddings, in float64; only the final ones of a backbone without single layers.
    """
    backbone = model.backbone
    has_layers = type(backbone).layer_features is not BackboneModule.layer_features
    middle = (backbone.n_layers + 1) // 2
    layers = [middle, -1] if has_layers and middle < backbone.n_layers else [-1]
    return [
        embed_graphs(model, graphs, layer, "cumulants", rows).astype(np.float64) for layer in layers
    ]


def check_embedding(layer: Any, pooling: Any) -> None:
    """Check ``embedding_layer`` and ``embedding_pooling`` as far as no backbone is needed."""
    check_choice("embedding_pooling", pooling, EMBEDDING_POOLINGS)
    if isinstance(layer, bool) or not isinstance(layer, (int, np.integer)) or layer < -1:
        raise ValueError(
            f"embedding_layer={layer!r}; expected an int from -1 to the number of layers."
        )


def check_layer(layer: Any, backbone: BackboneModule, name: str = "layer") -> None:
    """Raise ValueError unless :func:`layer_scalars` can return the features of ``layer``."""
    n_layers = backbone.n_layers
    # A subclass of BackboneModule may implement `forward` alone.
    if type(backbone).layer_features is BackboneModule.layer_features:
        n_layers = -1
    is_integer = isinstance(layer, Integral) and not isinstance(layer, bool)
    if not is_integer or layer not in range(-1, n_layers + 1):
        expected = f"an int from -1 to {n_layers}: 0 is before the first layer, -1 the last one."
        if n_layers < 0:
            expected = (
                f"-1: {type(backbone).__name__} has no layer_features(batch), which yields the "
                "features of single layers."
            )
        raise ValueError(f"{name}={layer!r}; expected {expected}")


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


def embedding_names(prefix: str, channels: int, pooling: str) -> np.ndarray:
    """Return the names of the columns of an embedding, ``cgcnn0`` or ``cumulant2_cgcnn0``."""
    names = [f"{prefix}{channel}" for channel in range(channels)]
    if pooling == "cumulants":
        names = [f"{cumulant}_{name}" for cumulant in CUMULANTS for name in names]
    return np.array(names, dtype=object)
