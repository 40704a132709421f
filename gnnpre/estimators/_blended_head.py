"""The mean of a fine-tuned network and a kernel machine on the network it started from."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gnnpre.graphs import CrystalGraphs
from gnnpre.objectives import Bounds, Objective, ObjectiveModel, PropertyTargets
from gnnpre.training import TrainingSettings

from ._blending import blend_weights
from ._diagnosis import predict_rows
from ._kernel_head import KernelHead, KernelPredictions
from ._target_process import MachineState

__all__ = ["BlendedHead", "network_shares"]

# Equal shares count as much as this number of validation crystals.
PRIOR_CRYSTALS = 50


def network_shares(
    network: np.ndarray, kernel: np.ndarray, values: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Return the share of the network in the prediction of each property, from 0 to 1.

    It is that of the least mean absolute error on validation crystals, drawn towards one half as
    far as these are few: the best share of twenty crystals is mostly noise.

    Parameters
    ----------
    network, kernel : ndarray of shape (n, k)
        Predictions of crystals that neither was fitted to.
    values : ndarray of shape (n, k)
        Their properties, NaN where missing.
    weight : ndarray of shape (n,)
        Weights of the crystals, above 0.

    Returns
    -------
    ndarray of shape (k,)
        The shares.
    """
    shares = np.full(values.shape[1], 0.5)
    for column in range(values.shape[1]):
        labelled = np.isfinite(values[:, column])
        n = np.count_nonzero(labelled)
        if n == 0:
            continue
        both = np.stack([network[labelled, column], kernel[labelled, column]], axis=1)
        best = blend_weights(both, values[labelled, column], weight[labelled])[0]
        shares[column] = (n * best + PRIOR_CRYSTALS * 0.5) / (n + PRIOR_CRYSTALS)
    return shares


class BlendedHead:
    """A kernel machine on the pre-trained network, averaged with the network that was trained.

    Parameters
    ----------
    kernel : KernelHead
        The fitted machine.
    objective : PropertyTargets
        Config of the properties.
    shares : ndarray of shape (k,)
        Share of the network in the prediction of each property; the rest is the machine's.
    """

    def __init__(
        self,
        kernel: KernelHead,
        objective: PropertyTargets,
        shares: np.ndarray,
    ) -> None:
        self.kernel = kernel
        self.objective = objective
        self.shares = shares

    @property
    def machine(self) -> Any:
        """The kernel machine."""
        return self.kernel.machine

    def predict(
        self, model: ObjectiveModel, graphs: CrystalGraphs, rows: np.ndarray | None = None
    ) -> KernelPredictions:
        """Predict properties, and how far they may be off before calibration.

        Parameters
        ----------
        model : ObjectiveModel
            The trained network.
        graphs : CrystalGraphs
            The crystals.
        rows : ndarray of int, optional
            Some of them; all by default.

        Returns
        -------
        mean, std : ndarray of shape (n, k)
            Weighted means of both predictions, and the standard deviations of the machine with
            the spread of the two around their mean.
        """
        rows = np.arange(len(graphs)) if rows is None else rows
        network = predict_rows(model, self.objective, graphs, rows)
        kernel, std = self.kernel.predict(graphs, rows)
        # Clipped before the mean as well, so that neither pulls the other beyond a bound.
        kernel = Bounds.of(self.objective.bounds).clip(kernel)
        spread = self.shares * (1 - self.shares) * np.square(network - kernel)
        mean: np.ndarray = self.shares * network + (1 - self.shares) * kernel
        return mean, np.sqrt(np.square(std) + spread)

    def to_state(self) -> MachineState:
        """Return everything as JSON and arrays."""
        values, arrays = self.kernel.to_state()
        return {**values, "shares": self.shares.tolist()}, arrays

    @classmethod
    def from_state(
        cls,
        values: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray],
        classes: Mapping[str, type],
        settings: TrainingSettings,
        objective: Objective,
    ) -> "BlendedHead":
        """Return the head that :meth:`to_state` described, beside a network of an objective."""
        if not isinstance(objective, PropertyTargets):
            raise ValueError(f"its objective is {type(objective).__name__}, which is not blended")
        shares = np.asarray(values["shares"], dtype=np.float64)
        if shares.ndim != 1 or not ((shares >= 0) & (shares <= 1)).all():
            raise ValueError(f"shares={values['shares']!r}; expected numbers from 0 to 1")
        return cls(KernelHead.from_state(values, arrays, classes, settings), objective, shares)
