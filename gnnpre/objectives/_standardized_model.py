"""Models of values that are learnt in units of their spread around a mean."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from gnnpre._progress_label import error_text
from gnnpre.backbones import BackboneModule
from gnnpre.graphs import CrystalBatch

from ._bounds import Bounds
from ._losses import LossTerm, masked_term
from ._model import NAN, ObjectiveModel

__all__ = ["StandardizedModel"]


class StandardizedModel(ObjectiveModel):
    """A model of labels that the loss sees less their mean, and divided by their spread.

    A subclass names its labels in ``label``, registers the buffers ``mean`` and ``std`` in
    float64, and implements ``_offset`` and ``forward``.

    Parameters
    ----------
    backbone : BackboneModule
        The network.
    config : Objective
        Config with ``loss``, ``huber_delta`` and ``bounds``.
    """

    #: Name of the labels among the targets, the predictions and the losses.
    label: ClassVar[str]

    left_out = NAN

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: BackboneModule, config: Any) -> None:
        super().__init__(backbone)
        self.config = config
        self.bounds = Bounds.of(config.bounds)

    @property
    def unit(self) -> Tensor:
        """Positive unit of the labels in the loss: their spread, if it is not zero."""
        return torch.where(self.std > 0, self.std, 1.0)

    def _offset(self, batch: CrystalBatch) -> Tensor:
        """Return the mean of each label of a batch, in float64."""
        raise NotImplementedError

    def in_label_unit(self, term: str, loss: float) -> str:
        """Write the error in the unit of y; properties with spreads of their own share none."""
        if term != self.label or self.config.loss != "l1" or self.unit.numel() != 1:
            return ""
        return error_text(loss * float(self.unit))

    def _label_weights(self, weights: Tensor, batch: CrystalBatch) -> Tensor:
        """Return the weight of each label, from those of the crystals ``(n,)``."""
        return weights

    def standardize(self, labels: dict[str, Tensor], batch: CrystalBatch) -> dict[str, Tensor]:
        """Subtract the means of the labels, and divide by their units."""
        return {**labels, self.label: (labels[self.label] - self._offset(batch)) / self.unit}

    def predict(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict the labels in their own units, in float64."""
        value = super().predict(batch)[self.label].double()
        # A label that is constant in training has a spread of 0, and is predicted as that constant.
        value = value * self.std + self._offset(batch)
        return {self.label: self.bounds.clip(value)}

    def losses(
        self, predictions: dict[str, Tensor], targets: dict[str, Tensor], batch: CrystalBatch
    ) -> dict[str, LossTerm]:
        """Compute the loss of all labels that are not missing."""
        weights = targets.get("sample_weight")
        term = masked_term(
            predictions[self.label],
            targets[self.label],
            loss=self.config.loss,
            huber_delta=self.config.huber_delta,
            weight=1.0,
            sample_weight=None if weights is None else self._label_weights(weights, batch),
        )
        return {self.label: term}
