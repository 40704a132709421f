"""Members of an ensemble: the default ones, and how each kind is seeded and fitted."""

from collections.abc import Collection, Sequence
from inspect import Parameter, signature
from time import monotonic
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import has_fit_parameter

from gnnpre._warnings import TrainingWarning, warn_user
from gnnpre.graphs import as_crystals

from ._crystal_kernel import CrystalKernel
from ._ensemble_data import EnsembleData, Fold
from ._named_members import NamedMembersMixin
from ._outlier_check import labels_checked
from ._property_regressor import PropertyRegressor

__all__ = [
    "checked_members",
    "crystals_for",
    "cut_epochs",
    "default_members",
    "fit_member",
    "network_of",
    "seeded",
]


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
    # Without a network, so that it errs in other crystals than the members above.
    tables = [entry for entry in kernel_features if not _is_force_field(entry)]
    return [*members, ("fingerprint", CrystalKernel(tables))] if tables else members


def _is_force_field(entry: Any) -> bool:
    return isinstance(entry, str) and entry == "force_field"


def checked_members(members: Any, parameters: Collection[str]) -> list[tuple[str, Any]]:
    """Return the members that the user named, as (name, estimator) pairs.

    Parameters
    ----------
    members : list of (str, estimator)
        The members.
    parameters : collection of str
        Names of parameters of the ensemble, which no member may have.

    Returns
    -------
    list of (str, estimator)
        The members.

    Raises
    ------
    TypeError, ValueError
        If they are not pairs, or a name repeats or is that of a parameter.
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
    taken = [name for name in names if name in parameters or "__" in name]
    if taken:
        raise ValueError(
            f"members has the name {taken[0]!r}, which set_params would take for a parameter of "
            "the ensemble: choose another name, without two underscores in a row."
        )
    return pairs


def network_of(member: Any) -> PropertyRegressor | None:
    """Return the network at the end of a pipeline or behind a transformed target, if there is one.

    Of a fitted member, it is the fitted network.
    """
    if isinstance(member, Pipeline):
        return network_of(member.steps[-1][1])
    if isinstance(member, TransformedTargetRegressor):
        return network_of(getattr(member, "regressor_", member.regressor))
    is_trained = isinstance(member, PropertyRegressor) and member.strategy != "kernel"
    return member if is_trained else None


def seeded(member: Any, random: np.random.RandomState) -> Any:
    """Set every random_state that is None, so that the ensemble's seed decides all."""
    for name, value in sorted(member.get_params().items()):
        if name.split("__")[-1] == "random_state" and value is None:
            member.set_params(**{name: random.randint(2**31)})
    return member


def fit_member(member: Any, data: EnsembleData) -> Any:
    """Fit a member, with groups and weights where its last step takes them."""
    values: dict[str, Any] = {"groups": data.groups}
    if not (data.weights == data.weights[0]).all():
        values["sample_weight"] = data.weights
    parameters = {}
    for name, value in values.items():
        parameter = None if value is None else fit_parameter(member, name)
        if parameter is not None:
            parameters[parameter] = value
        elif name == "sample_weight":
            warn_user(
                f"The member {member!r} takes no sample_weight: it is fitted as if all crystals "
                "weighed the same.",
                TrainingWarning,
            )
    # Row numbers of a fold are not those of the user's y, which the ensemble has checked.
    with labels_checked():
        return member.fit(crystals_for(member, data.crystals), data.y, **parameters)


def crystals_for(member: Any, crystals: Any) -> Any:
    """Return graphs as they are for networks, and crystals for all else."""
    return crystals if _reads_graphs(member) else as_crystals(crystals)


def _reads_graphs(member: Any) -> bool:
    """Return whether all networks within a member are trained on the graphs that it gets."""
    if isinstance(member, (PropertyRegressor, NamedMembersMixin)):
        return True
    if isinstance(member, Pipeline):  # one that begins with StructureToGraph builds its graphs
        return _reads_graphs(member.steps[0][1])
    # Searches, a regressor with a transformed target, and the estimators of a vote or a stack.
    inner = [getattr(member, name, None) for name in ("regressor", "estimator")]
    inner += [estimator for _, estimator in getattr(member, "estimators", None) or []]
    present = [item for item in inner if hasattr(item, "fit")]
    return bool(present) and all(_reads_graphs(item) for item in present)


def fit_parameter(member: Any, name: str) -> str | None:
    """Return the name under which ``fit`` passes a parameter on, None if nothing takes it."""
    if get_config().get("enable_metadata_routing") and hasattr(member, "get_metadata_routing"):
        routing = get_routing_for_object(member)
        is_asked = routing.consumes("fit", {name})
        return name if is_asked or has_fit_parameter(member, name) else None
    if isinstance(member, Pipeline):
        step, last = member.steps[-1]
        inner = fit_parameter(last, name)
        return None if inner is None else f"{step}__{inner}"
    if has_fit_parameter(member, name) or (name == "groups" and isinstance(member, BaseSearchCV)):
        return name
    # Searches, and a regressor with a transformed target, pass what they get to an estimator.
    inner = getattr(member, "regressor", None) or getattr(member, "estimator", None)
    kinds = [parameter.kind for parameter in signature(member.fit).parameters.values()]
    return fit_parameter(inner, name) if inner and Parameter.VAR_KEYWORD in kinds else None


def cut_epochs(
    member: Any, max_time: Any, seconds: float, data: EnsembleData, folds: list[Fold]
) -> None:
    """Set as many epochs of a network as there is time for on all folds.

    Two epochs on the first fold show how long an epoch takes, and how long all that each training
    does once.

    Parameters
    ----------
    member : estimator
        The network, whose ``max_epochs`` is lowered where it has to be.
    max_time : float or str
        The time of the whole ``fit``, for the warning.
    seconds : float
        Seconds for this network on all folds.
    data : EnsembleData
        All crystals.
    folds : list of Fold
        The folds.

    Warns
    -----
    TrainingWarning
        If epochs were cut.
    """
    network, trial, started = network_of(member), clone(member), monotonic()
    short = network_of(trial)
    if network is None or short is None or network.max_epochs < 2:
        return
    short.set_params(max_epochs=2)
    trained = network_of(fit_member(trial, data[folds[0][0]]))
    history = [] if trained is None else trained.history_
    elapsed = monotonic() - started
    per_epoch = history[-1]["dur"]
    # Graphs, and in the first epoch compilation.
    once = elapsed - len(history) * per_epoch
    epochs = max(int(((seconds - elapsed) / len(folds) - once) / per_epoch), 1)
    if epochs < network.max_epochs:
        warn_user(
            f"max_time={max_time!r} leaves {epochs} of {network.max_epochs} epochs for the "
            "networks.",
            TrainingWarning,
        )
        network.set_params(max_epochs=epochs)
