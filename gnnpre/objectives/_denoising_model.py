"""Models that predict the way back from noise: by a derivative, or by heads on atoms and edges."""

from collections.abc import Hashable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gnnpre._joint_sums import joint_sum
from gnnpre.backbones import BackboneModule, pool
from gnnpre.graphs import CrystalBatch, send

from ._derivatives import energy_and_derivatives
from ._losses import LossTerm, masked_term
from ._model import NAN, ObjectiveModel
from ._readout import make_perceptron
from ._strain import StrainHead, draw_strain
from ._vector_head import VectorHead, vector_channels

if TYPE_CHECKING:
    from ._denoising import Denoising

__all__ = ["DenoisingModel", "DerivativeDenoisingModel", "HeadDenoisingModel"]

# Components after which the running scale becomes an exponential average.
N_REMEMBERED = 1e6


class DenoisingModel(ObjectiveModel):
    """Noise and losses of both forms: ``displacements``, the way back in Å, and ``strain``."""

    left_out = NAN

    scale: Tensor
    n_seen: Tensor

    def __init__(self, backbone: BackboneModule, config: "Denoising") -> None:
        super().__init__(backbone)
        self.config = config
        # All losses are even: the sign of the output turns instead of that of the target.
        self.sign = 1.0 if config.target == "return" else -1.0
        unit = 1.0 if config.scale is None else float(config.noise)
        self.register_buffer("scale", torch.tensor(unit, dtype=torch.float64))
        if config.scale == "running":
            self.register_buffer("n_seen", torch.zeros((), dtype=torch.float64))

    def perturb(
        self, batch: CrystalBatch, targets: dict[str, Tensor], generator: torch.Generator
    ) -> tuple[CrystalBatch, dict[str, Tensor]]:
        """Move the atoms, and strain the cells; the target is the way back."""
        # 1. noise on the atoms
        positions = batch.positions
        noise = torch.randn(positions.shape, generator=generator, dtype=positions.dtype)
        noise = send(noise * self.config.noise, positions.device)  # (N, 3)
        moved, target = batch.displaced(noise), -noise
        # 2. strain of the cells, which turns and stretches the way back too
        strain_target = {}
        if self.config.strain:
            strain = draw_strain(batch, self.config.strain, generator)  # (n, 3, 3)
            moved = moved.strained(strain)
            target = target + (target[:, None] @ strain[batch.batch])[:, 0]
            periodic = batch.pbc.all(dim=1)[:, None, None]
            strain_target["strain"] = torch.where(periodic, -strain, torch.nan)
        # 3. no model sees where a crystal is as a whole
        if self.config.remove_translation:
            target = _without_translation(target, batch)
            alone = (batch.n_atoms == 1)[batch.batch]  # (N,)
            target = torch.where(alone[:, None], torch.nan, target)
        return moved, {**targets, "displacements": target, **strain_target}

    def perturbation(self) -> Hashable:
        """Return the numbers that decide how the crystals change."""
        return (self.config.noise, self.config.strain)

    def losses(
        self, predictions: dict[str, Tensor], targets: dict[str, Tensor], batch: CrystalBatch
    ) -> dict[str, LossTerm]:
        """Compute the losses of all components, in units of the noise and of the strain."""
        units = {"displacements": self.scale}
        if self.config.strain:
            units["strain"] = torch.tensor(self.config.strain)
        sample_weight, terms = targets.get("sample_weight"), {}
        for name, unit in units.items():
            # One weight for each crystal: displacements have a row for each atom.
            rows = sample_weight
            if rows is not None and name == "displacements":
                rows = rows[batch.batch]
            terms[name] = masked_term(
                predictions[name] / unit,
                targets[name] / unit,
                loss=self.config.loss,
                huber_delta=self.config.huber_delta,
                weight=1.0,
                sample_weight=rows,
            )
        if self.training and self.config.scale == "running":
            self._update_scale(targets["displacements"])
        return terms

    def _update_scale(self, target: Tensor) -> None:
        """Add new components to the running scale, their root mean square."""
        # Sums over a mask, and no branch on their values: either would wait for the GPU.
        present = ~torch.isnan(target)
        count = joint_sum(present.sum().to(self.n_seen.dtype))
        squares = joint_sum(torch.where(present, target, 0.0).double().square().sum())
        # New tensors: the backward pass of this step still needs the old ones.
        self.n_seen = (self.n_seen + count).clamp(max=N_REMEMBERED)
        share = (count / self.n_seen.clamp(min=1.0)).clamp(max=1.0)  # 0 without components
        mean_square = squares / count.clamp(min=1.0)
        self.scale = torch.lerp(self.scale**2, mean_square, share).sqrt()


def _without_translation(vectors: Tensor, batch: CrystalBatch) -> Tensor:
    return vectors - pool(vectors, batch, "mean").index_select(0, batch.batch)


class DerivativeDenoisingModel(DenoisingModel):
    """Displacements and strains as derivatives of a scalar."""

    differentiates = True

    def __init__(self, backbone: BackboneModule, config: "Denoising") -> None:
        super().__init__(backbone, config)
        self.head = config.make_readout(backbone, 1)

    def forward(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict displacements, and E (Å^2) with the derivatives that they come from."""
        return self._predict(batch, create_graph=self.training)

    def predict(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict the same, detached."""
        return self._predict(batch, create_graph=False)

    def _predict(self, batch: CrystalBatch, create_graph: bool) -> dict[str, Tensor]:
        predictions = energy_and_derivatives(self._energy, batch, create_graph=create_graph)
        predictions["displacements"] = self.sign * predictions["forces"]
        if self.config.strain:
            # E is about the sum of squares of displacements: V stress = -n_atoms length^2 strain.
            length = (batch.volume / batch.n_atoms) ** (1 / 3)  # (n,)
            predictions["strain"] = -self.sign * predictions["stress"] * length[:, None, None]
        return predictions

    def _energy(self, batch: CrystalBatch) -> Tensor:
        value = self.head(self.backbone(batch).scalars, batch)[:, 0] * self.scale  # (n,)
        if self.config.pooling == "mean":
            value = value * batch.n_atoms.to(value.dtype)
        return value


class HeadDenoisingModel(DenoisingModel):
    """Displacements from the features of each atom, and strains from edges."""

    def __init__(self, backbone: BackboneModule, config: "Denoising") -> None:
        super().__init__(backbone, config)
        # Drawn even where a vector head replaces it: the weights that a seed draws stay the same.
        perceptron = make_perceptron(config, backbone, 3)
        vectors = vector_channels(backbone)
        self.equivariant = vectors is not None
        # Not "head", the name of readouts, whose weights other models may take over.
        self.atom_head: nn.Module = perceptron
        if vectors is not None:
            width = config.head_channels or backbone.out_channels
            self.atom_head = VectorHead(backbone.out_channels, vectors, width, config.head_layers)
        if config.strain:
            self.strain_head = StrainHead(backbone.out_channels)

    def forward(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict displacements, and strains."""
        features = self.backbone(batch)
        if self.equivariant:
            value = self.atom_head(features.scalars, features.vectors)  # (N, 3)
        else:
            value = self.atom_head(features.scalars)  # (N, 3)
        if self.config.remove_translation:
            value = _without_translation(value, batch)
        predictions = {"displacements": self.sign * self.scale * value}
        if self.config.strain:
            strain = self.strain_head(features.scalars, batch)  # (n, 3, 3)
            predictions["strain"] = self.sign * self.config.strain * strain
        return predictions
