"""Search spaces for the estimators of this package."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sklearn.frozen import FrozenEstimator

from gnnpre.backbones import CGCNN, Backbone
from gnnpre.estimators import Pretrainer, PropertyClassifier, PropertyRegressor
from gnnpre.fingerprints import EAD, GMP, WACSF
from gnnpre.graphs import StructureToGraph
from gnnpre.objectives import ForceField, Objective

__all__ = ["suggest_params"]


class _Real(NamedTuple):
    low: float
    high: float
    log: bool = False
    step: float | None = None

    def draw(self, trial: Any, name: str) -> float:
        value: float = trial.suggest_float(name, self.low, self.high, log=self.log, step=self.step)
        return value


class _Whole(NamedTuple):
    low: int
    high: int

    def draw(self, trial: Any, name: str) -> int:
        value: int = trial.suggest_int(name, self.low, self.high)
        return value


class _Choice(NamedTuple):
    options: tuple[Any, ...]

    def draw(self, trial: Any, name: str) -> Any:
        return trial.suggest_categorical(name, self.options)


class _Distribution(NamedTuple):
    """An Optuna distribution, as ``search_space`` of a config returns it."""

    distribution: Any

    def draw(self, trial: Any, name: str) -> Any:
        from optuna.distributions import CategoricalDistribution, FloatDistribution

        space = self.distribution
        if isinstance(space, CategoricalDistribution):
            return trial.suggest_categorical(name, space.choices)
        suggest = trial.suggest_float if isinstance(space, FloatDistribution) else trial.suggest_int
        return suggest(name, space.low, space.high, log=space.log, step=space.step)


class _Orders(NamedTuple):
    """Orders of multipoles from -1 up to one that is drawn."""

    low: int
    high: int

    def draw(self, trial: Any, name: str) -> tuple[int, ...]:
        return tuple(range(-1, trial.suggest_int(name, self.low, self.high) + 1))


Space = _Real | _Whole | _Choice | _Orders | _Distribution

CUTOFF = _Real(4.5, 8.0, step=0.5)
STRATEGY = _Choice(("full", "frozen_then_full", "layerwise"))
TRAINING: dict[str, Space] = {
    "learning_rate": _Real(3e-4, 1e-2, log=True),
    "batch_size": _Choice((8, 16, 32, 64)),
    "weight_decay": _Real(1e-4, 0.3, log=True),
}
FINE_TUNING: dict[str, Space] = {
    "learning_rate": _Real(1e-4, 5e-3, log=True),
    "backbone_lr_scale": _Real(0.03, 1.0, log=True),
}
SPACES: dict[type, dict[str, Space]] = {
    StructureToGraph: {"cutoff": CUTOFF},
    Pretrainer: TRAINING,
    PropertyRegressor: {**TRAINING, "head_layers": _Whole(1, 2)},
    PropertyClassifier: {**TRAINING, "head_layers": _Whole(1, 2)},
    WACSF: {"cutoff": CUTOFF},
    EAD: {"cutoff": CUTOFF, "L": _Whole(1, 3)},
    GMP: {"orders": _Orders(1, 4), "square": _Choice((False, True))},
}
FINGERPRINTS = (WACSF, EAD, GMP)
SUPERVISED = (PropertyRegressor, PropertyClassifier)


def suggest_params(estimator: Any, trial: Any, prefix: str = "") -> dict[str, Any]:
    """Suggest parameters of an estimator of this package, or of a pipeline with some.

    What it suggests: the cutoff of ``StructureToGraph``; widths and depths of backbones; learning
    rate, batch size and weight decay of ``Pretrainer``, ``PropertyRegressor`` and
    ``PropertyClassifier``, and how a pre-trained backbone is trained; the weights of objectives and
    of the parts of a ``Mixture``, the noise of ``Denoising``; degrees, cutoffs and pooling of
    fingerprints.

    Parameters
    ----------
    estimator : estimator
        An estimator, backbone, objective or fingerprint, or what holds some: a ``Pipeline``,
        ``TransformedTargetRegressor`` and the like. Its other parameters stay as they are.
    trial : optuna.Trial
        What draws the values, under the names that are returned.
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
        If there is nothing in it that has a search space.

    See Also
    --------
    PruningSearchCV : Takes ``lambda trial: suggest_params(pipeline, trial)``.

    Notes
    -----
    What a pre-trained model decides is left alone: its backbone and the cutoff of its graphs. So is
    what is a matter of physics or of the papers' form (pooling of properties, envelopes), what
    decides how long a training takes (``max_epochs``), and what would change the meaning of its
    losses (``loss``, ``standardize``). Weights of 0 stay 0, and energies have the weight they have.

    The score of a ``Pretrainer`` is a loss that scales with the weights in its objective: where it
    is itself what is tuned, give the search a ``scoring`` (and a ``monitor``) of one part. As the
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
    parts = dict(_parts(estimator))
    defaults = dict(_defaults(parts))
    fixed_graphs = any(getattr(part, "pretrained", None) is not None for part in parts.values())
    params = {f"{prefix}{name}": part for name, part in defaults.items()}
    for name, part in {**parts, **defaults}.items():
        start = prefix + (f"{name}__" if name else "")
        if not (fixed_graphs and isinstance(part, StructureToGraph)):
            spaces = _spaces(part)
            params |= {start + key: s.draw(trial, start + key) for key, s in spaces.items()}
    if not params and not fixed_graphs:
        raise ValueError(
            f"estimator is {estimator!r}, which holds nothing with a search space; expected an "
            "estimator, backbone, objective or fingerprint of gnnpre, or a pipeline with one."
        )
    return params


def _parts(estimator: Any) -> Iterator[tuple[str, Any]]:
    """Give an estimator and all within it by name, but nothing that is frozen."""
    yield "", estimator
    params = estimator.get_params() if hasattr(estimator, "get_params") else {}
    frozen = [name for name, value in params.items() if isinstance(value, FrozenEstimator)]
    for name, value in params.items():
        inside = any(name.startswith(f"{outer}__") for outer in frozen)
        if hasattr(value, "get_params") and not isinstance(value, type) and not inside:
            yield name, value


def _defaults(parts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Give what estimators take where they are given None."""
    for name, part in parts.items():
        start = f"{name}__" if name else ""
        is_ours = isinstance(part, (Pretrainer, *SUPERVISED))
        if is_ours and part.backbone is None and not _is_transfer(part):
            yield f"{start}backbone", CGCNN()
        if isinstance(part, Pretrainer) and part.objective is None:
            yield f"{start}objective", ForceField()


def _is_transfer(part: Any) -> bool:
    starts = (getattr(part, name, None) for name in ("pretrained", "pretraining"))
    return any(start is not None for start in starts)


def _spaces(part: Any) -> dict[str, Space]:
    """Give the search space of one object, as it is set up."""
    spaces = dict(next((s for kind, s in SPACES.items() if isinstance(part, kind)), {}))
    if isinstance(part, SUPERVISED) and _is_transfer(part):
        spaces |= FINE_TUNING
        if part.strategy == "full":
            spaces["strategy"] = STRATEGY
        if part.strategy == "head":  # no rate for what does not move
            del spaces["backbone_lr_scale"]
    if isinstance(part, (Backbone, Objective)):
        spaces |= {key: _Distribution(space) for key, space in part.search_space().items()}
    if isinstance(part, FINGERPRINTS) and part.pooling in ("mean", "cumulants"):
        spaces["pooling"] = _Choice(("mean", "cumulants"))
    return spaces
