"""Features of crystals from the force field in the package."""

import threading
from functools import lru_cache
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from gnnpre._registry import Registered
from gnnpre.graphs import Crystals, GraphSettings, StructureToGraph, as_crystals
from gnnpre.objectives import ObjectiveModel
from gnnpre.pretrained import shipped_checksum

from ._embedding import embed_middle_and_end
from ._pretrained import read_network

__all__ = ["MODEL", "ForceFieldFeatures"]

#: The model, whose checksum files state.
MODEL = "gnnpre-1-forces"
# Crystals whose graphs are in memory together.
BLOCK = 1024
LOCK = threading.Lock()


@lru_cache(maxsize=1)
def _load_model(checksum: str) -> tuple[ObjectiveModel, GraphSettings]:
    """Return the network of the force field; of other weights than the caller's, an error."""
    shipped = shipped_checksum(MODEL)
    if checksum != shipped:
        raise ValueError(
            f"This model was fitted with other weights of {MODEL} than those of the installed "
            f"gnnpre (checksums {checksum[:12]} and {shipped[:12]}). Install the version of gnnpre "
            "that it was saved with, or fit it again."
        )
    network = read_network(MODEL)
    return network.net.module_, network.record.graph_settings


class ForceFieldFeatures(Registered, TransformerMixin, BaseEstimator):
    """Describe crystals by embeddings of gnnpre-1-forces, which has learnt forces and stress.

    They are the first three cumulants of the features of atoms, after the middle layer and after
    the last one.

    Parameters
    ----------
    checksum : str, optional
        SHA-256 digest of the file of the model, that of the package by default. A file of an
        estimator states it, so that other weights never take the place of those of its fit.
    """

    def __init__(self, checksum: str | None = None) -> None:
        self.checksum = checksum

    def fit(self, X: Any, y: Any = None) -> "ForceFieldFeatures":
        """Do nothing: the model is not trained."""
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return one row for each crystal, ``(n, 6 C)``."""
        with LOCK:
            model, settings = _load_model(self.checksum or shipped_checksum(MODEL))
        graphs = StructureToGraph(**settings.to_dict())
        return np.concatenate(
            [_features(model, graphs, block) for block in as_crystals(X).split(BLOCK)]
        )


def _features(model: ObjectiveModel, graphs: StructureToGraph, crystals: Crystals) -> np.ndarray:
    return np.hstack(embed_middle_and_end(model, graphs.transform(crystals)))
