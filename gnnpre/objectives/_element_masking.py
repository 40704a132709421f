"""Masked elements: learn which element belongs to a site from its surroundings."""

from collections.abc import Hashable, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gnnpre._constraints import Check, number, one_of
from gnnpre.backbones import BackboneModule
from gnnpre.graphs import CrystalBatch, CrystalGraphs, is_on_disk, send

from ._collect import split_atoms
from ._label_free import LabelFreeObjective
from ._losses import LossTerm
from ._model import ObjectiveModel
from ._readout import HEAD_CONSTRAINTS, make_perceptron
from ._targets import Targets

__all__ = ["ElementMasking", "mask_atoms"]

LOSSES = ("cross_entropy", "scaled_cosine")


class ElementMasking(LabelFreeObjective):
    """Hide the elements of some atoms, drawn anew at each visit, and learn to name them.

    Needs no labels. A masked atom has a mask element: the last one that the backbone embeds
    (fermium, Z = 100), which no crystal may hold. The position of the atom stays. ``predict``
    returns the probabilities of the elements at each atom of the crystals as they are: a list with
    one array ``(n_atoms, n_elements)``, column Z - 1, for each crystal.

    Parameters
    ----------
    fraction : float
        Probability that an atom is masked.
    loss : {"cross_entropy", "scaled_cosine"}
        Loss of each masked atom: the cross entropy, or ``(1 - cos)^gamma`` with the cosine of the
        angle between the scores and the axis of the true element, which weighs hard atoms more.
    gamma : float
        Exponent of the scaled cosine.
    head_channels : int, optional
        Width of the hidden layers of the perceptron; that of the backbone by default.
    head_layers : int
        Hidden layers of the perceptron.

    References
    ----------
    W. Hu et al., "Strategies for pre-training graph neural networks", ICLR (2020), for masked
    nodes; Z. Hou et al., "GraphMAE: Self-supervised masked graph autoencoders", KDD (2022), for
    the scaled cosine.

    Examples
    --------
    >>> from gnnpre import CGCNN, ElementMasking, Pretrainer
    >>> from gnnpre.datasets import make_emt_frames
    >>> structures, _ = make_emt_frames(12, random_state=0)
    >>> pretrainer = Pretrainer(CGCNN(8, 1), ElementMasking(), max_epochs=1, random_state=0)
    >>> probabilities = pretrainer.fit(structures).predict(structures[:2])
    >>> [array.shape == (len(s), 100) for array, s in zip(probabilities, structures)]
    [True, True]
    """

    _constraints: ClassVar[dict[str, Check]] = {
        "fraction": number(high=1.0),
        "loss": one_of(*LOSSES),
        "gamma": number(low=1.0, low_included=True),
        **HEAD_CONSTRAINTS,
    }

    def __init__(
        self,
        fraction: float = 0.15,
        loss: str = "cross_entropy",
        *,
        gamma: float = 2.0,
        head_channels: int | None = None,
        head_layers: int = 1,
    ) -> None:
        self.fraction = fraction
        self.loss = loss
        self.gamma = gamma
        self.head_channels = head_channels
        self.head_layers = head_layers

    def build(self, backbone: BackboneModule, layout: dict[str, Any]) -> "ElementMaskingModel":
        self.check_parameters()
        return ElementMaskingModel(backbone, self)

    def collect(
        self, batches: Sequence[dict[str, np.ndarray]], n_atoms: np.ndarray
    ) -> list[np.ndarray]:
        return split_atoms(batches, "elements", n_atoms)

    def term_units(self) -> dict[str, str]:
        return {"elements": "nat"} if self.loss == "cross_entropy" else {}

    def search_space(self) -> dict[str, Any]:
        from optuna.distributions import FloatDistribution

        return {"fraction": FloatDistribution(0.05, 0.5)}


