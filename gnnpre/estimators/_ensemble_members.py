"""The members that an ensemble has by default."""

from pathlib import Path
from typing import Any

from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, make_pipeline

from gnnpre.fingerprints import EAD, Composition

from ._kernel_regressor import KernelRegressor
from ._loading import load_estimator
from ._property_regressor import PropertyRegressor

__all__ = ["default_members"]

# Columns of Composition() are about as many as those of EAD(pooling="cumulants").
CUTOFF = 5.0


def default_members(pretrained: Any, max_epochs: int, device: str) -> list[tuple[str, Any]]:
    """Return named estimators: a network, and kernel machines on embeddings and fingerprints.

    Parameters
    ----------
    pretrained : str, Path, FrozenEstimator or None
        The pre-trained model, as ``PropertyRegressor(pretrained=)`` takes it; without one the
        network learns from scratch, and there is no kernel machine on its embeddings.
    max_epochs : int
        Epochs of the network.
    device : str
        Where the network runs.

    Returns
    -------
    list of (str, estimator)
        The members.
    """
    network = PropertyRegressor(
        pretrained=pretrained, max_epochs=max_epochs, ema_decay=0.99, device=device, diagnose=False
    )
    members: list[tuple[str, Any]] = [("network", network)]
    if pretrained is not None:
        members.append(("embedding", _kernel_machine(_embedding(pretrained))))
    fingerprint = EAD(cutoff=CUTOFF, pooling="cumulants")
    return [*members, ("fingerprint", _kernel_machine(fingerprint))]


def _embedding(pretrained: Any) -> Any:
    """Return a frozen transformer to cumulants of the embeddings of atoms."""
    if isinstance(pretrained, (str, Path)):
        model = load_estimator(pretrained)
        return FrozenEstimator(model.set_params(embedding_pooling="cumulants"))
    return pretrained


def _kernel_machine(features: Any) -> Any:
    """Return a Gaussian process on features of crystals and of their compositions."""
    table = FeatureUnion([("features", features), ("composition", Composition())])
    return make_pipeline(table, KernelRegressor())
