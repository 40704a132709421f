"""Fine-tuning from top to bottom: the path of X and y through ``PropertyRegressor.fit``."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from gnnpre._labels import label_codes
from gnnpre._warnings import TrainingWarning, warn_user
from gnnpre.graphs import CrystalGraphs
from gnnpre.objectives import Objective, ObjectiveModel, PropertyTargets, Targets

from ._blended_fit import BlendedFit, fit_blend, resolve_strategy
from ._blended_head import BlendedHead
from ._diagnosis import diagnose, warn_of_failure
from ._elements import UnseenElements
from ._finetuning_settings import FineTuningSettings
from ._inputs import add_sample_weight, as_graphs, warn_of_isolated_atoms
from ._kernel_head import KernelHead
from ._network import FitInterrupted, Task, TrainedNetwork, split_rows, train_network
from ._pretrained import read_pretrained
from ._settings import draw_seed, prepare_model
from ._size_check import warn_of_extensive_targets
from ._starts import FromPretrained, FromScratch, PretrainedWithinFit, Rows, Start, WithReplay
from ._uncertainty import calibrate

__all__ = ["FineTuned", "choose_start", "finetune", "split_fit", "used_graphs"]


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

    # 3. Build graphs, as those of the pre-trained model were built.
    graphs = used_graphs(X, start)

    # 4. Build targets.
    targets = add_sample_weight(objective.make_targets(graphs, y), sample_weight)

    # 5. Split into training, validation and calibration by index arrays: no graph is copied.
    codes = None if groups is None else label_codes("groups", groups, n_rows=len(graphs))
    rows = split_fit(settings, targets, codes, seed)
    warn_of_extensive_targets(objective, graphs, targets, rows.used)

    strategy = resolve_strategy(settings, objective, graphs, targets, rows)
    # To the network a blend is a full training like any other, which it also resumes.
    training = replace(training, strategy="full" if strategy == "blended" else strategy)

    # 6. Pre-train within this fit, or read frames to replay, where the start asks for it.
    start = start.within_fit(graphs, rows, codes, seed)

    # 7. Train.
    task = _with_labels(start.make_task(graphs, targets, rows, objective), y, objective)
    callbacks = settings.with_scores(objective, rows.valid, classes)
    prepare = _Preparation(start)
    try:
        network = train_network(
            task,
            training,
            seed,
            callbacks=callbacks,
            prepare=prepare_model(settings.embedding_layer, prepare),
        )
    except FitInterrupted as interrupt:
        interrupt.network = start.property_network(interrupt.network, objective, targets, training)
        raise
    network = start.property_network(network, objective, targets, training)
    transferred, initial = prepare.transferred, prepare.initial

    # 8. Fit a kernel machine to the network as it was before, and share the predictions.
    blend: BlendedFit | None = None
    if strategy == "blended" and start.pretrained is not None:
        source = start.pretrained
        blend = fit_blend(settings, source, network, initial, graphs, targets, rows, codes, seed)

    # 9. Diagnose: was the pre-trained model worth its training?
    diagnosis: dict[str, Any] = {}
    if start.pretrained is not None:
        network = network.with_elements(start.pretrained.elements)
        _warn_of_transfer(settings.transfer, transferred)
        if settings.diagnose:
            diagnosis = diagnose(network, initial, graphs, targets, rows.train, rows.valid)
            diagnosis |= {} if blend is None else blend.errors
            warn_of_failure(diagnosis, len(network.net.history))

    # 10. Calibrate uncertainties on the crystals that were held out.
    uncertainty: dict[str, Any] = {}
    if len(rows.calibration) and blend is not None:
        uncertainty = blend.calibrate(network, graphs, targets, rows.calibration)
    elif len(rows.calibration):
        uncertainty = calibrate(network, graphs, targets, rows.train, rows.calibration)
    head = None if blend is None else blend.head
    return FineTuned(network, transferred, diagnosis, uncertainty, head)


def _with_labels(task: Task, y: Any, objective: Objective) -> Task:
    """Return a task with the labels that the user's callbacks see."""
    if len(task.graphs) != len(y):  # frames to replay have no such labels
        return task
    # In the shape of the net's predictions: (n, 1) minus (n,) would be (n, n).
    shape = (len(y), -1) if isinstance(objective, PropertyTargets) else np.shape(y)
    return replace(task, labels=np.reshape(y, shape))


class _Preparation:
    """Load the weights of a start into a fresh model, and keep their names and values.

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


def used_graphs(X: Any, start: Start) -> CrystalGraphs:
    """Return X as graphs that the start's model can read, and warn of elements new to it.

    Parameters
    ----------
    X : CrystalGraphs of shape (n,), or n structures
        The crystals.
    start : Start
        Where the weights start.

    Returns
    -------
    CrystalGraphs
        The graphs.
    """
    graphs = as_graphs(X, start.graph_settings)
    warn_of_isolated_atoms(graphs)
    if start.pretrained is not None:
        unseen = UnseenElements(start.pretrained.elements)
        unseen.add(graphs)
        unseen.warn_before_training()
    return graphs


def split_fit(
    settings: FineTuningSettings, targets: Targets, groups: np.ndarray | None, seed: int
) -> Rows:
    """Split all crystals into rows for training, validation and calibration.

    Parameters
    ----------
    settings : FineTuningSettings
        Parameters of the estimator.
    targets : Targets
        Targets, with weights where there are some.
    groups : ndarray of int or None
        Groups that stay together.
    seed : int
        Seed of the splits.

    Returns
    -------
    Rows
        The index arrays.

    Raises
    ------
    ValueError
        If a fraction or splitter does not fit, or leaves no crystal of any weight to train on.
    """
    everything = np.arange(len(targets))
    used, calibration = split_rows(
        everything, settings.calibration_fraction, groups, seed + 1, "calibration_fraction"
    )
    weights = targets.crystal.get("sample_weight")
    if weights is not None and not weights.cpu().numpy()[used].any():
        raise ValueError(
            "sample_weight is zero for all crystals that calibration_fraction leaves to train "
            "on. Lower it, or give more crystals a weight."
        )
    train, valid = split_rows(used, settings.validation_fraction, groups, seed)
    return Rows(used, train, valid, calibration)


def _warn_of_transfer(transfer: str, transferred: list[str]) -> None:
    if transfer == "matching" and not any(name.startswith("head.") for name in transferred):
        warn_user(
            "transfer='matching', but no weight of the pre-trained readout has the shape of "
            "this one: only the backbone was transferred. head_channels, head_layers and the "
            "number of outputs decide the shapes.",
            TrainingWarning,
        )
