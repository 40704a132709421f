"""Fine-tuning from top to bottom: the path of X and y through ``PropertyRegressor.fit``."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from gnnpre._warnings import TrainingWarning, warn_user
from gnnpre.objectives import Objective, ObjectiveModel, PropertyTargets

from ._blended_fit import BlendedFit, fit_blend, resolve_strategy
from ._blended_head import BlendedHead
from ._diagnosis import diagnose, warn_of_failure
from ._finetuning_settings import FineTuningSettings
from ._fit_data import FitData, prepare_data
from ._kernel_head import KernelHead
from ._network import FitInterrupted, Task, TrainedNetwork, train_network
from ._pretrained import read_pretrained
from ._settings import draw_seed, prepare_model
from ._starts import FromPretrained, FromScratch, PretrainedWithinFit, Start, WithReplay
from ._uncertainty import calibrate

__all__ = ["FineTuned", "choose_start", "finetune"]


@dataclass(frozen=True)
class FineTuned:
    """Result of :func:`finetune`."""

    network: TrainedNetwork
    transferred: list[str]
    diagnosis: dict[str, Any]
    uncertainty: dict[str, Any]
    kernel: KernelHead | BlendedHead | None = None


def finetune(
    settings: FineTuningSettings,
    X: Any,
    y: Any,
    objective: Objective,
    groups: Any = None,
    sample_weight: Any = None,
    classes: Any = None,
) -> FineTuned:
    """Learn labels of crystals, from scratch or from a pre-trained backbone.

    Parameters
    ----------
    settings : FineTuningSettings
        Parameters of the estimator.
    X : CrystalGraphs of shape (n,), or n structures
        The crystals.
    y : ndarray of shape (n,) or (n, k)
        Their labels.
    objective : PropertyTargets or ClassTargets
        How labels are learnt.
    groups : array-like of shape (n,), optional
        Groups that splits keep together.
    sample_weight : array-like of shape (n,), optional
        Weights of the crystals.
    classes : ndarray, optional
        Labels of the classes that ``y`` has the codes of, for the scorers of ``epoch_scoring``.

    Returns
    -------
    FineTuned
        The network, its diagnosis and its uncertainty.
    """
    # 1. Check every setting before any work is done.
    settings.check()
    objective.check_parameters()
    training = settings.training
    seed = draw_seed(settings.random_state, training.resume, training.n_processes)

    # 2. Decide where the weights start; this reads the file of a pre-trained model.
    start = choose_start(settings)

    # 3. Build graphs and targets, and split crystals into training, validation and calibration.
    data = prepare_data(settings, start.pretrained, X, y, objective, groups, sample_weight, seed)
    strategy = resolve_strategy(settings, objective, data)
    # To the network a blend is a full training like any other, which it also resumes.
    training = replace(training, strategy="full" if strategy == "blended" else strategy)

    # 4. Pre-train within this fit, or read frames to replay, where the start asks for it.
    start = start.within_fit(data)

    # 5. Train.
    task = _with_labels(start.make_task(data, objective), y, objective)
    callbacks = settings.with_scores(objective, data.rows.valid, classes)
    loading = _Loading(start)
    prepare = prepare_model(settings.embedding_layer, loading)
    try:
        trained = train_network(task, training, seed, callbacks=callbacks, prepare=prepare)
    except FitInterrupted as interrupt:
        interrupt.network = start.property_network(
            interrupt.network, objective, data.targets, training
        )
        raise
    network = start.property_network(trained, objective, data.targets, training)
    source = start.pretrained
    if source is None:
        return FineTuned(network, [], {}, _uncertainty(network, data))

    # 6. Fit a kernel machine to the network as it was before, and share the predictions.
    blend: BlendedFit | None = None
    if strategy == "blended":
        blend = fit_blend(settings, source, network, loading.initial, data)

    # 7. Diagnose: was the pre-trained model worth its training?
    _warn_of_transfer(settings.transfer, loading.transferred)
    diagnosis: dict[str, Any] = {}
    if settings.diagnose:
        errors = None if blend is None else blend.errors
        diagnosis = diagnose(network, loading.initial, data, errors)
        warn_of_failure(diagnosis, len(network.net.history))

    # 8. Calibrate uncertainties on the crystals that were held out.
    uncertainty = _uncertainty(network, data, blend)
    head = None if blend is None else blend.head
    return FineTuned(network, loading.transferred, diagnosis, uncertainty, head)


def _uncertainty(
    network: TrainedNetwork, data: FitData, blend: BlendedFit | None = None
) -> dict[str, Any]:
    """Return the entries of ``uncertainty_``; none if no crystal was held out."""
    if not len(data.rows.calibration):
        return {}
    return calibrate(network, data) if blend is None else blend.calibrate(network, data)


def _with_labels(task: Task, y: Any, objective: Objective) -> Task:
    """Return a task with the labels that the user's callbacks see."""
    if len(task.graphs) != len(y):  # frames to replay have no such labels
        return task
    # In the shape of the net's predictions: (n, 1) minus (n,) would be (n, n).
    shape = (len(y), -1) if isinstance(objective, PropertyTargets) else np.shape(y)
    return replace(task, labels=np.reshape(y, shape))


class _Loading:
    """Callable that loads the weights of a start into a new model, and keeps names and values.

    Attributes
    ----------
    transferred : list of str
        Names of the weights that were copied from a pre-trained model.
    initial : dict of str to Tensor
        All weights before the first step, if there is a pre-trained model.
    """

    def __init__(self, start: Start) -> None:
        self.start = start
        self.transferred: list[str] = []
        self.initial: dict[str, Tensor] = {}

    def __call__(self, model: ObjectiveModel) -> None:
        if self.start.pretrained is not None:
            self.transferred = self.start.load_into(model)
            self.initial = self.start.initial_weights(model)


def choose_start(settings: FineTuningSettings) -> Start:
    """Return where the weights start.

    Parameters
    ----------
    settings : FineTuningSettings
        Parameters of the estimator.

    Returns
    -------
    Start
        The start; the file of a pre-trained model has been read.
    """
    source: FromPretrained | PretrainedWithinFit
    if settings.pretrained is not None:
        source = FromPretrained(read_pretrained(settings.pretrained), settings.transfer)
    elif settings.pretraining is not None:
        source = PretrainedWithinFit(settings.pretraining, settings.transfer)
    else:
        return FromScratch(settings.backbone)
    if settings.strategy == "replay":
        return WithReplay(source, settings.replay, settings.replay_weight, settings.replay_ratio)
    return source


def _warn_of_transfer(transfer: str, transferred: list[str]) -> None:
    if transfer == "matching" and not any(name.startswith("head.") for name in transferred):
        warn_user(
            "transfer='matching', but no weight of the pre-trained readout has the shape of "
            "this one: only the backbone was transferred. head_channels, head_layers and the "
            "number of outputs decide the shapes.",
            TrainingWarning,
        )
