"""Supervised learning of a class of crystals."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gnnpre._constraints import Check, number, optional
from gnnpre._labels import as_labels
from gnnpre._validation import check_number
from gnnpre._warnings import DataQualityWarning, warn_user
from gnnpre.backbones import BackboneModule
from gnnpre.graphs import CrystalBatch, CrystalGraphs

from ._base import Objective
from ._collect import join_batches
from ._losses import LossTerm
from ._model import ObjectiveModel
from ._readout import READOUT_CONSTRAINTS, HasReadout
from ._targets import Targets

__all__ = ["ClassTargets"]


def check_class_weight(name: str, weights: Any) -> None:
    """Check that weights of classes are None, ``"balanced"`` or positive numbers."""
    if weights is None or (isinstance(weights, str) and weights == "balanced"):
        return
    if not isinstance(weights, (list, tuple, np.ndarray)):
        raise ValueError(
            f"{name}={weights!r}; expected None, 'balanced' or one number for each class."
        )
    for index, weight in enumerate(weights):
        check_number(f"{name}[{index}]", weight)


class ClassTargets(HasReadout, Objective):
    """Learn the classes of crystals by the cross entropy.

    Classes are whole numbers from 0 here; ``PropertyClassifier`` takes labels of any type.

    Parameters
    ----------
    n_classes : int, optional
        Number of classes; by default one more than the largest number in y.
    class_weight : {"balanced"}, sequence of float or None
        Weights of the classes in the loss: none, one number for each class, or ``"balanced"``:
        inversely proportional to their frequencies in the training set.
    readout : {"late", "early"}
        Pool the scores of atoms, or apply a perceptron to pooled features as the papers do.
    pooling : {"mean", "sum", "max", "attention", "cumulants"}
        Pooling over atoms; cumulants need ``readout="early"``.
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

    _constraints: ClassVar[dict[str, Check]] = {
        "n_classes": optional(number(integer=True, low=2, low_included=True)),
        "class_weight": check_class_weight,
        **READOUT_CONSTRAINTS,
    }

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
        """Check classes and convert them to targets.

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
        self.check_parameters()
        values = as_labels("y", y, n_rows=len(graphs))
        if values.dtype.kind not in "biu" or values.min() < 0:
            raise ValueError(
                f"y holds {values.min() if values.dtype.kind in 'iuf' else values[0]!r}; expected "
                "classes as whole numbers from 0. PropertyClassifier takes labels of any type."
            )
        if self.n_classes is not None and values.max() >= self.n_classes:
            raise ValueError(f"y holds {values.max()}; n_classes={self.n_classes} allows less.")
        return Targets(graphs.atom_counts, {"classes": torch.from_numpy(values.astype(np.int64))})

    def layout(self, targets: Targets) -> dict[str, Any]:
        largest = int(targets.crystal["classes"].max())
        return {"n_classes": self.n_classes or max(2, largest + 1)}

    def build(self, backbone: BackboneModule, layout: dict[str, Any]) -> "ClassModel":
        self.check_parameters()
        n_classes = int(layout.get("n_classes", self.n_classes or 2))
        weights = self.class_weight
        if not isinstance(weights, (str, type(None))) and len(weights) != n_classes:
            raise ValueError(
                f"class_weight has {len(weights)} numbers; there are {n_classes} classes."
            )
        return ClassModel(backbone, self, n_classes)

    def collect(self, batches: Sequence[dict[str, np.ndarray]], n_atoms: np.ndarray) -> np.ndarray:
        scores = join_batches(batches, "scores").astype(np.float64)
        # A softmax whose exponentials do not overflow.
        exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def term_units(self) -> dict[str, str]:
        return {"classes": "nat"}

    def search_space(self) -> dict[str, Any]:
        from optuna.distributions import IntDistribution

        return {"head_layers": IntDistribution(1, 2)}


class ClassModel(ObjectiveModel):
    """A backbone with a readout of one score for each class."""

    class_weight: Tensor

    def __init__(self, backbone: BackboneModule, config: ClassTargets, n_classes: int) -> None:
        super().__init__(backbone)
        self.config = config
        self.head = config.make_readout(backbone, n_classes)
        weights = config.class_weight
        if isinstance(weights, (str, type(None))):
            weights = torch.ones(n_classes)
        self.register_buffer("class_weight", torch.as_tensor(weights, dtype=torch.float32))

    def set_statistics(self, graphs: CrystalGraphs, targets: Targets, train: np.ndarray) -> None:
        """Compute balanced weights from the classes of the training set, if requested."""
        every_class = targets.crystal["classes"].cpu()
        classes = every_class[torch.from_numpy(train)]
        unseen = np.setdiff1d(every_class.numpy(), classes.numpy())
        if len(unseen):
            warn_user(
                f"y has class number {', '.join(map(str, unseen))} (from 0, in order), of which no "
                f"crystal is among the {len(train)} to train on (those held out for validation, "
                "and of weight zero, do not count): it is hardly ever predicted. Hold out other "
                "crystals, by another random_state or a splitter as validation_fraction.",
                DataQualityWarning,
            )
        if not isinstance(self.config.class_weight, str):
            return
        counts = torch.bincount(classes, minlength=len(self.class_weight))
        # A class without a crystal keeps a finite weight, which nothing uses.
        balanced = len(classes) / (len(counts) * counts.clamp(min=1))
        self.class_weight.copy_(balanced)

    def forward(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict scores of the classes: logarithms of probabilities up to a constant."""
        return {"scores": self.head(self.backbone(batch).scalars, batch)}

    def losses(
        self, predictions: dict[str, Tensor], targets: dict[str, Tensor], batch: CrystalBatch
    ) -> dict[str, LossTerm]:
        """Compute the cross entropies, weighted by class and by crystal."""
        classes = targets["classes"].long()
        entropies = functional.cross_entropy(predictions["scores"], classes, reduction="none")
        weights = self.class_weight[classes]
        if "sample_weight" in targets:
            weights = weights * targets["sample_weight"]
        entries = entropies.new_full((), len(classes))
        return {"classes": LossTerm((weights * entropies).sum(), weights.sum(), 1.0, entries)}
