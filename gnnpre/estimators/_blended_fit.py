"""``strategy="blended"``: a kernel machine on the frozen backbone beside the fine-tuned network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from gnnpre.graphs import is_on_disk
from gnnpre.objectives import Bounds, Objective, PropertyTargets

from ._blended_head import BlendedHead, network_shares
from ._diagnosis import LEAST_VALID, predict_rows
from ._finetuning_settings import FineTuningSettings
from ._fit_data import FitData
from ._frozen_network import FrozenNetwork
from ._kernel_fit import calibrate_kernel, fit_properties, training_cloud
from ._kernel_head import FeatureBlocks, make_features
from ._label_errors import PropertyErrors
from ._network import TrainedNetwork
from ._pretrained import PretrainedWeights

__all__ = ["BlendedFit", "fit_blend", "resolve_strategy"]

# Crystals up to which "auto" adds a kernel machine. Its fingerprints take milliseconds each, in
# predictions as well, and with so many labels the network has the smaller errors by far.
LARGEST_BLEND = 10_000
# Labels of each property from which on "auto" adds one: below, it has nothing to tune with.
FEWEST_LABELS = 10


def resolve_strategy(settings: FineTuningSettings, objective: Objective, data: FitData) -> str:
    """Return the strategy that ``"auto"`` stands for, or any other one as it is.

    Parameters
    ----------
    settings : FineTuningSettings
        Parameters of the estimator.
    objective : Objective
        Config of the labels.
    data : FitData
        The crystals.

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
    if not is_pretrained or not isinstance(objective, PropertyTargets) or is_on_disk(data.graphs):
        return "full"
    rows = data.weighted(data.rows.used)
    n_labels = np.isfinite(data.properties[rows]).sum(axis=0)  # of each property
    can_blend = n_labels.min() >= FEWEST_LABELS and len(rows) <= LARGEST_BLEND
    return "blended" if can_blend else "full"


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

    def calibrate(self, network: TrainedNetwork, data: FitData) -> dict[str, Any]:
        """Learn from held-out crystals how large errors are, for ``uncertainty_``."""
        model, held_out = network.net.module_, data.rows.calibration
        predictions = self.head.predict(model, data.graphs, held_out)
        uncertainty = calibrate_kernel(predictions, data.properties[held_out], self.head.objective)
        return uncertainty | training_cloud(model, data.graphs, self.rows)


def fit_blend(
    settings: FineTuningSettings,
    pretrained: PretrainedWeights,
    network: TrainedNetwork,
    initial: Mapping[str, Tensor],
    data: FitData,
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
    data : FitData
        The crystals; the machine learns from those that validated the network, too.

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
    fitted = fit_properties(frozen, features, objective, data)
    # 2. Shares, by errors on validation crystals. The machine predicts each of them from all
    # others, in closed form, so that it needs no crystals of its own for that.
    positions = np.flatnonzero(np.isin(fitted.rows, data.rows.valid))
    valid, values = fitted.rows[positions], data.properties
    tuned = np.zeros((0, values.shape[1]))
    if len(valid):
        tuned = predict_rows(model, objective, data.graphs, valid)
    left_out = Bounds.of(objective.bounds).clip(fitted.left_out[0][positions])
    shares = network_shares(tuned, left_out, values[valid], data.targets.weights[valid])
    # 3. Errors for the diagnosis.
    errors: dict[str, float] = {}
    if len(valid) >= LEAST_VALID:
        measure = PropertyErrors(data, objective)
        blended = shares * tuned + (1 - shares) * left_out
        errors = {
            "kernel": measure.error(left_out, valid),
            "blend": measure.error(blended, valid),
        }
    return BlendedFit(BlendedHead(fitted.head, objective, shares), fitted.rows, errors)
