"""The kernel machine of a frozen network, fitted to the properties of some crystals."""

from dataclasses import dataclass

import numpy as np

from gnnpre.graphs import CrystalGraphs
from gnnpre.objectives import Bounds, ObjectiveModel, PropertyTargets

from ._embedding import embed_graphs
from ._fit_data import FitData
from ._frozen_network import FrozenNetwork
from ._kernel_features import SINGLE_PRECISION
from ._kernel_head import FeatureBlocks, KernelHead, KernelPredictions
from ._kernel_regressor import KernelRegressor
from ._uncertainty import Calibration, TrainingCloud, spread_factors

__all__ = ["FittedKernel", "calibrate_kernel", "fit_properties", "training_cloud"]


@dataclass(frozen=True)
class FittedKernel:
    """A fitted machine, with predictions of its crystals from all others.

    Parameters
    ----------
    head : KernelHead
        The machine.
    rows : ndarray of int
        Crystals that it was fitted to.
    left_out : KernelPredictions
        Their properties and standard deviations, each crystal (or group) predicted from the
        others.
    """

    head: KernelHead
    rows: np.ndarray
    left_out: KernelPredictions


def fit_properties(
    network: FrozenNetwork, features: FeatureBlocks, objective: PropertyTargets, data: FitData
) -> FittedKernel:
    """Fit a Gaussian process to the properties of crystals.

    Parameters
    ----------
    network : FrozenNetwork
        The pre-trained network.
    features : FeatureBlocks
        Further features of the crystals, which are fitted here.
    objective : PropertyTargets
        Config of the properties; with ``pooling="sum"`` they are learnt per atom.
    data : FitData
        The crystals.

    Returns
    -------
    FittedKernel
        The machine, fitted to the crystals that have a weight and are not held out.
    """
    rows = data.weighted(data.rows.used)
    blocks = features.fit(data.graphs, rows).compute(network, data.graphs, rows)
    machine = KernelRegressor(
        blocks=[block.shape[1] for block in blocks],
        resolution=SINGLE_PRECISION,
        random_state=data.seed,
    )
    head = KernelHead(network, features, machine, extensive=objective.pooling == "sum")
    sizes = head.sizes(data.graphs)[rows]
    values = data.properties[rows] / sizes
    mean, std = machine.fit_leave_out(
        np.hstack(blocks),
        _flat(values),
        data.targets.weights[rows],
        None if data.groups is None else data.groups[rows],
    )
    left_out = (mean.reshape(values.shape) * sizes, std.reshape(values.shape) * sizes)
    return FittedKernel(head, rows, left_out)


def calibrate_kernel(
    predictions: KernelPredictions, values: np.ndarray, objective: PropertyTargets
) -> dict[str, object]:
    """Return conformal scores, and the factors that make standard deviations honest.

    Parameters
    ----------
    predictions : KernelPredictions
        Predictions of crystals that were left out, and their standard deviations.
    values : ndarray of shape (n, k)
        Their properties, NaN where missing.
    objective : PropertyTargets
        Config of the properties, whose bounds clip the predictions.

    Returns
    -------
    dict
        Entries of ``uncertainty_``, JSON-serializable.
    """
    mean, std = predictions
    residuals = Bounds.of(objective.bounds).clip(mean) - values
    factors = spread_factors(residuals, std)
    return {
        "kernel_std": {"factors": factors.tolist()},
        "calibration": Calibration.fit(residuals, factors * std).to_dict(),
    }


def training_cloud(
    model: ObjectiveModel, graphs: CrystalGraphs, rows: np.ndarray
) -> dict[str, object]:
    """Return the entry of ``uncertainty_`` that distances are measured with."""
    return {"cloud": TrainingCloud.fit(embed_graphs(model, graphs, rows=rows)).to_dict()}


def _flat(values: np.ndarray) -> np.ndarray:
    """Return one column as ``(n,)``, in which a gap is an error."""
    return values[:, 0] if values.shape[1] == 1 else values
