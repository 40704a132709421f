"""Two views: equal embeddings of a crystal under two perturbations, without negatives."""

from collections.abc import Hashable, Sequence
from dataclasses import fields
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from gnnpre._constraints import Check, number, size
from gnnpre._joint_sums import joint_mean, joint_sum
from gnnpre.backbones import BackboneModule, Readout
from gnnpre.graphs import CrystalBatch, CrystalGraphs, send

from ._collect import join_batches
from ._element_masking import check_no_mask, mask_atoms
from ._label_free import LabelFreeObjective
from ._losses import LossTerm
from ._model import ObjectiveModel
from ._readout import HEAD_CONSTRAINTS
from ._strain import draw_strain
from ._targets import Targets

__all__ = ["TwoViews"]

N_VIEWS = 2
# The characteristic function is compared at these points, and random directions are so many.
LARGEST_FREQUENCY, N_FREQUENCIES, N_DIRECTIONS = 3.0, 17, 64


class TwoViews(LabelFreeObjective):
    """Learn embeddings that agree for two views of a crystal, and spread as a Gaussian over all.

    Needs no labels, no negative pairs and no teacher network. A view is the crystal with noise on
    its atoms, a strain of its cell, and some elements masked. The loss is the squared distance
    of both embeddings to their mean, and a test of each view's embeddings against a standard
    normal distribution, along random directions, which keeps them from collapsing. ``predict``
    returns the embeddings of the crystals as they are, ``(n, channels)``.

    Parameters
    ----------
    noise : float
        Standard deviation of the noise, in Å, on each Cartesian component of each atom; 0 for
        none.
    strain : float
        Standard deviation of each component of a symmetric strain of the cell; 0 for none.
    mask : float
        Probability that the element of an atom is masked, as in :class:`ElementMasking`; 0 for
        none.
    channels : int
        Dimension of the embeddings that are compared.
    regularization : float
        Weight of the Gaussian test, between 0 and 1; the agreement has the rest.
    head_channels : int, optional
        Width of the hidden layers of the perceptron behind the pooled features; that of the
        backbone by default.
    head_layers : int
        Hidden layers of the perceptron.

    References
    ----------
    R. Balestriero and Y. LeCun, "LeJEPA: Provable and scalable self-supervised learning without
    the heuristics", arXiv:2511.08544 (2025); T. W. Epps and L. B. Pulley, "A test for normality
    based on the empirical characteristic function", Biometrika 70, 723 (1983).

    Examples
    --------
    >>> from gnnpre import CGCNN, Pretrainer, TwoViews
    >>> from gnnpre.datasets import make_emt_frames
    >>> structures, _ = make_emt_frames(12, random_state=0)
    >>> pretrainer = Pretrainer(CGCNN(8, 1), TwoViews(channels=4), max_epochs=1, random_state=0)
    >>> pretrainer.fit(structures).predict(structures[:2]).shape
    (2, 4)
    """

    _constraints: ClassVar[dict[str, Check]] = {
        "noise": number(low_included=True),
        "strain": number(low_included=True, high=0.3),
        "mask": number(low_included=True, high=0.9),
        "channels": size(),
        "regularization": number(high=0.99),
        **HEAD_CONSTRAINTS,
    }

    def __init__(
        self,
        noise: float = 0.1,
        *,
        strain: float = 0.02,
        mask: float = 0.1,
        channels: int = 64,
        regularization: float = 0.05,
        head_channels: int | None = None,
        head_layers: int = 1,
    ) -> None:
        self.noise = noise
        self.strain = strain
        self.mask = mask
        self.channels = channels
        self.regularization = regularization
        self.head_channels = head_channels
        self.head_layers = head_layers

    def check_parameters(self) -> None:
        """Check that every parameter has an allowed value.

        Raises
        ------
        ValueError
            If one has not, or views do not differ.
        """
        super().check_parameters()
        if not (self.noise or self.strain or self.mask):
            raise ValueError("noise, strain and mask are all 0: both views are the same.")

    def build(self, backbone: BackboneModule, layout: dict[str, Any]) -> "TwoViewsModel":
        self.check_parameters()
        return TwoViewsModel(backbone, self)

    def collect(self, batches: Sequence[dict[str, np.ndarray]], n_atoms: np.ndarray) -> np.ndarray:
        return join_batches(batches, "embedding")

    def search_space(self) -> dict[str, Any]:
        from optuna.distributions import FloatDistribution

        return {
            "noise": FloatDistribution(0.02, 0.3, log=True),
            "regularization": FloatDistribution(0.01, 0.5, log=True),
        }


