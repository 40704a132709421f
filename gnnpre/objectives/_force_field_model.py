"""The model of a force field: one energy, its derivatives, and reference energies."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gnnpre._warnings import DataQualityWarning, warn_user
from gnnpre.backbones import BackboneModule
from gnnpre.graphs import CrystalBatch, CrystalGraphs

from ._derivatives import energy_and_derivatives
from ._label_checks import warn_of_implausible_labels, warn_of_size_dependence
from ._label_summary import LabelSummary, summarize_labels
from ._losses import LossTerm, masked_term
from ._model import NAN, ObjectiveModel, Predict
from ._references import fit_reference_energies
from ._scaling import mean_and_spread
from ._targets import Targets

if TYPE_CHECKING:
    from ._force_field import ForceField

__all__ = ["LABELS", "ForceFieldModel"]

LABELS = ("energy", "forces", "stress")
# Energies per atom that agree to so many digits have no spread but rounding.
ENERGY_ROUNDING = 1e-12
# Forces on perfect crystals are rounding too: so small beside energies (eV/Å and eV per atom).
FORCE_ROUNDING = 1e-6
SMALLEST_SCALE = 1e-7


class ForceFieldModel(ObjectiveModel):
    """A backbone with an energy readout, and the derivatives of that energy.

    The network predicts the energy less the reference energies of the atoms; only
    :meth:`standardize` and :meth:`predict`, both in float64, know totals.
    """

    left_out = NAN
    # Labels have the same units everywhere, and the same zero but for offsets of the elements.
    kept_statistics = ("scale", "reference_energies")

    reference_energies: Tensor
    source_offsets: Tensor
    scale: Tensor

    def __init__(self, backbone: BackboneModule, config: "ForceField") -> None:
        super().__init__(backbone)
        self.config = config
        self.head = config.make_readout(backbone, 1)
        zeros = torch.zeros(backbone.n_elements, dtype=torch.float64)
        self.register_buffer("reference_energies", zeros)
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        if config.sources is not None:
            # Reference energies of each source less those of the first, which predictions have.
            self.register_buffer("source_offsets", zeros.repeat(len(config.sources), 1))

    def set_statistics(self, graphs: CrystalGraphs, targets: Targets, train: np.ndarray) -> None:
        """Fit reference energies and the scale to the training set, and check its labels."""
        labels = summarize_labels(graphs, targets, train, len(self.reference_energies))
        counts, energy = labels.counts, labels.energy
        if self.config.energy and not len(energy):
            warn_user(
                f"y has no energy among the {len(train)} frames to train on (those held out for "
                "validation, and of weight zero, do not count): predicted energies mean nothing. "
                "Set energy=0, or hold out other frames.",
                DataQualityWarning,
            )
        warn_of_implausible_labels(graphs, targets, train, self.config)
        # 1. reference energies, and what they leave
        residual = energy
        if self.config.reference_energies is not None and len(energy):
            if self.config.energy and len(self.config.sources or "-") == 1:
                warn_of_size_dependence(counts, energy)
            residual = self._fit_references(labels)
        # 2. the unit of the network
        if self.config.scale:
            n_atoms = counts.sum(axis=1)
            size = self._typical_size(residual / n_atoms, energy / n_atoms, labels.force)
            self.scale.fill_(size)
            if self.scale < SMALLEST_SCALE:
                warn_user(
                    f"The labels have a typical size of {float(self.scale):.4g}; in eV/Å and eV "
                    "per atom that is none, and the loss is too small for the optimiser. Check "
                    "their units: gnnpre takes eV, eV/Å and eV/Å^3.",
                    DataQualityWarning,
                )

    def _fit_references(self, labels: LabelSummary) -> np.ndarray:
        """Fit the reference energies of each source; return the energies less those."""
        tables = self._reference_tables(labels, labels.energy)
        self._set_references(tables)
        if len(tables) == 1:
            residual: np.ndarray = labels.energy - labels.counts @ tables[0]
            return residual
        residual = labels.energy.copy()
        for source, table in enumerate(tables):
            of_source = labels.sources == source
            residual[of_source] -= labels.counts[of_source] @ table
        return residual

    def _reference_tables(self, labels: LabelSummary, energy: np.ndarray) -> np.ndarray:
        """Return energies of the elements, one row for each source, fitted to ``energy`` (n,)."""
        if labels.sources is None or self.config.sources is None:
            return fit_reference_energies(labels.counts, energy)[None]
        return _references_by_source(
            labels.counts, energy, labels.sources, len(self.config.sources)
        )

    def _set_references(self, tables: np.ndarray) -> None:
        self.reference_energies.copy_(torch.from_numpy(tables[0]))
        if self.config.sources is not None:
            self.source_offsets.copy_(torch.from_numpy(tables - tables[0]))

    def correct_statistics(
        self, graphs: CrystalGraphs, targets: Targets, train: np.ndarray, predict: Predict
    ) -> None:
        """Add to the reference energies what this model lacks of the energies of the frames.

        Offsets of another code or of other pseudopotentials are hundreds of eV, and no task of the
        network. Elements without a frame keep their reference energies, and so do all with
        ``reference_energies=None``.
        """
        if self.config.reference_energies is None:
            return
        labels = summarize_labels(graphs, targets, train, len(self.reference_energies))
        if not len(labels.energy):
            return
        predicted = np.concatenate([batch["energy"] for batch in predict(self.predict_energy)])
        before = self.reference_energies.cpu().numpy()
        corrections = self._reference_tables(labels, labels.energy - predicted[labels.frames])
        corrections[:, labels.counts.sum(axis=0) == 0] = 0.0
        self._set_references(before + corrections)

    def _typical_size(self, per_atom: np.ndarray, totals: np.ndarray, force: float) -> float:
        """Return the root mean square force, or the spread of energies; 1 where both are 0."""
        spread = size = 0.0
        if len(per_atom):
            spread = float(mean_and_spread(per_atom)[1])
            spread = spread if spread > ENERGY_ROUNDING * np.abs(totals).max() else 0.0
        if self.config.forces:
            size = force
        if size > FORCE_ROUNDING * spread:
            return size
        return spread if spread > 0 else 1.0

    @property
    def differentiates(self) -> bool:
        """Whether the losses need derivatives: those of forces and stress do."""
        return bool(self.config.forces or self.config.stress)

    def _references(self, batch: CrystalBatch) -> Tensor:
        """Return the sum of the reference energies of each crystal, ``(n,)`` in float64."""
        energies = self.reference_energies[batch.atomic_numbers - 1]  # (N,)
        return energies.new_zeros(len(batch)).index_add(0, batch.batch, energies)

    def in_label_unit(self, term: str, loss: float) -> str:
        """Write an error of energies, forces or stresses with its unit."""
        unit = self.config.term_units().get(term)
        return f"{term} {loss:.4g} {unit}" if unit else ""

    def standardize(self, labels: dict[str, Tensor], batch: CrystalBatch) -> dict[str, Tensor]:
        """Subtract the reference energies."""
        energy = labels["energy"] - self._references(batch)
        if "source" in labels:
            source = labels["source"].long()[batch.batch]
            offsets = self.source_offsets[source, batch.atomic_numbers - 1]  # (N,)
            energy = energy.index_add(0, batch.batch, offsets, alpha=-1)
        return {**labels, "energy": energy}

    def forward(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict the energy less references; derivatives only where they have a weight."""
        if not self.differentiates:
            return {"energy": self._energy(batch)}
        return energy_and_derivatives(self._energy, batch, create_graph=self.training)

    def predict(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict energy (eV per cell, float64), forces (eV/Å) and stress (eV/Å^3)."""
        predictions = energy_and_derivatives(self._energy, batch, create_graph=False)
        return {**predictions, "energy": predictions["energy"].double() + self._references(batch)}

    def predict_energy(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict the energy alone (eV per cell, float64), without derivatives."""
        with torch.no_grad():
            return {"energy": self._energy(batch).double() + self._references(batch)}

    def predict_atom_energies(self, batch: CrystalBatch) -> Tensor:
        """Predict the share of each atom in the energy, reference included: ``(N,)`` in eV."""
        if not self.head.extensive:
            raise ValueError(
                "The energy of this model is not a sum over atoms: energies of atoms need "
                "ForceField(readout='late', pooling='sum')."
            )
        with torch.no_grad():
            values = self.head.mlp(self.backbone(batch).scalars)[:, 0] * self.scale  # (N,)
        return values.double() + self.reference_energies[batch.atomic_numbers - 1]

    def _energy(self, batch: CrystalBatch) -> Tensor:
        """Return the energy of the network, without references: ``(n,)``."""
        value = self.head(self.backbone(batch).scalars, batch)[:, 0] * self.scale  # (n,)
        if self.config.pooling == "mean":
            value = value * batch.n_atoms.to(value.dtype)
        return value

    def losses(
        self, predictions: dict[str, Tensor], targets: dict[str, Tensor], batch: CrystalBatch
    ) -> dict[str, LossTerm]:
        """Compute the losses of energy, forces and stress, those with a weight."""
        sample_weight = targets.get("sample_weight")
        terms = {}
        for name in LABELS:
            weight = getattr(self.config, name)
            if not weight:
                continue
            prediction, target, rows = predictions[name], targets[name], sample_weight
            if name == "energy" and self.config.energy_per == "atom":
                prediction, target = prediction / batch.n_atoms, target / batch.n_atoms
            if name == "forces" and rows is not None:
                rows = rows[batch.batch]
            if name == "stress":  # undefined unless all directions are periodic
                periodic = batch.pbc.all(dim=1)[:, None, None]
                target = torch.where(periodic, target, torch.nan)
            terms[name] = masked_term(
                prediction,
                target,
                loss=self.config.loss,
                huber_delta=self.config.huber_delta,
                weight=weight,
                sample_weight=rows,
            )
        return terms


def _references_by_source(
    counts: Any, energy: np.ndarray, sources: np.ndarray, n_sources: int
) -> np.ndarray:
    """Return reference energies ``(n_sources, n_elements)``, fitted source by source.

    An element that a source lacks gets the energy in the first source that has it, shifted by the
    median difference between both over the elements that they share.
    """
    tables = np.full((n_sources, counts.shape[1]), np.nan)
    # 1. each source alone, for the elements that it has
    for source in np.unique(sources):
        of_source = sources == source
        fitted = fit_reference_energies(counts[of_source], energy[of_source])
        present = counts[of_source].sum(axis=0) > 0
        tables[source, present] = fitted[present]
    # 2. missing elements, from the first source that has them; the pooled fit has all
    pooled = fit_reference_energies(counts, energy)
    filled = tables.copy()
    for source in range(n_sources):
        for donor in (*tables, pooled):
            shift = tables[source] - donor
            shared = np.isfinite(shift)
            offset = np.median(shift[shared]) if shared.any() else 0.0
            missing = np.isnan(filled[source]) & np.isfinite(donor)
            filled[source, missing] = donor[missing] + offset
    return filled
