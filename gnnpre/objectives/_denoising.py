"""Denoising: find the way back to a crystal from noise on its atoms."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from gnnpre._validation import check_bool, check_choice, check_number
from gnnpre._warnings import DataQualityWarning, warn_user
from gnnpre.backbones import ENERGY_POOLINGS, BackboneModule, Readout, pool
from gnnpre.graphs import CrystalBatch, CrystalGraphs

from ._base import LossTerm, Objective, ObjectiveModel, Targets
from ._derivatives import energy_and_derivatives
from ._losses import LOSSES, masked_term
from ._vector_head import VectorHead, vector_channels

__all__ = ["Denoising"]

FORMS = ("derivative", "head")
TARGETS = ("return", "noise")
SCALES = ("noise", "running", None)
# Crystals that the size of the noise is compared with.
N_CHECKED = 256
# Components after which the running scale becomes an exponential average.
N_REMEMBERED = 1e6


class Denoising(Objective):
    """Move atoms by Gaussian noise, drawn anew at each visit, and learn the way back.

    Needs no labels: crystals at or near equilibrium are enough. What ``predict`` gives is the
    displacement, in Å, that takes each atom of the crystals it is given to its place; it is in
    the form of a list with an array ``(n_atoms, 3)`` a crystal.

    The papers' form is ``Denoising(target="noise", remove_translation=False, scale=None,
    readout="early", head_layers=3, head_channels=150)``; its gamma is 1.

    Parameters
    ----------
    noise : float
        Standard deviation of the noise, in Å, on each Cartesian component of each atom; the cell
        stays.
    through : {"derivative", "head"}
        What gives the displacements: ``-dE/dr`` of a scalar E that is read out of the crystal; or
        a head on the features of each atom. The head is equivariant where the backbone gives
        vectors. Where it gives none, it is the papers' perceptron with three outputs, which knows
        no directions: its predictions do not turn with the crystal, and it hardly learns.
    target : {"return", "noise"}
        What the loss compares with: minus the noise, so that crystals are minima of E and
        ``-dE/dr`` pulls like a force; or the noise itself, the papers' form, which makes them
        maxima and works against a force field in a mixture. ``predict`` gives the way back with
        both.
    remove_translation : bool
        Take the mean over the atoms of a crystal out of target and prediction of a head: no model
        can see it, and ``-dE/dr`` has none. Crystals of one atom then have no part in the loss.
        The papers keep it.
    scale : {"noise", "running"} or None
        Unit of the loss and of what the network gives: ``noise``, the standard deviation of the
        targets so far (kept with the model), or, as in the papers, 1 Å.
    loss : {"l1", "huber", "mse"}
        Loss of each component.
    huber_delta : float
        Where the Huber loss turns from quadratic to linear, in that unit.
    readout : {"late", "early"}
        Scalars of atoms that are summed to E, or the papers' perceptron on pooled features. For
        ``"derivative"`` only, as is ``pooling``.
    pooling : {"sum", "mean"}
        Pooling of the readout. With ``"mean"`` it gives E per atom.
    head_channels : int, optional
        Width of the hidden layers of readout or head; that of the backbone by default.
    head_layers : int
        Hidden layers of readout or head; for vectors, gated equivariant blocks.

    Notes
    -----
    Edges are those of the given crystal, at the distances after the noise: one that grows longer
    than the cutoff fades out, one that would come in is missing. Beside graphs that are built
    anew (jdft2d and Alexandria frames, 0.1 Å, cutoffs of 5 and 6 Å, random weights), this changes
    ``-dE/dr`` of ``CGCNN(64, 3)`` by 0.3 % to 2.8 % of its root mean square (2.0 % after training,
    whose loss on graphs built anew is 0.2 % larger), and that of ``TorchMDNet`` by 0.01 %. The
    papers' CGCNN, which has no envelope, differs by 25 % to 40 %: there the energy jumps with
    each edge that comes or goes, which no derivative sees, and fixed edges make it smooth.

    References
    ----------
    S. Jia et al., "Derivative-based pre-training of graph neural networks for materials property
    predictions", Digital Discovery (2024), for ``"derivative"``; S. Zaidi et al., "Pre-training
    via Denoising for Molecular Property Prediction", ICLR (2023), for ``"head"`` and the running
    scale; K. T. Schütt, O. T. Unke and M. Gastegger, "Equivariant message passing for the
    prediction of tensorial properties and molecular spectra", ICML (2021), for the gated
    equivariant block.

    Examples
    --------
    >>> from gnnpre import CGCNN, Denoising, Pretrainer
    >>> from gnnpre.datasets import make_emt_frames
    >>> structures, _ = make_emt_frames(12, random_state=0)
    >>> pretrainer = Pretrainer(CGCNN(8, 1), Denoising(0.05), max_epochs=1, random_state=0)
    >>> displacements = pretrainer.fit(structures).predict(structures[:2])
    >>> [array.shape == (len(s), 3) for array, s in zip(displacements, structures)]
    [True, True]
    """

    needs_labels: ClassVar[bool] = False

    def __init__(
        self,
        noise: float = 0.1,
        through: str = "derivative",
        *,
        target: str = "return",
        remove_translation: bool = True,
        scale: str | None = "noise",
        loss: str = "l1",
        huber_delta: float = 0.1,
        readout: str = "late",
        pooling: str = "sum",
        head_channels: int | None = None,
        head_layers: int = 1,
    ) -> None:
        self.noise = noise
        self.through = through
        self.target = target
        self.remove_translation = remove_translation
        self.scale = scale
        self.loss = loss
        self.huber_delta = huber_delta
        self.readout = readout
        self.pooling = pooling
        self.head_channels = head_channels
        self.head_layers = head_layers

    def check_graphs(self, graphs: CrystalGraphs) -> None:
        """Refuse crystals of one atom alone; warn of large noise and of cut neighbours.

        Parameters
        ----------
        graphs : CrystalGraphs
            The crystals.

        Raises
        ------
        ValueError
            If no crystal has two atoms, and translations are removed.
        """
        if self.remove_translation and (graphs.atom_counts == 1).all():
            raise ValueError(
                "Every crystal of X has one atom, whose displacement nothing shows: there is "
                "nothing to learn from Denoising. Give supercells, or other crystals."
            )
        if self.through == "derivative" and graphs.settings.max_neighbors is not None:
            warn_user(
                f"The graphs keep max_neighbors={graphs.settings.max_neighbors} neighbours: "
                "derivatives jump where that cut changes. StructureToGraph(max_neighbors=None) "
                "keeps all within the cutoff.",
                DataQualityWarning,
            )
        nearest = _typical_nearest_distance(graphs)
        if self.noise > nearest / 4:
            warn_user(
                f"noise={self.noise} Å is large where the nearest neighbours are {nearest:.2f} Å "
                "apart (the median over crystals): many atoms collide. It is usually 0.02 to 0.2.",
                DataQualityWarning,
            )

    def make_targets(self, graphs: CrystalGraphs, y: Any) -> Targets:
        """Give empty targets: they are made as the noise is drawn.

        Parameters
        ----------
        graphs : CrystalGraphs
            The n crystals.
        y : object
            Ignored.

        Returns
        -------
        Targets
            Empty.

        Raises
        ------
        ValueError
            If a parameter is out of range.
        """
        self._check_parameters()
        return Targets(graphs.atom_counts, {})

    def build(self, backbone: BackboneModule, layout: dict[str, Any]) -> "DenoisingModel":
        """Put a readout, or a head for each atom, on a backbone.

        Parameters
        ----------
        backbone : BackboneModule
            What a backbone config built.
        layout : dict
            Empty.

        Returns
        -------
        ObjectiveModel
            The model to train.
        """
        self._check_parameters()
        kind = DerivativeDenoisingModel if self.through == "derivative" else HeadDenoisingModel
        return kind(backbone, self)

    def collect(
        self, parts: Sequence[dict[str, np.ndarray]], n_atoms: np.ndarray
    ) -> list[np.ndarray]:
        """Cut predictions into crystals.

        Parameters
        ----------
        parts : sequence of dict of str to ndarray
            Predictions batch by batch.
        n_atoms : ndarray of shape (n,)
            Atoms of each crystal.

        Returns
        -------
        list of n ndarray of shape (n_atoms, 3)
            Displacements, in Å, that take the atoms to their places.
        """
        rows = np.concatenate([part["displacements"] for part in parts])
        return np.split(rows, np.cumsum(n_atoms)[:-1])

    def _check_parameters(self) -> None:
        check_number("noise", self.noise)
        check_choice("through", self.through, FORMS)
        check_choice("pooling", self.pooling, ENERGY_POOLINGS)
        check_choice("target", self.target, TARGETS)
        check_choice("scale", self.scale, SCALES)
        check_choice("loss", self.loss, LOSSES)
        check_number("huber_delta", self.huber_delta)
        check_bool("remove_translation", self.remove_translation)


def _typical_nearest_distance(graphs: CrystalGraphs) -> float:
    """Median over (some) crystals of the shortest edge, in Å; infinite where there is none."""
    rows = np.unique(np.linspace(0, len(graphs) - 1, N_CHECKED).astype(int))
    batch = graphs.batch(rows, torch.float64)
    nearest = batch.distances.new_full((len(batch),), torch.inf)
    nearest.scatter_reduce_(0, batch.batch[batch.target], batch.distances, "amin")
    nearest = nearest[torch.isfinite(nearest)]
    return float(nearest.median()) if len(nearest) else float("inf")


class DenoisingModel(ObjectiveModel):
    """What both forms share: noise, and the loss of ``displacements``, the way back in Å."""

    scale: Tensor
    n_seen: Tensor

    def __init__(self, backbone: BackboneModule, config: Denoising) -> None:
        super().__init__(backbone)
        self.config = config
        # All losses are even: instead of the target's, the sign of what the network gives turns.
        self.sign = 1.0 if config.target == "return" else -1.0
        unit = 1.0 if config.scale is None else float(config.noise)
        self.register_buffer("scale", torch.tensor(unit))
        if config.scale == "running":
            self.register_buffer("n_seen", torch.zeros(()))

    def perturb(
        self, batch: CrystalBatch, targets: dict[str, Tensor], generator: torch.Generator
    ) -> tuple[CrystalBatch, dict[str, Tensor]]:
        """Move the atoms; the target is the way back."""
        positions = batch.positions
        noise = torch.randn(positions.shape, generator=generator, dtype=positions.dtype)
        noise = (noise * self.config.noise).to(positions.device)  # (N, 3)
        target = -noise
        if self.config.remove_translation:
            target = _without_translation(target, batch)
            alone = (batch.n_atoms == 1)[batch.batch]  # (N,)
            target = torch.where(alone[:, None], torch.nan, target)
        return batch.displaced(noise), {**targets, "displacements": target}

    def losses(
        self, predictions: dict[str, Tensor], targets: dict[str, Tensor], batch: CrystalBatch
    ) -> dict[str, LossTerm]:
        """Loss of all components, in units of the scale."""
        target, sample_weight = targets["displacements"], targets.get("sample_weight")
        term = masked_term(
            predictions["displacements"] / self.scale,
            target / self.scale,
            loss=self.config.loss,
            huber_delta=self.config.huber_delta,
            weight=1.0,
            sample_weight=None if sample_weight is None else sample_weight[batch.batch],
        )
        if self.training and self.config.scale == "running":
            self._follow(target[~torch.isnan(target)])
        return {"displacements": term}

    def _follow(self, components: Tensor) -> None:
        """Take new components into the running scale, their root mean square."""
        if not len(components):
            return
        # New tensors: the backward pass of this step still needs the old ones.
        self.n_seen = (self.n_seen + len(components)).clamp(max=N_REMEMBERED)
        share = (len(components) / self.n_seen).clamp(max=1.0)
        self.scale = torch.lerp(self.scale**2, components.square().mean(), share).sqrt()


def _without_translation(vectors: Tensor, batch: CrystalBatch) -> Tensor:
    return vectors - pool(vectors, batch, "mean")[batch.batch]


class DerivativeDenoisingModel(DenoisingModel):
    """Displacements as the derivative of a scalar."""

    differentiates = True

    def __init__(self, backbone: BackboneModule, config: Denoising) -> None:
        super().__init__(backbone, config)
        self.head = Readout(
            backbone.out_channels,
            1,
            order=config.readout,
            pooling=config.pooling,
            hidden_channels=config.head_channels,
            n_layers=config.head_layers,
        )

    def forward(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict displacements, and E (Å^2) with its derivatives that they are made of."""
        return self._predict(batch, create_graph=self.training)

    def predict(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict the same, detached."""
        return self._predict(batch, create_graph=False)

    def _predict(self, batch: CrystalBatch, create_graph: bool) -> dict[str, Tensor]:
        predictions = energy_and_derivatives(self._energy, batch, create_graph=create_graph)
        return {**predictions, "displacements": self.sign * predictions["forces"]}

    def _energy(self, batch: CrystalBatch) -> Tensor:
        value = self.head(self.backbone(batch).scalars, batch)[:, 0] * self.scale  # (n,)
        if self.config.pooling == "mean":
            value = value * batch.n_atoms.to(value.dtype)
        return value


class HeadDenoisingModel(DenoisingModel):
    """Displacements from the features of each atom."""

    def __init__(self, backbone: BackboneModule, config: Denoising) -> None:
        super().__init__(backbone, config)
        width, n_layers = config.head_channels, config.head_layers
        perceptron = Readout(backbone.out_channels, 3, hidden_channels=width, n_layers=n_layers).mlp
        vectors = vector_channels(backbone)
        self.equivariant = vectors is not None
        # Not "head", the name of readouts, which other models may take over.
        self.atom_head: nn.Module = perceptron
        if vectors is not None:
            self.atom_head = VectorHead(
                backbone.out_channels, vectors, width or backbone.out_channels, n_layers
            )

    def forward(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict displacements."""
        features = self.backbone(batch)
        if self.equivariant:
            value = self.atom_head(features.scalars, features.vectors)  # (N, 3)
        else:
            value = self.atom_head(features.scalars)  # (N, 3)
        if self.config.remove_translation:
            value = _without_translation(value, batch)
        return {"displacements": self.sign * self.scale * value}
