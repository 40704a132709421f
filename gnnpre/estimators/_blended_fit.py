"""``strategy="blended"``: a kernel machine on the frozen backbone beside the fine-tuned network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from gnnpre.graphs import CrystalGraphs, is_on_disk
from gnnpre.objectives import Bounds, Objective, PropertyTargets, Targets

from ._blended_head import BlendedHead, network_shares
from ._diagnosis import LEAST_VALID, predict_rows
from ._finetuning_settings import FineTuningSettings
from ._frozen_network import FrozenNetwork
from ._kernel_fit import calibrate_kernel, fit_properties, training_cloud, weighted_rows
from ._kernel_head import FeatureBlocks, make_features
from ._label_errors import PropertyErrors
from ._network import TrainedNetwork
from ._pretrained import PretrainedWeights
from ._starts import Rows

__all__ = ["BlendedFit", "fit_blend", "resolve_strategy"]

# Crystals up to which "auto" adds a kernel machine. Its fingerprints take milliseconds each, in
# predictions as well, and with so many labels the network has the smaller errors by far.
LARGEST_BLEND = 10_000
# Labels of each property from which on "auto" adds one: below, it has nothing to tune with.
FEWEST_LABELS = 10


def resolve_strategy(
    settings: FineTuningSettings,
    objective: Objective,
    graphs: CrystalGraphs,
    targets: Targets,
    rows: Rows,
) -> str:
    """Return the strategy that ``"auto"`` stands for, or any other one as it is.

    Parameters
    ----------
    settings : FineTuningSettings
        Parameters of the estimator.
    objective : Objective
        Config of the labels.
    graphs : CrystalGraphs
        The crystals.
    targets : Targets
        Their labels.
    rows : Rows
        Rows to train on, and to validate on.

    Returns
    -------
    str
        ``"blended"`` with a pre-trained model where a kernel machine can learn the labels,
        ``"full"`` otherwise.

    Raises
    ------
    ValueError
        If ``"blended"`` is asked for, and a kernel machine cannot.
    """
    if settings.strategy == "blended" and not isinstance(objective, PropertyTargets):
        raise ValueError(
            "strategy='blended' learns numbers of crystals alone: set target='crystal', or "
            "another strategy."
        )
    if settings.strategy != "auto":
        return settings.strategy
    is_pretrained = settings.pretrained is not None or settings.pretraining is not None
    if not is_pretrained or not isinstance(objective, PropertyTargets) or is_on_disk(graphs):
        return "full"
    weighted, _ = weighted_rows(targets, rows.used)
    labels = np.isfinite(targets.crystal["properties"].cpu().numpy()[weighted])
    enough = labels.sum(axis=0).min() >= FEWEST_LABELS
    return "blended" if enough and len(weighted) <= LARGEST_BLEND else "full"


@dataclass(frozen=True)
class BlendedFit:
    """A kernel machine beside a trained network.

    Parameters
    ----------
    head : BlendedHead
        Machine and shares.
    rows : ndarray of int
        Crystals that the machine was fitted to.
    errors : dict of str to float
        Validation errors of the machine (``"kernel"``) and of the weighted mean (``"blend"``);
        empty if too few crystals validate.
    """

    head: BlendedHead
    rows: np.ndarray
    errors: dict[str, float]

    def calibrate(
        self, network: TrainedNetwork, graphs: CrystalGraphs, targets: Targets, held_out: np.ndarray
    ) -> dict[str, Any]:
        """Learn from held-out crystals how large errors are, for ``uncertainty_``."""
        model, objective = network.net.module_, self.head.objective
        values = targets.crystal["properties"].cpu().numpy()[held_out]
        predictions = self.head.predict(model, graphs, held_out)
        uncertainty = calibrate_kernel(predictions, values, objective)
        return uncertainty | training_cloud(model, graphs, self.rows)


def fit_blend(
    settings: FineTuningSettings,
    pretrained: PretrainedWeights,
    network: TrainedNetwork,
    initial: Mapping[str, Tensor],
    graphs: CrystalGraphs,
    targets: Targets,
    rows: Rows,
    groups: np.ndarray | None,
    seed: int,
) -> BlendedFit:
    """Fit a kernel machine to all crystals, and weigh it against the network.

    Parameters
    ----------
    settings : FineTuningSettings
        Parameters of the estimator.
    pretrained : PretrainedWeights
        The pre-trained model.
    network : TrainedNetwork
        The fine-tuned network.
    initial : mapping of str to Tensor
        Its weights before the first step.
    graphs : CrystalGraphs
        The crystals.
    targets : Targets
        Their properties.
    rows : Rows
        Rows of the network's training and validation; the machine learns from both.
    groups : ndarray of int of shape (n,), optional
        Groups that are left out together.
    seed : int
        Seed of the machine's subsets.

    Returns
    -------
    BlendedFit
        The machine and its share.
    """
    model, objective = network.net.module_, network.record.spec.objective
    if not isinstance(objective, PropertyTargets):
        raise TypeError("resolve_strategy() comes first.")
    # 1. The machine, on the embeddings of the network as it was before its training.
    frozen = FrozenNetwork.of(pretrained, network.record.spec, initial, settings.training)
    features = FeatureBlocks(make_features(settings.kernel_features))
    fitted = fit_properties(frozen, features, objective, graphs, targets, rows.used, groups, seed)
    # 2. Shares, by errors on validation crystals. The machine predicts each of them from all
    # others, in closed form, so that it needs no crystals of its own for that.
    positions = np.flatnonzero(np.isin(fitted.rows, rows.valid))
    valid = fitted.rows[positions]
    values = targets.crystal["properties"].cpu().numpy()
    tuned = np.zeros((0, values.shape[1]))
    if len(valid):
        tuned = predict_rows(model, objective, graphs, valid)
    left_out = Bounds.of(objective.bounds).clip(fitted.left_out[0][positions])
    _, weight = weighted_rows(targets, valid)
    shares = network_shares(tuned, left_out, values[valid], weight[valid])
    # 3. Errors for the diagnosis.
    errors: dict[str, float] = {}
    if len(valid) >= LEAST_VALID:
        measure = PropertyErrors(values, rows.train)
        blended = shares * tuned + (1 - shares) * left_out
        errors = {
            "kernel": measure.error(left_out, valid),
            "blend": measure.error(blended, valid),
        }
    return BlendedFit(BlendedHead(fitted.head, objective, shares), fitted.rows, errors)
