"""Members of an ensemble: the default ones, and how each kind is seeded and fitted."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from ._crystal_kernel import CrystalKernel
from ._property_regressor import PropertyRegressor

__all__ = ["default_members", "fit_member", "is_network", "last_step", "seeded"]


def default_members(
    pretrained: Any, kernel_features: Sequence[Any], max_epochs: int, device: str
) -> list[tuple[str, Any]]:
    """Return named estimators: a network, and kernel machines on embeddings and fingerprints.

    Parameters
    ----------
    pretrained : str, Path, FrozenEstimator or None
        The pre-trained model, as ``PropertyRegressor(pretrained=)`` takes it; without one the
        network learns from scratch, and there is no kernel machine on its embeddings.
    kernel_features : sequence of str or transformers
        Features of the kernel machines beside the embeddings.
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
        embedding = PropertyRegressor(
            pretrained=pretrained,
            strategy="kernel",
            kernel_features=kernel_features,
            device=device,
        )
        members.append(("embedding", embedding))
    return [*members, ("fingerprint", CrystalKernel(kernel_features))]


def last_step(member: Any) -> Any:
    """Return the estimator at the end of a pipeline, or the estimator itself."""
    return member.steps[-1][1] if isinstance(member, Pipeline) else member


def is_network(member: Any) -> bool:
    """Return whether the epochs of a member can be cut."""
    last = last_step(member)
    return isinstance(last, PropertyRegressor) and last.strategy != "kernel"


def seeded(member: Any, random: np.random.RandomState) -> Any:
    """Set every random_state that is None, so that the ensemble's seed decides all."""
    for name, value in sorted(member.get_params().items()):
        if name.split("__")[-1] == "random_state" and value is None:
            member.set_params(**{name: random.randint(2**31)})
    return member


def fit_member(member: Any, X: Any, y: np.ndarray, groups: Any, weights: np.ndarray) -> Any:
    """Fit a member, with groups and weights where its last step takes them."""
    last = last_step(member)
    prefix = f"{member.steps[-1][0]}__" if isinstance(member, Pipeline) else ""
    parameters = {}
    if groups is not None and has_fit_parameter(last, "groups"):
        parameters[f"{prefix}groups"] = groups
    if not (weights == weights[0]).all() and has_fit_parameter(last, "sample_weight"):
        parameters[f"{prefix}sample_weight"] = weights
    return member.fit(X, y, **parameters)
