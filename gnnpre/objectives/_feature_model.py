"""The model of objectives whose targets are features that something else computes."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gnnpre.backbones import BackboneModule, Readout
from gnnpre.graphs import CrystalBatch, CrystalGraphs

from ._lazy_targets import target_chunks
from ._losses import LossTerm, masked_term
from ._model import NAN, ObjectiveModel
from ._scaling import RunningMeanSquare
from ._targets import Targets

__all__ = ["FeatureModel"]

# A feature whose spread, relative to its size, is below this is constant up to rounding; sums over
# neighbours in another order differ by a few digits.
CONSTANT = {torch.float32: 1e-5, torch.float64: 1e-9}


class FeatureConfig(Protocol):
    """Parameters of the objectives that have this model."""

    loss: str
    huber_delta: float
    standardize: bool
    head_channels: int | None
    head_layers: int


class FeatureModel(ObjectiveModel):
    """A backbone with a perceptron that predicts features of atoms, or of crystals.

    Parameters
    ----------
    backbone : BackboneModule
        The module whose atom features it reads.
    config : FingerprintTargets or EmbeddingTargets
        The objective.
    name : str
        Name of the features among the targets.
    n_features : int
        Number of features.
    per_crystal : bool
        Whether the features describe crystals: the atom features are then pooled.
    """

    left_out = NAN

    mean: Tensor
    std: Tensor
    varies: Tensor

    def __init__(
        self,
        backbone: BackboneModule,
        config: "FeatureConfig",
        name: str,
        n_features: int,
        per_crystal: bool = False,
    ) -> None:
        super().__init__(backbone)
        self.config = config
        self.name = name
        self.per_crystal = per_crystal
        # Named like a readout, so that other models can take over its hidden layers.
        self.head = Readout(
            backbone.out_channels,
            n_features,
            order="early" if per_crystal else "late",
            pooling="mean" if per_crystal else "sum",
            hidden_channels=config.head_channels,
            n_layers=config.head_layers,
        )
        self.register_buffer("mean", torch.zeros(n_features, dtype=torch.float64))
        self.register_buffer("std", torch.ones(n_features, dtype=torch.float64))
        self.register_buffer("varies", torch.ones(n_features, dtype=torch.bool))

    def set_statistics(self, graphs: CrystalGraphs, targets: Targets, train: np.ndarray) -> None:
        """Compute mean and spread of each feature over the training set."""
        # 1. means, as differences from the first row: they lose no digits to a large offset
        first: Any = None
        total: Any = 0.0
        largest: Any = 0.0
        count = 0
        for values in self._chunks(targets, train):
            first = values[0] if first is None else first
            total = total + (values - first).sum(axis=0)
            largest = np.maximum(largest, np.abs(values).max(axis=0))
            count += len(values)
        mean = first + total / count  # (D,)
        # 2. spreads around them
        square = RunningMeanSquare()
        remainder: Any = 0.0
        for values in self._chunks(targets, train):
            square.add(values - mean)
            remainder = remainder + (values - mean).sum(axis=0)
        std = np.sqrt(np.maximum(square.root() ** 2 - (remainder / count) ** 2, 0.0))
        one = {**targets.load(train[:1]).atom, **targets.load(train[:1]).crystal}[self.name]
        varies = std > CONSTANT[one.dtype] * largest
        if not varies.any():
            raise ValueError(
                f"No feature of the {self.name} varies over the crystals of the training set: "
                "there is nothing to learn. Pass more crystals, or compute other features."
            )
        self.varies.copy_(torch.from_numpy(varies))
        self.mean.copy_(torch.from_numpy(mean))
        self.std.copy_(torch.from_numpy(np.where(varies, std, 0.0)))
        if not self.config.standardize:
            self.mean[self.varies] = 0.0
            self.std[self.varies] = 1.0

    def _chunks(self, targets: Targets, train: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the features of the training set in float64, chunk by chunk."""
        for chunk in target_chunks(targets, train):
            values = {**chunk.atom, **chunk.crystal}[self.name]
            yield values.cpu().numpy().astype(np.float64)

    def standardize(self, labels: dict[str, Tensor], batch: CrystalBatch) -> dict[str, Tensor]:
        """Subtract the means of the features, and divide by their spreads."""
        spread = torch.where(self.varies, self.std, 1.0)
        return {**labels, self.name: (labels[self.name] - self.mean) / spread}

    def forward(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict the features, standardised."""
        scalars = self.backbone(batch).scalars  # (N, C)
        value: Tensor = self.head(scalars, batch) if self.per_crystal else self.head.mlp(scalars)
        return {self.name: value}

    def predict(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict the features in their own units, in float64."""
        value = super().predict(batch)[self.name].double()  # (N, D) or (n, D)
        return {self.name: value * self.std + self.mean}

    def losses(
        self, predictions: dict[str, Tensor], targets: dict[str, Tensor], batch: CrystalBatch
    ) -> dict[str, LossTerm]:
        """Compute the loss of the features that vary, each in units of its spread."""
        sample_weight = targets.get("sample_weight")
        if sample_weight is not None and not self.per_crystal:
            sample_weight = sample_weight[batch.batch]
        # Marked as missing, and not cut out: a selection by a mask would wait for the GPU.
        target = torch.where(self.varies, targets[self.name], torch.nan)
        term = masked_term(
            predictions[self.name],
            target,
            loss=self.config.loss,
            huber_delta=self.config.huber_delta,
            weight=1.0,
            sample_weight=sample_weight,
        )
        return {self.name: term}
