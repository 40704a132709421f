"""Supervised learning of one or many properties."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from gnnpre._constraints import Check, boolean
from gnnpre._label_numbers import check_magnitude
from gnnpre._labels import as_floats
from gnnpre._warnings import DataQualityWarning, warn_user
from gnnpre.backbones import BackboneModule
from gnnpre.graphs import CrystalBatch, CrystalGraphs

from ._base import Objective
from ._bounds import check_bounds, refuse_labels_outside
from ._collect import join_batches
from ._losses import LOSS_CONSTRAINTS, unit_of_labels
from ._readout import READOUT_CONSTRAINTS, HasReadout
from ._scaling import mean_and_spread
from ._standardized_model import StandardizedModel
from ._targets import Targets

__all__ = ["PropertyTargets"]


# Single precision resolves seven digits: offsets beyond so many spreads leave few of them.
LARGEST_OFFSET = 1e4


class PropertyTargets(HasReadout, Objective):
    """Learn one or many properties of crystals; missing ones (NaN) are left out of the loss.

    Parameters
    ----------
    loss : {"l1", "huber", "mse"}
        Loss of each entry.
    huber_delta : float
        Error at which the Huber loss turns from quadratic to linear, in units of the
        (standardised) property.
    standardize : bool
        Subtract the mean of each property over the training set and divide by its standard
        deviation, in float64. Predictions are in the property's own unit. The papers do not
        standardise.
    bounds : tuple of (float or None, float or None), optional
        Least and largest possible value of all properties, such as ``(0, None)``: predictions
        are clipped, which never makes an error larger.
    readout : {"late", "early"}
        Pool the values of atoms, or apply a perceptron to pooled features as the papers do.
    pooling : {"mean", "sum", "max", "attention", "cumulants"}
        Pooling over atoms: the mean for intensive properties, the sum for those that grow with
        the cell, the maximum for those of one atom; attention learns weights for a mean;
        cumulants (mean, variance, third central moment of the features) need
        ``readout="early"``.
    head_channels : int, optional
        Width of the hidden layers of the readout; that of the backbone by default.
    head_layers : int
        Hidden layers of the readout.

    Examples
    --------
    >>> from gnnpre import PropertyTargets
    >>> PropertyTargets(pooling="sum")
    PropertyTargets(pooling='sum')
    """

    _constraints: ClassVar[dict[str, Check]] = {
        **LOSS_CONSTRAINTS,
        "standardize": boolean,
        "bounds": check_bounds,
        **READOUT_CONSTRAINTS,
    }

    def __init__(
        self,
        loss: str = "l1",
        *,
        huber_delta: float = 0.1,
        standardize: bool = True,
        bounds: Any = None,
        readout: str = "late",
        pooling: str = "mean",
        head_channels: int | None = None,
        head_layers: int = 1,
    ) -> None:
        self.loss = loss
        self.huber_delta = huber_delta
        self.standardize = standardize
        self.bounds = bounds
        self.readout = readout
        self.pooling = pooling
        self.head_channels = head_channels
        self.head_layers = head_layers

    def make_targets(self, graphs: CrystalGraphs, y: Any) -> Targets:
        """Check properties and convert them to targets.

        Parameters
        ----------
        graphs : CrystalGraphs
            The n crystals.
        y : array-like of shape (n,) or (n, k)
            Their properties, NaN where missing.

        Returns
        -------
        Targets
            The properties (n, k), in float64.

        Raises
        ------
        ValueError, TypeError
            If ``y`` has another length, holds no numbers, or values out of bounds, or a property
            is missing everywhere.
        """
        self.check_parameters()
        values = _check_properties(y, len(graphs))
        refuse_labels_outside(values, self.bounds, y)
        # A copy: what a worker process gets may be a read-only memory map.
        return Targets(graphs.atom_counts, {"properties": torch.tensor(values)})

    def layout(self, targets: Targets) -> dict[str, Any]:
        return {"n_outputs": targets.crystal["properties"].shape[1]}

    def build(self, backbone: BackboneModule, layout: dict[str, Any]) -> "PropertyModel":
        self.check_parameters()
        return PropertyModel(backbone, self, layout["n_outputs"])

    def collect(self, batches: Sequence[dict[str, np.ndarray]], n_atoms: np.ndarray) -> np.ndarray:
        return join_batches(batches, "properties")

    def term_units(self) -> dict[str, str]:
        return {"properties": unit_of_labels(self.loss, self.standardize)}

    def search_space(self) -> dict[str, Any]:
        from optuna.distributions import IntDistribution

        return {"head_layers": IntDistribution(1, 2)}


def _check_properties(y: Any, n: int) -> np.ndarray:
    """Return properties as a float64 array (n, k)."""
    if y is None:
        raise ValueError("y is None; expected properties, an array of shape (n,) or (n, k).")
    # bool: a property such as "is a metal" is learnt as 0 and 1.
    values = as_floats("y", y, n_rows=n, n_dims=(1, 2), allow_bool=True)
    values = values.reshape(n, -1)
    check_magnitude("y", values)
    empty = np.flatnonzero(np.isnan(values).all(axis=0))
    if len(empty):
        raise ValueError(f"y has only missing values (NaN) in column {empty[0]}: drop that column.")
    return values


class PropertyModel(StandardizedModel):
    """A backbone with a readout of properties, which it predicts in units of their spread."""

    label = "properties"

    def __init__(self, backbone: BackboneModule, config: PropertyTargets, n_outputs: int) -> None:
        super().__init__(backbone, config)
        self.head = config.make_readout(backbone, n_outputs)
        self.register_buffer("mean", torch.zeros(n_outputs, dtype=torch.float64))
        # 0 for a property that is constant over the training set, and predicted as that constant.
        self.register_buffer("std", torch.ones(n_outputs, dtype=torch.float64))

    @property
    def unit(self) -> Tensor:
        """Positive unit of each property in the loss, ``(k,)``: its spread, or its size."""
        size = torch.where(self.mean != 0, self.mean.abs(), 1.0)
        return torch.where(self.std > 0, self.std, size)

    def set_statistics(self, graphs: CrystalGraphs, targets: Targets, train: np.ndarray) -> None:
        """Compute mean and standard deviation of each property over the training set."""
        values = targets.crystal["properties"].cpu().numpy()[train]
        sizes = self._sizes(graphs.atom_counts[train])
        for column in range(values.shape[1]):
            present = np.isfinite(values[:, column])
            if not present.any():
                warn_user(
                    f"y has no value in column {column} among the {len(train)} crystals to train "
                    "on (those held out for validation, and of weight zero, do not count): its "
                    "predictions mean nothing. Drop that column, or hold out other crystals.",
                    DataQualityWarning,
                )
                continue
            mean, std = mean_and_spread(
                values[present, column], None if sizes is None else sizes[present]
            )
            # What a network in single precision sees has a mean of 0 and a spread of 1.
            if self.config.standardize:
                self.mean[column], self.std[column] = float(mean), float(std)
            elif abs(mean) > LARGEST_OFFSET * std and self._is_single_precision():
                warn_user(
                    f"y has a mean of {mean:.4g} and a spread of {std:.4g} in column {column}: "
                    "single precision loses the differences. Set standardize=True, or "
                    "dtype='float64'.",
                    DataQualityWarning,
                )

    def _is_single_precision(self) -> bool:
        return next(self.parameters()).dtype == torch.float32

    def _sizes(self, n_atoms: np.ndarray) -> np.ndarray | None:
        """Return the numbers of atoms if a property is proportional to them, else None."""
        return n_atoms.astype(np.float64) if self.config.pooling == "sum" else None

    def _offset(self, batch: CrystalBatch) -> Tensor:
        """Return the mean of each property for crystals of these sizes, ``(n, k)`` or ``(k,)``."""
        if self.config.pooling == "sum":
            return self.mean * batch.n_atoms[:, None]
        return self.mean

    def forward(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict the properties, standardised."""
        value = self.head(self.backbone(batch).scalars, batch)  # (n, k)
        # Nothing to predict where the property is constant; the product keeps a gradient, of 0.
        return {"properties": value * (self.std > 0)}
