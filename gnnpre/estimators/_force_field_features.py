"""Features of crystals from the force field in the package."""

import threading
from functools import lru_cache
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from gnnpre._devices import resolve_device
from gnnpre._registry import Registered
from gnnpre.graphs import Crystals, StructureToGraph, as_crystals
from gnnpre.objectives import ObjectiveModel
from gnnpre.pretrained import FORCE_FIELD, shipped_checksum

from ._elements import UnseenElements
from ._embedding import embed_middle_and_end
from ._network import ModelRecord
from ._pretrained import read_network

__all__ = ["ForceFieldFeatures"]

# Crystals whose graphs are in memory together.
BLOCK = 1024
LOCK = threading.Lock()


# One entry for each device.
@lru_cache(maxsize=4)
def _load_model(checksum: str, device: str) -> tuple[ObjectiveModel, ModelRecord]:
    """Return the force field on a device; of other weights than the caller's, an error."""
    shipped = shipped_checksum(FORCE_FIELD)
    if checksum != shipped:
        raise ValueError(
            f"This model was fitted with other weights of {FORCE_FIELD} than those of the "
            f"installed gnnpre (checksums {checksum[:12]} and {shipped[:12]}). Install the version "
            "of gnnpre that it was saved with, or fit it again."
        )
    network = read_network(FORCE_FIELD)
    return network.net.module_.to(device), network.record


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

    def check_elements(self, crystals: Crystals) -> None:
        """Warn of elements that the model has never seen, once of each."""
        unseen = UnseenElements(self._load("cpu")[1].elements)
        unseen.add_crystals(crystals)
        unseen.warn_of_features(self, FORCE_FIELD)

    def transform(self, X: Any) -> np.ndarray:
        """Return one row for each crystal, ``(n, 6 C)``."""
        return self.compute(as_crystals(X), resolve_device("auto"))

    def compute(self, crystals: Crystals, device: Any) -> np.ndarray:
        """Return the features of crystals, computed on a device."""
        model, record = self._load(str(device))
        graphs = StructureToGraph(**record.graph_settings.to_dict())
        return np.concatenate([_features(model, graphs, block) for block in crystals.split(BLOCK)])

    def _load(self, device: str) -> tuple[ObjectiveModel, ModelRecord]:
        # Threads share the model; one of them reads it.
        with LOCK:
            return _load_model(self.checksum or shipped_checksum(FORCE_FIELD), device)


def _features(model: ObjectiveModel, graphs: StructureToGraph, crystals: Crystals) -> np.ndarray:
    return np.hstack(embed_middle_and_end(model, graphs.transform(crystals)))
