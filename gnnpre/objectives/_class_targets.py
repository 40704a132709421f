"""Supervised learning of a class of crystals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gnnpre._validation import check_number
from gnnpre.backbones import BackboneModule, Readout
from gnnpre.graphs import CrystalBatch, CrystalGraphs

from ._base import LossTerm, Objective, ObjectiveModel, Targets

__all__ = ["ClassTargets"]


class ClassTargets(Objective):
    """Learn which class a crystal belongs to, by the cross entropy.

    Classes are whole numbers from 0 here; ``PropertyClassifier`` takes labels of any kind.

    Parameters
    ----------
    n_classes : int, optional
        Number of classes; one more than the largest number by default.
    class_weight : {"balanced"}, sequence of float or None
        Weights of the classes in the loss: none, one number each, or ``"balanced"``, inverse to
        their numbers in the training part, so that all classes together weigh the same.
    readout : {"late", "early"}
        Scores of atoms that are pooled, or the papers' perceptron on pooled features.
    pooling : {"mean", "sum", "max", "attention", "cumulants"}
        Over atoms; cumulants need ``readout="early"``.
    head_channels : int, optional
        Width of the hidden layers of the readout; that of the backbone by default.
    head_layers : int
        Hidden layers of the readout.

    Examples
    --------
    >>> from gnnpre import CGCNN, ClassTargets, Pretrainer
    >>> from gnnpre.datasets import make_emt_property
    >>> structures, y = make_emt_property(12, random_state=0)
    >>> pretrainer = Pretrainer(CGCNN(8, 1), ClassTargets(), max_epochs=1, random_state=0)
    >>> pretrainer.fit(structures, y > 100).predict(structures[:2]).shape
    (2, 2)
    """

    def __init__(
        self,
        n_classes: int | None = None,
        *,
        class_weight: Any = None,
        readout: str = "late",
        pooling: str = "mean",
        head_channels: int | None = None,
        head_layers: int = 1,
    ) -> None:
        self.n_classes = n_classes
        self.class_weight = class_weight
        self.readout = readout
        self.pooling = pooling
        self.head_channels = head_channels
        self.head_layers = head_layers

    def make_targets(self, graphs: CrystalGraphs, y: Any) -> Targets:
        """Check classes and turn them into targets.

        Parameters
        ----------
        graphs : CrystalGraphs
            The n crystals.
        y : array-like of int of shape (n,)
            Their classes, from 0.

        Returns
        -------
        Targets
            The classes (n,).

        Raises
        ------
        ValueError
            If ``y`` has another length, or holds anything but whole numbers from 0.
        """
        self._check_parameters()
        values = np.asarray(y)
        if values.shape != (len(graphs),):
            raise ValueError(
                f"y has shape {values.shape}; X has {len(graphs)} crystals: expected one class "
                f"each, shape ({len(graphs)},)."
            )
        if values.dtype.kind not in "biu" or values.min() < 0:
            raise ValueError(
                "y does not hold classes as whole numbers from 0. PropertyClassifier takes labels "
                "of any kind."
            )
        if self.n_classes is not None and values.max() >= self.n_classes:
            raise ValueError(f"y holds {values.max()}; n_classes={self.n_classes} allows less.")
        return Targets(graphs.atom_counts, {"classes": torch.from_numpy(values.astype(np.int64))})

    def layout(self, targets: Targets) -> dict[str, Any]:
        """Give the number of classes.

        Parameters
        ----------
        targets : Targets
            What :meth:`make_targets` returned.

        Returns
        -------
        dict
            ``{"n_classes": k}``.
        """
        largest = int(targets.crystal["classes"].max())
        return {"n_classes": self.n_classes or max(2, largest + 1)}

    def build(self, backbone: BackboneModule, layout: dict[str, Any]) -> "ClassModel":
        """Put a readout with one score a class on a backbone.

        Parameters
        ----------
        backbone : BackboneModule
            What a backbone config built.
        layout : dict
            ``{"n_classes": k}``.

        Returns
        -------
        ObjectiveModel
            The model to train.

        Raises
        ------
        ValueError
            If the weights of classes are not one a class.
        """
        self._check_parameters()
        n_classes = int(layout.get("n_classes", self.n_classes or 2))
        weights = self.class_weight
        if not isinstance(weights, (str, type(None))) and len(weights) != n_classes:
            raise ValueError(
                f"class_weight has {len(weights)} numbers; there are {n_classes} classes."
            )
        return ClassModel(backbone, self, n_classes)

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
            Probabilities of the classes.
        """
        scores = np.concatenate([part["scores"] for part in parts]).astype(np.float64)
        exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def _check_parameters(self) -> None:
        if self.n_classes is not None:
            check_number("n_classes", self.n_classes, integer=True, low=2, low_included=True)
        weights = self.class_weight
        if weights is None or (isinstance(weights, str) and weights == "balanced"):
            return
        if not isinstance(weights, (list, tuple, np.ndarray)):
            raise ValueError(
                f"class_weight={weights!r}; expected None, 'balanced' or one number a class."
            )
        for index, weight in enumerate(weights):
            check_number(f"class_weight[{index}]", weight)


class ClassModel(ObjectiveModel):
    """A backbone with a readout of scores, one a class."""

    class_weight: Tensor

    def __init__(self, backbone: BackboneModule, config: ClassTargets, n_classes: int) -> None:
        super().__init__(backbone)
        self.config = config
        self.head = Readout(
            backbone.out_channels,
            n_classes,
            order=config.readout,
            pooling=config.pooling,
            hidden_channels=config.head_channels,
            n_layers=config.head_layers,
        )
        given = config.class_weight
        weights = torch.ones(n_classes) if isinstance(given, (str, type(None))) else given
        self.register_buffer("class_weight", torch.as_tensor(weights, dtype=torch.float32))

    def set_statistics(self, graphs: CrystalGraphs, targets: Targets, train: np.ndarray) -> None:
        """Count the classes of the training part, where their weights are to be balanced."""
        if not isinstance(self.config.class_weight, str):
            return
        classes = targets.crystal["classes"].cpu()[torch.from_numpy(train)]
        counts = torch.bincount(classes, minlength=len(self.class_weight))
        balanced = len(classes) / (len(counts) * counts.clamp(min=1))
        self.class_weight.copy_(balanced)

    def forward(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Give the scores of the classes, logarithms of probabilities but for a constant."""
        return {"scores": self.head(self.backbone(batch).scalars, batch)}

    def losses(
        self, predictions: dict[str, Tensor], targets: dict[str, Tensor], batch: CrystalBatch
    ) -> dict[str, LossTerm]:
        """Cross entropy of each crystal, weighted by its class and its own weight."""
        classes = targets["classes"].long()
        entropies = functional.cross_entropy(predictions["scores"], classes, reduction="none")
        weights = self.class_weight[classes]
        if "sample_weight" in targets:
            weights = weights * targets["sample_weight"]
        entries = entropies.new_tensor(float(len(classes)))
        return {"classes": LossTerm((weights * entropies).sum(), weights.sum(), 1.0, entries)}