class TwoViewsModel(ObjectiveModel):
    """A backbone whose pooled features a perceptron maps to the embeddings that are compared."""

    def __init__(self, backbone: BackboneModule, config: TwoViews) -> None:
        super().__init__(backbone)
        self.config = config
        self.mask_number = backbone.n_elements
        # Not "head", the name of readouts of properties.
        self.projector = Readout(
            backbone.out_channels,
            config.channels,
            order="early",
            pooling="mean",
            hidden_channels=config.head_channels,
            n_layers=config.head_layers,
        )

    def set_statistics(self, graphs: CrystalGraphs, targets: Targets, train: np.ndarray) -> None:
        """Check that no crystal holds the mask element."""
        if self.config.mask:
            check_no_mask(graphs, self.mask_number)

    def perturb(
        self, batch: CrystalBatch, targets: dict[str, Tensor], generator: torch.Generator
    ) -> tuple[CrystalBatch, dict[str, Tensor]]:
        """Join two views of the crystals to one batch, and draw directions for the test."""
        views = [self._view(batch, generator) for _ in range(N_VIEWS)]
        shape = (self.config.channels, N_DIRECTIONS)
        directions = torch.randn(shape, generator=generator, dtype=batch.positions.dtype)
        directions = send(directions / directions.norm(dim=0), batch.positions.device)
        return joined(views), {**targets, "directions": directions}

    def perturbation(self) -> Hashable:
        """Return the numbers that decide how the crystals change."""
        return (self.config.noise, self.config.strain, self.config.mask)

    def select(
        self, batch: CrystalBatch, targets: dict[str, Tensor], chosen: Tensor
    ) -> tuple[CrystalBatch, dict[str, Tensor]]:
        """Return both views of the crystals of one process; all processes share directions."""
        share = batch.select(chosen.repeat(N_VIEWS))
        rows = {name: v if name == "directions" else v[chosen] for name, v in targets.items()}
        return share, rows

    def _view(self, batch: CrystalBatch, generator: torch.Generator) -> CrystalBatch:
        positions = batch.positions
        noise = torch.randn(positions.shape, generator=generator, dtype=positions.dtype)
        view = batch.displaced(send(noise * self.config.noise, positions.device))
        if self.config.strain:
            view = view.strained(draw_strain(batch, self.config.strain, generator))
        if self.config.mask:
            view, _ = mask_atoms(view, self.config.mask, self.mask_number, generator)
        return view

    def forward(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Compute the embeddings."""
        return {"embedding": self.projector(self.backbone(batch).scalars, batch)}  # (n, channels)

    def losses(
        self, predictions: dict[str, Tensor], targets: dict[str, Tensor], batch: CrystalBatch
    ) -> dict[str, LossTerm]:
        """Compute the disagreement of the views, and how far each is from a Gaussian."""
        # perturb joined the views, one after the other; batch has the crystals once.
        views = predictions["embedding"].unflatten(0, (N_VIEWS, -1))  # (2, n, channels)
        distances = (views - views.mean(dim=0)).square().mean(dim=(0, 2))  # (n,)
        weights = targets.get("sample_weight", torch.ones_like(distances))
        entries = distances.new_full((), len(distances))
        deviation = gaussian_deviation(views @ targets["directions"])
        share = self.config.regularization
        return {
            "agreement": LossTerm((weights * distances).sum(), weights.sum(), 1.0 - share, entries),
            "gaussian": LossTerm(deviation * entries, entries, share),
        }


def joined(batches: Sequence[CrystalBatch]) -> CrystalBatch:
    """Join batches to one, crystals after crystals."""
    values = {
        field.name: [getattr(batch, field.name) for batch in batches]
        for field in fields(CrystalBatch)
    }
    first_atom = first_crystal = 0
    for index, batch in enumerate(batches):
        values["edge_index"][index] = batch.edge_index + first_atom
        values["batch"][index] = batch.batch + first_crystal
        first_atom += len(batch.atomic_numbers)
        first_crystal += len(batch)
    along = {name: 1 if name == "edge_index" else 0 for name in values}
    return CrystalBatch(**{name: torch.cat(v, dim=along[name]) for name, v in values.items()})


def gaussian_deviation(samples: Tensor) -> Tensor:
    """Compare samples ``(..., n, K)`` with a standard normal along each of K directions.

    Epps and Pulley's statistic, the weighted squared distance of the characteristic functions
    times n, averaged over directions.
    """
    frequencies = torch.linspace(
        0.0, LARGEST_FREQUENCY, N_FREQUENCIES, dtype=samples.dtype, device=samples.device
    )
    normal = torch.exp(-0.5 * frequencies**2)  # its characteristic function, and the weight
    step = LARGEST_FREQUENCY / (N_FREQUENCIES - 1)
    weights = torch.full_like(frequencies, 2.0 * step)  # positive and negative frequencies
    weights[:: N_FREQUENCIES - 1] = step  # trapezoids: the first and the last
    angles = samples[..., None] * frequencies  # (..., n, K, T)
    real, imaginary = joint_mean(angles.cos(), dim=-3), joint_mean(angles.sin(), dim=-3)
    squares = (real - normal) ** 2 + imaginary**2
    n = joint_sum(samples.new_full((), samples.shape[-2]))
    return ((squares @ (weights * normal)) * n).mean()
