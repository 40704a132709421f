"""``strategy="kernel"``: a frozen pre-trained backbone with a kernel machine on its embeddings."""

from dataclasses import replace
from typing import Any

import numpy as np

from gnnpre.objectives import (
    ClassTargets,
    Objective,
    ObjectiveModel,
    PropertyTargets,
)
from gnnpre.training import CrystalDataset, hold_pretrained

from ._embedding import check_layer
from ._finetuning import FineTuned, choose_start
from ._finetuning_settings import FineTuningSettings
from ._fit_data import FitData, prepare_data
from ._frozen_network import FrozenNetwork
from ._kernel_classifier import KernelClassifier
from ._kernel_features import SINGLE_PRECISION
from ._kernel_fit import calibrate_kernel, fit_properties, training_cloud
from ._kernel_head import FeatureBlocks, KernelHead, make_features
from ._network import ModelRecord, TrainedNetwork
from ._settings import draw_seed
from ._starts import Start

__all__ = ["fit_kernel"]


def fit_kernel(
    settings: FineTuningSettings,
    X: Any,
    y: Any,
    objective: Objective,
    groups: Any = None,
    sample_weight: Any = None,
) -> FineTuned:
    """Learn labels of crystals by a kernel machine on the embeddings of a pre-trained backbone.

    Parameters
    ----------
    settings : FineTuningSettings
        Parameters of the estimator.
    X : CrystalGraphs of shape (n,), or n structures
        The crystals.
    y : ndarray of shape (n,) or (n, k)
        Their labels.
    objective : PropertyTargets or ClassTargets
        Config of the labels.
    groups : array-like of shape (n,), optional
        Groups that splits and left-out predictions keep together.
    sample_weight : array-like of shape (n,), optional
        Weights of the crystals.

    Returns
    -------
    FineTuned
        The frozen network, the machine and its uncertainty.
    """
    # 1. Check every setting before any work is done.
    settings = replace(settings, validation_fraction=0.0)  # the machine validates by itself
    settings.check()
    objective.check_parameters()
    learnt = _checked(objective)
    features = FeatureBlocks(make_features(settings.kernel_features))
    seed = draw_seed(settings.random_state, settings.training.resume)

    # 2. Build graphs and targets, and hold out the crystals for calibration.
    start = choose_start(settings)
    data = prepare_data(settings, start.pretrained, X, y, objective, groups, sample_weight, seed)

    # 3. Freeze the pre-trained backbone.
    start = start.within_fit(data)
    network, frozen, transferred = freeze(settings, start, data, objective)

    # 4. Compute features, and fit the machine to crystals that have a weight.
    if isinstance(learnt, ClassTargets):
        head = _fit_classes(frozen, features, learnt, data, np.asarray(y))
        return FineTuned(network, transferred, {}, {}, head)
    fitted = fit_properties(frozen, features, learnt, data)

    # 5. Calibrate uncertainties on left-out predictions, or on the crystals that were held out.
    judged, predictions = fitted.rows, fitted.left_out
    if len(data.rows.calibration):
        judged = data.rows.calibration
        predictions = fitted.head.predict(data.graphs, judged)
    uncertainty = calibrate_kernel(predictions, data.properties[judged], learnt)
    uncertainty |= training_cloud(network.net.module_, data.graphs, fitted.rows)
    return FineTuned(network, transferred, {}, uncertainty, fitted.head)


def freeze(
    settings: FineTuningSettings, start: Start, data: FitData, objective: Objective
) -> tuple[TrainedNetwork, FrozenNetwork, list[str]]:
    """Return the network with the weights of its start, as the machine sees it, and their names."""
    if start.pretrained is None:
        raise RuntimeError("within_fit() comes first, and settings without weights are refused.")
    task = start.make_task(data, objective)
    record = ModelRecord.of_task(task, settings.training.dtype)
    transferred: list[str] = []

    def load_weights(model: ObjectiveModel) -> None:
        check_layer(settings.embedding_layer, model.backbone, "embedding_layer")
        transferred.extend(start.load_into(model))

    dataset = CrystalDataset(data.graphs, data.targets, data.rows.used)
    net = hold_pretrained(record.spec, dataset, settings.training, load_weights)
    network = TrainedNetwork(net, record)
    state = net.module_.state_dict()
    frozen = FrozenNetwork.of(start.pretrained, record.spec, state, settings.training)
    return network, frozen, transferred


def _fit_classes(
    network: FrozenNetwork,
    features: FeatureBlocks,
    objective: ClassTargets,
    data: FitData,
    classes: np.ndarray,
) -> KernelHead:
    """Return a classifier, fitted to the crystals that have a weight and are not held out."""
    rows = data.weighted(data.rows.used)
    blocks = features.fit(data.graphs, rows).compute(network, data.graphs, rows)
    machine = KernelClassifier(
        blocks=[block.shape[1] for block in blocks],
        resolution=SINGLE_PRECISION,
        class_weight=_class_weight(objective, classes[rows]),
        random_state=data.seed,
    )
    groups = None if data.groups is None else data.groups[rows]
    machine.fit(np.hstack(blocks), classes[rows], data.targets.weights[rows], groups)
    return KernelHead(network, features, machine)


def _checked(objective: Objective) -> PropertyTargets | ClassTargets:
    if isinstance(objective, (PropertyTargets, ClassTargets)):
        if objective.pooling not in ("mean", "sum"):
            raise ValueError(
                f"pooling={objective.pooling!r} has no effect with strategy='kernel', which reads "
                "several poolings of the embeddings: leave it at 'mean', or set 'sum' for a "
                "property that grows with the cell."
            )
        return objective
    raise ValueError(
        "strategy='kernel' learns numbers or classes of crystals alone: set target='crystal', or "
        "another strategy."
    )


def _class_weight(objective: ClassTargets, classes: np.ndarray) -> Any:
    """Return weights of the classes that crystals of a weight have, by their numbers."""
    if objective.class_weight is None or objective.class_weight == "balanced":
        return objective.class_weight
    return {int(label): objective.class_weight[label] for label in np.unique(classes)}
