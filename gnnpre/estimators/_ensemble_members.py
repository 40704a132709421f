"""Members of an ensemble: the default ones, and how each kind is seeded and fitted."""

from collections.abc import Sequence
from time import monotonic
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from gnnpre._warnings import TrainingWarning, warn_user

from ._crystal_kernel import CrystalKernel
from ._ensemble_data import EnsembleData, Fold
from ._property_regressor import PropertyRegressor

__all__ = ["checked_members", "cut_epochs", "default_members", "fit_member", "is_network", "seeded"]


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
        pretrained=pretrained,
        strategy="full",  # the kernel machine on its embeddings is a member of its own
        max_epochs=max_epochs,
        ema_decay=0.99,
        device=device,
        diagnose=False,
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


def checked_members(members: Any) -> list[tuple[str, Any]]:
    """Return the members that the user named, as (name, estimator) pairs.

    Parameters
    ----------
    members : list of (str, estimator)
        The members.

    Returns
    -------
    list of (str, estimator)
        The members.

    Raises
    ------
    TypeError, ValueError
        If they are not pairs, or their names are not all different.
    """
    try:
        pairs = [(str(name), member) for name, member in members]
    except (TypeError, ValueError) as error:
        raise TypeError(f"members={members!r}; expected (name, estimator) pairs.") from error
    # 'blend' is the name of the weighted mean in errors_ and predictions.
    names = [name for name, _ in pairs]
    if not names or len(set(names)) < len(names) or "blend" in names:
        raise ValueError(
            f"members are named {names}; expected one or more different names, and not 'blend'."
        )
    return pairs


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


def fit_member(member: Any, data: EnsembleData) -> Any:
    """Fit a member, with groups and weights where its last step takes them."""
    last = last_step(member)
    prefix = f"{member.steps[-1][0]}__" if isinstance(member, Pipeline) else ""
    parameters = {}
    if data.groups is not None and has_fit_parameter(last, "groups"):
        parameters[f"{prefix}groups"] = data.groups
    weights = data.weights
    if not (weights == weights[0]).all() and has_fit_parameter(last, "sample_weight"):
        parameters[f"{prefix}sample_weight"] = weights
    return member.fit(data.crystals, data.y, **parameters)


def cut_epochs(
    member: Any, max_time: Any, seconds: float, data: EnsembleData, folds: list[Fold]
) -> None:
    """Set as many epochs of a network as there is time for on all folds.

    Parameters
    ----------
    member : estimator
        The network, whose ``max_epochs`` is lowered where it has to be.
    max_time : float or str
        The time of the whole ``fit``, for the warning.
    seconds : float
        Seconds that are left of it.
    data : EnsembleData
        All crystals.
    folds : list of Fold
        The folds.

    Warns
    -----
    TrainingWarning
        If epochs were cut.
    """
    network, started = last_step(member), monotonic()
    # One epoch on one fold takes the time of an epoch, and of its compilation.
    trial = clone(member)
    last_step(trial).set_params(max_epochs=1)
    fit_member(trial, data[folds[0][0]])
    per_epoch = monotonic() - started
    epochs = max(int((seconds - per_epoch) / (len(folds) * per_epoch)), 1)
    if epochs < network.max_epochs:
        warn_user(
            f"max_time={max_time!r} leaves {epochs} of {network.max_epochs} epochs for the "
            "networks.",
            TrainingWarning,
        )
        network.set_params(max_epochs=epochs)
