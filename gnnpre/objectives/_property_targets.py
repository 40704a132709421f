"""Supervised learning of one or many properties."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnpre._validation import check_bool, check_choice, check_number
from gnnpre.backbones import BackboneModule, Readout
from gnnpre.graphs import CrystalBatch, CrystalGraphs

from ._base import LossTerm, Objective, ObjectiveModel, Targets
from ._losses import LOSSES, masked_term

__all__ = ["PropertyTargets"]


# Beyond this, single precision overflows in the course of a training.
LARGEST_VALUE = 1e30


class PropertyTargets(Objective):
    """Learn one or many properties of crystals; missing ones (NaN) are left out of the loss.

    Parameters
    ----------
    loss : {"l1", "huber", "mse"}
        Loss of each entry.
    huber_delta : float
        Where the Huber loss turns from quadratic to linear, in units of the (standardised)
        property.
    standardize : bool
        Learn each property less its mean, over its standard deviation, both of the training
        part; predictions are in the property's own unit. The papers do without.
    readout : {"late", "early"}
        Values of atoms that are pooled, or the papers' perceptron on pooled features.
    pooling : {"mean", "sum", "max", "attention", "cumulants"}
        Over atoms: mean for intensive properties, sum for those that grow with the cell, max for
        those of one atom; attention learns weights for a mean; cumulants (mean, variance, third
        central moment of the features) need ``readout="early"``.
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

    def __init__(
        self,
        loss: str = "l1",
        *,
        huber_delta: float = 0.1,
        standardize: bool = True,
        readout: str = "late",
        pooling: str = "mean",
        head_channels: int | None = None,
        head_layers: int = 1,
    ) -> None:
        self.loss = loss
        self.huber_delta = huber_delta
        self.standardize = standardize
        self.readout = readout
        self.pooling = pooling
        self.head_channels = head_channels
        self.head_layers = head_layers

    def make_targets(self, graphs: CrystalGraphs, y: Any) -> Targets:
        """Check properties and turn them into targets.

        Parameters
        ----------
        graphs : CrystalGraphs
            The n crystals.
        y : array-like of shape (n,) or (n, k)
            Their properties, NaN where missing.

        Returns
        -------
        Targets
            The properties (n, k).

        Raises
        ------
        ValueError
            If ``y`` has another length, holds no numbers, or a property is missing everywhere.
        """
        self._check_parameters()
        values = _check_properties(y, len(graphs))
        return Targets(graphs.atom_counts, {"properties": torch.tensor(values)})

    def layout(self, targets: Targets) -> dict[str, Any]:
        """Give the number of properties.

        Parameters
        ----------
        targets : Targets
            What :meth:`make_targets` returned.

        Returns
        -------
        dict
            ``{"n_outputs": k}``.
        """
        return {"n_outputs": targets.crystal["properties"].shape[1]}

    def build(self, backbone: BackboneModule, layout: dict[str, Any]) -> "PropertyModel":
        """Put a readout with one output a property on a backbone.

        Parameters
        ----------
        backbone : BackboneModule
            What a backbone config built.
        layout : dict
            ``{"n_outputs": k}``.

        Returns
        -------
        ObjectiveModel
            The model to train.
        """
        self._check_parameters()
        return PropertyModel(backbone, self, layout["n_outputs"])

    def collect(self, parts: Sequence[dict[str, np.ndarray]], n_atoms: np.ndarray) -> np.ndarray:
        """Join predictions into one array.

        Parameters
        ----------
        parts : sequence of dict of str to ndarray
            Predictions batch by batch.
        n_atoms : ndarray of shape (n,)
            Atoms of each crystal.

        Returns
        -------
        ndarray of shape (n, k)
            The properties, in their own units.
        """
        return np.concatenate([part["properties"] for part in parts])

    def _check_parameters(self) -> None:
        check_choice("loss", self.loss, LOSSES)
        check_number("huber_delta", self.huber_delta)
        check_bool("standardize", self.standardize)


def _check_properties(y: Any, n: int) -> np.ndarray:
    if y is None:
        raise ValueError("y is None; expected properties, an array of shape (n,) or (n, k).")
    try:
        if np.asarray(y).dtype.kind not in "biufO":
            raise TypeError(f"it is of dtype {np.asarray(y).dtype}")
        values = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"y cannot be read as numbers of shape (n,) or (n, k): {error}") from error
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or len(values) != n or values.shape[1] == 0:
        raise ValueError(f"y has shape {np.shape(y)}; X has {n} crystals: expected (n,) or (n, k).")
    large = np.argwhere(np.abs(values) > LARGEST_VALUE)
    if len(large):
        raise ValueError(
            f"y is {values[tuple(large[0])]} at row {large[0][0]}; expected finite numbers up to "
            f"{LARGEST_VALUE:g}. Mark what is missing as NaN, or use another unit."
        )
    empty = np.flatnonzero(np.isnan(values).all(axis=0))
    if len(empty):
        raise ValueError(f"y has only missing values (NaN) in column {empty[0]}: drop that column.")
    return values


class PropertyModel(ObjectiveModel):
    """A backbone with a readout of properties."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: BackboneModule, config: PropertyTargets, n_outputs: int) -> None:
        super().__init__(backbone)
        self.config = config
        self.head = Readout(
            backbone.out_channels,
            n_outputs,
            order=config.readout,
            pooling=config.pooling,
            hidden_channels=config.head_channels,
            n_layers=config.head_layers,
        )
        self.register_buffer("mean", torch.zeros(n_outputs))
        self.register_buffer("std", torch.ones(n_outputs))

    def set_statistics(self, graphs: CrystalGraphs, targets: Targets, train: np.ndarray) -> None:
        """Take mean and standard deviation of each property from the training part."""
        if not self.config.standardize:
            return
        values = targets.crystal["properties"].cpu().numpy()[train]
        divisor = self._sizes(graphs, train)
        for column in range(values.shape[1]):
            known = np.isfinite(values[:, column])
            if known.any():
                mean, std = _moments(values[known, column], divisor[known])
                self.mean[column], self.std[column] = mean, std

    def _sizes(self, graphs: CrystalGraphs, train: np.ndarray) -> np.ndarray:
        """Atoms of each crystal where the property grows with them, else 1."""
        if self.config.pooling == "sum":
            return graphs.atom_counts[train].astype(np.float64)
        return np.ones(len(train))

    def forward(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict the properties, in their own units."""
        value = self.head(self.backbone(batch).scalars, batch)  # (n, k)
        offset = self.mean
        if self.config.pooling == "sum":
            offset = offset * batch.n_atoms[:, None].to(value.dtype)
        return {"properties": value * self.std + offset}

    def losses(
        self, predictions: dict[str, Tensor], targets: dict[str, Tensor], batch: CrystalBatch
    ) -> dict[str, LossTerm]:
        """Loss of all properties, each in units of its standard deviation."""
        term = masked_term(
            predictions["properties"] / self.std,
            targets["properties"] / self.std,
            loss=self.config.loss,
            huber_delta=self.config.huber_delta,
            weight=1.0,
            sample_weight=targets.get("sample_weight"),
        )
        return {"properties": term}


def _moments(values: np.ndarray, divisor: np.ndarray) -> tuple[float, float]:
    """Mean of ``values / divisor``, and the spread of ``values`` around it; 1 for no spread."""
    mean = float((values / divisor).mean())
    std = float((values - mean * divisor).std())
    return mean, std if std > 1e-12 * max(1.0, abs(mean)) else 1.0
