"""``strategy="kernel"``: a frozen pre-trained backbone with a kernel machine on its embeddings."""

from dataclasses import replace
from typing import Any

import numpy as np

from gnnpre._labels import label_codes
from gnnpre.graphs import CrystalGraphs
from gnnpre.objectives import (
    Bounds,
    ClassTargets,
    Objective,
    ObjectiveModel,
    PropertyTargets,
    Targets,
)
from gnnpre.training import CrystalDataset, hold_pretrained

from ._embedding import check_layer, embed_graphs
from ._finetuning import FineTuned, choose_start, split_fit, used_graphs
from ._finetuning_settings import FineTuningSettings
from ._inputs import add_sample_weight
from ._kernel_classifier import KernelClassifier
from ._kernel_head import FeatureBlocks, KernelHead, make_features
from ._kernel_regressor import KernelRegressor
from ._network import ModelRecord, Task, TrainedNetwork
from ._settings import draw_seed
from ._size_check import warn_of_extensive_targets
from ._starts import Rows, Start
from ._uncertainty import Calibration, TrainingCloud, spread_factors

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

    # 2. Build graphs and targets, and split crystals for calibration off.
    start = choose_start(settings)
    graphs = used_graphs(X, start)
    targets = add_sample_weight(objective.make_targets(graphs, y), sample_weight)
    codes = None if groups is None else label_codes("groups", groups, n_rows=len(graphs))
    rows = split_fit(settings, targets, codes, seed)
    warn_of_extensive_targets(objective, graphs, targets, rows.used)

    # 3. Freeze the pre-trained backbone.
    start = start.within_fit(graphs, rows, codes, seed)
    network, transferred = freeze(settings, start, graphs, targets, rows, objective)

    # 4. Compute features, and fit the machine to crystals that have a weight.
    weights = targets.crystal.get("sample_weight")
    weight = np.ones(len(graphs)) if weights is None else weights.cpu().numpy()
    train = rows.used[weight[rows.used] > 0]
    model = network.net.module_
    blocks = features.fit(graphs).compute(model, graphs, train)
    sizes = [block.shape[1] for block in blocks]
    table = np.hstack(blocks)
    if isinstance(learnt, ClassTargets):
        machine = KernelClassifier(
            blocks=sizes, class_weight=_class_weight(learnt), random_state=seed
        )
        machine.fit(table, np.asarray(y)[train], weight[train])
        return FineTuned(network, transferred, {}, {}, KernelHead(features, machine))
    head = KernelHead(features, KernelRegressor(blocks=sizes, random_state=seed))
    head.extensive = learnt.pooling == "sum"
    values = targets.crystal["properties"].cpu().numpy() / head.sizes(graphs)
    left_out = head.machine.fit_leave_out(
        table, _flat(values[train]), weight[train], None if codes is None else codes[train]
    )

    # 5. Calibrate uncertainties on left-out predictions, or on the crystals that were held out.
    judged = train
    if len(rows.calibration):
        judged = rows.calibration
        held_out = np.hstack(features.compute(model, graphs, judged))
        left_out = head.machine.predict(held_out, return_std=True)
    n_atoms = head.sizes(graphs)[judged]
    mean, std = (column.reshape(len(judged), -1) for column in left_out)
    mean = Bounds.of(learnt.bounds).clip(mean * n_atoms) / n_atoms
    uncertainty = _calibrate(mean - values[judged], std)
    uncertainty["cloud"] = TrainingCloud.fit(embed_graphs(model, graphs, rows=train)).to_dict()
    return FineTuned(network, transferred, {}, uncertainty, head)


def freeze(
    settings: FineTuningSettings,
    start: Start,
    graphs: CrystalGraphs,
    targets: Targets,
    rows: Rows,
    objective: Objective,
) -> tuple[TrainedNetwork, list[str]]:
    """Return the network with the weights of its start, and the names of these weights."""
    if start.pretrained is None:
        raise RuntimeError("within_fit() comes first, and settings without weights are refused.")
    task: Task = start.make_task(graphs, targets, rows, objective)
    record = ModelRecord.of_task(task, settings.training.dtype)
    transferred: list[str] = []

    def load_weights(model: ObjectiveModel) -> None:
        check_layer(settings.embedding_layer, model.backbone, "embedding_layer")
        transferred.extend(start.load_into(model))

    dataset = CrystalDataset(graphs, targets, rows.used)
    net = hold_pretrained(record.spec, dataset, settings.training, load_weights)
    network = TrainedNetwork(net, record).with_elements(start.pretrained.elements)
    return network, transferred


def _flat(values: np.ndarray) -> np.ndarray:
    """Return one column as ``(n,)``, in which a gap is an error."""
    return values[:, 0] if values.shape[1] == 1 else values


def _checked(objective: Objective) -> PropertyTargets | ClassTargets:
    if isinstance(objective, (PropertyTargets, ClassTargets)):
        return objective
    raise ValueError(
        "strategy='kernel' learns numbers or classes of crystals alone: set target='crystal', or "
        "another strategy."
    )


def _class_weight(objective: ClassTargets) -> Any:
    """Return weights of classes by their number, as scikit-learn takes them."""
    if objective.class_weight is None or objective.class_weight == "balanced":
        return objective.class_weight
    return dict(enumerate(objective.class_weight))


def _calibrate(residuals: np.ndarray, std: np.ndarray) -> dict[str, Any]:
    """Return conformal scores, and the factors that make standard deviations honest."""
    factors = spread_factors(residuals, std)
    return {
        "kernel_std": {"factors": factors.tolist()},
        "calibration": Calibration.fit(residuals, factors * std).to_dict(),
    }
