"""Search spaces for the estimators of this package."""

from collections.abc import Iterator, Mapping
from typing import Any

from sklearn.frozen import FrozenEstimator

from gnnpre.backbones import CGCNN
from gnnpre.estimators import Pretrainer, PropertyClassifier, PropertyRegressor
from gnnpre.fingerprints import EAD, GMP, WACSF
from gnnpre.graphs import StructureToGraph
from gnnpre.objectives import ForceField

from ._space import draw

__all__ = ["suggest_params"]

FINGERPRINTS = (WACSF, EAD, GMP)
SUPERVISED = (PropertyRegressor, PropertyClassifier)
# Poolings of a fingerprint that a search may exchange: a sum grows with the crystal.
POOLINGS = ("mean", "cumulants")


def suggest_params(estimator: Any, trial: Any, prefix: str = "") -> dict[str, Any]:
    """Suggest parameters of an estimator of this package, or of a pipeline with some.

    The ranges of a backbone or an objective are those of its method ``search_space``, your own
    classes included. Suggested are further the cutoff of ``StructureToGraph``; learning rate,
    batch size and weight decay of ``Pretrainer``, ``PropertyRegressor`` and
    ``PropertyClassifier``, and how a pre-trained backbone is trained; degrees, cutoffs and pooling
    of fingerprints.

    Parameters
    ----------
    estimator : estimator
        An estimator, backbone, objective or fingerprint, or a ``Pipeline``,
        ``TransformedTargetRegressor`` or the like that contains some. Parameters without a range
        keep their values.
    trial : optuna.Trial
        The trial that draws the values, under the names that are returned.
    prefix : str
        In front of all names, such as ``"regressor__"`` for an estimator within another.

    Returns
    -------
    dict of str to object
        Parameters for ``set_params``. A backbone or objective that is None becomes ``CGCNN()`` or
        ``ForceField()``, the defaults, for its parameters to be set.

    Raises
    ------
    ValueError
        If no part of the estimator has a search space.
    TypeError
        If `trial` is not a trial, or `prefix` is not a string.

    See Also
    --------
    PruningSearchCV : Takes ``lambda trial: suggest_params(pipeline, trial)``.

    Notes
    -----
    Not suggested are the backbone and the cutoff of a pre-trained model; parameters that are a
    matter of physics or of the papers' form (pooling of properties, envelopes); ``max_epochs``,
    which decides how long a training takes; and ``loss`` and ``standardize``, which would change
    the meaning of the losses. Weights of 0 stay 0.

    The score of a ``Pretrainer`` is a loss that scales with the weights in its objective: where it
    is tuned itself, choose a ``scoring`` (and a ``monitor``) of one part of the loss. As the
    ``pretraining`` of a ``PropertyRegressor`` it is judged by the property.

    Examples
    --------
    >>> from optuna.trial import FixedTrial
    >>> from gnnpre import CGCNN
    >>> from gnnpre.model_selection import suggest_params
    >>> suggest_params(CGCNN(), FixedTrial({"hidden_channels": 32, "n_layers": 2}))
    {'hidden_channels': 32, 'n_layers': 2}
    >>> trial = FixedTrial({"net__hidden_channels": 64, "net__n_layers": 3})
    >>> sorted(suggest_params(CGCNN(), trial, prefix="net__"))
    ['net__hidden_channels', 'net__n_layers']
    """
    if not hasattr(trial, "suggest_float"):
        raise TypeError(f"trial is of type {type(trial).__name__}; expected a trial of Optuna.")
    if not isinstance(prefix, str):
        raise TypeError(f"prefix={prefix!r}; expected a text, such as 'propertyregressor__'.")
    components = dict(_components(estimator))
    defaults = dict(_defaults(components))
    # The graphs of a pre-trained model decide the cutoff.
    has_fixed_graphs = any(
        getattr(component, "pretrained", None) is not None for component in components.values()
    )
    params = {f"{prefix}{name}": component for name, component in defaults.items()}
    for name, component in {**components, **defaults}.items():
        if has_fixed_graphs and isinstance(component, StructureToGraph):
            continue
        start = prefix + (f"{name}__" if name else "")
        for key, distribution in _space_of(component).items():
            params[start + key] = _value(component, key, draw(trial, start + key, distribution))
    if not params and not has_fixed_graphs:
        raise ValueError(
            f"estimator is {estimator!r}, which holds nothing with a search space; expected an "
            "estimator, backbone, objective or fingerprint of gnnpre, or a pipeline with one."
        )
    return params