def mask_atoms(
    batch: CrystalBatch, fraction: float, mask_number: int, generator: torch.Generator
) -> tuple[CrystalBatch, Tensor]:
    """Return the batch with some atoms masked, each with a probability, and which, ``(N,)``."""
    masked = torch.rand(len(batch.atomic_numbers), generator=generator) < fraction
    masked = send(masked, batch.atomic_numbers.device)
    return batch.with_atomic_numbers(batch.atomic_numbers.masked_fill(masked, mask_number)), masked


def check_no_mask(graphs: CrystalGraphs, mask_number: int) -> None:
    """Check that no crystal holds the element that masks atoms."""
    if is_on_disk(graphs):
        rows = graphs.rows_with(mask_number, mask_number)
        if len(rows):
            raise ValueError(_masked_crystal(int(rows[0]), mask_number))
        return
    atoms = np.flatnonzero(graphs.atomic_numbers.cpu().numpy() == mask_number)
    if len(atoms):
        row = int(np.searchsorted(np.cumsum(graphs.atom_counts), atoms[0], side="right"))
        raise ValueError(_masked_crystal(row, mask_number))


def _masked_crystal(row: int, mask_number: int) -> str:
    return (
        f"Crystal {row} of X holds the element of atomic number {mask_number}, which masks "
        "atoms. Leave that crystal out."
    )


class ElementMaskingModel(ObjectiveModel):
    """A backbone with a perceptron that scores the elements at each atom."""

    left_out = MappingProxyType({"elements": -1.0})

    def __init__(self, backbone: BackboneModule, config: ElementMasking) -> None:
        super().__init__(backbone)
        self.config = config
        self.mask_number = backbone.n_elements
        # Not "head", the name of readouts, whose weights other models may take over.
        self.atom_head = make_perceptron(config, backbone, backbone.n_elements)

    def set_statistics(self, graphs: CrystalGraphs, targets: Targets, train: np.ndarray) -> None:
        """Check that no crystal holds the mask element."""
        check_no_mask(graphs, self.mask_number)

    def perturb(
        self, batch: CrystalBatch, targets: dict[str, Tensor], generator: torch.Generator
    ) -> tuple[CrystalBatch, dict[str, Tensor]]:
        """Mask atoms; the targets are their elements, -1 for atoms that are not masked."""
        masked_batch, masked = mask_atoms(batch, self.config.fraction, self.mask_number, generator)
        elements = torch.where(masked, batch.atomic_numbers - 1, -1)
        return masked_batch, {**targets, "elements": elements}

    def perturbation(self) -> Hashable:
        """Return the numbers that decide how the crystals change."""
        return (self.config.fraction, self.mask_number)

    def forward(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Compute the scores of the elements: logarithms of probabilities up to a constant."""
        scores: Tensor = self.atom_head(self.backbone(batch).scalars)  # (N, n_elements)
        return {"elements": scores}

    def predict(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict the probabilities of the elements."""
        return {"elements": super().predict(batch)["elements"].double().softmax(dim=1)}

    def losses(
        self, predictions: dict[str, Tensor], targets: dict[str, Tensor], batch: CrystalBatch
    ) -> dict[str, LossTerm]:
        """Compute the loss of the masked atoms."""
        elements, scores = targets["elements"], predictions["elements"]
        # All atoms, those that are not masked without a loss: to select the others would wait for
        # their number, on a GPU.
        masked = elements >= 0  # (N,)
        values = torch.where(masked, self._loss(scores, elements.clamp(min=0), masked), 0.0)
        entries = masked.to(values.dtype)
        weights = entries
        if "sample_weight" in targets:
            weights = entries * targets["sample_weight"][batch.batch]
        total = (weights * values).sum()
        return {"elements": LossTerm(total, weights.sum(), 1.0, entries.sum())}

    def _loss(self, scores: Tensor, elements: Tensor, masked: Tensor) -> Tensor:
        if self.config.loss == "cross_entropy":
            return functional.cross_entropy(scores, elements, reduction="none")
        axes = functional.one_hot(elements, scores.shape[1]).to(scores.dtype)
        distance = 1.0 - functional.cosine_similarity(scores, axes)
        # A power of zero may have an infinite slope, which no later mask would remove.
        return torch.where(masked, distance, 1.0) ** self.config.gamma