def _components(estimator: Any) -> Iterator[tuple[str, Any]]:
    """Yield an estimator and all estimators within it by name, except frozen ones."""
    yield "", estimator
    params = estimator.get_params() if hasattr(estimator, "get_params") else {}
    frozen = [name for name, value in params.items() if isinstance(value, FrozenEstimator)]
    for name, value in params.items():
        is_frozen = any(name.startswith(f"{outer}__") for outer in frozen)
        if hasattr(value, "get_params") and not isinstance(value, type) and not is_frozen:
            yield name, value


def _defaults(components: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the default of each backbone or objective that is None."""
    for name, component in components.items():
        start = f"{name}__" if name else ""
        has_backbone = isinstance(component, (Pretrainer, *SUPERVISED))
        if has_backbone and component.backbone is None and not _is_transfer(component):
            yield f"{start}backbone", CGCNN()
        if isinstance(component, Pretrainer) and component.objective is None:
            yield f"{start}objective", ForceField()


def _is_transfer(component: Any) -> bool:
    starts = (getattr(component, name, None) for name in ("pretrained", "pretraining"))
    return any(start is not None for start in starts)


def _space_of(component: Any) -> dict[str, Any]:
    """Return the search space of one object, from parameter name to distribution."""
    if hasattr(component, "search_space"):
        return dict(component.search_space())
    if isinstance(component, StructureToGraph):
        return {"cutoff": _cutoff()}
    if isinstance(component, FINGERPRINTS):
        return _fingerprint_space(component)
    if isinstance(component, (Pretrainer, *SUPERVISED)):
        return _training_space(component)
    return {}


def _cutoff() -> Any:
    from optuna.distributions import FloatDistribution

    return FloatDistribution(4.5, 8.0, step=0.5)


def _fingerprint_space(fingerprint: Any) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, IntDistribution

    spaces: dict[type, dict[str, Any]] = {
        WACSF: {"cutoff": _cutoff()},
        EAD: {"cutoff": _cutoff(), "L": IntDistribution(1, 3)},
        GMP: {"orders": IntDistribution(1, 4), "square": CategoricalDistribution((False, True))},
    }
    space = next(space for cls, space in spaces.items() if isinstance(fingerprint, cls))
    if fingerprint.pooling in POOLINGS:
        space["pooling"] = CategoricalDistribution(POOLINGS)
    return space


def _value(component: Any, key: str, drawn: Any) -> Any:
    """Return the parameter of a drawn value; orders of multipoles go from -1 up to it."""
    if isinstance(component, GMP) and key == "orders":
        return tuple(range(-1, drawn + 1))
    return drawn


def _training_space(estimator: Any) -> dict[str, Any]:
    """Return the space of an estimator that trains a network, or fine-tunes one."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    space: dict[str, Any] = {
        "learning_rate": FloatDistribution(3e-4, 1e-2, log=True),
        "batch_size": CategoricalDistribution((8, 16, 32, 64)),
        "weight_decay": FloatDistribution(1e-4, 0.3, log=True),
    }
    if isinstance(estimator, Pretrainer):
        return space
    if estimator.strategy == "kernel":  # trains no network, and tunes its machine by itself
        return {}
    space["head_layers"] = IntDistribution(1, 2)
    if _is_transfer(estimator):
        space["learning_rate"] = FloatDistribution(1e-4, 5e-3, log=True)
        if estimator.strategy != "head":  # no rate for weights that do not move
            space["backbone_lr_scale"] = FloatDistribution(0.03, 1.0, log=True)
        if estimator.strategy == "full":
            strategies = ("full", "frozen_then_full", "layerwise")
            space["strategy"] = CategoricalDistribution(strategies)
    return space
