"""Explicit force field: energy, forces and stress as derivatives of one scalar."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnpre._validation import check_bool, check_choice, check_number
from gnnpre._warnings import DataQualityWarning, warn_user
from gnnpre.backbones import ENERGY_POOLINGS, BackboneModule, Readout
from gnnpre.graphs import CrystalBatch, CrystalGraphs, FrameLabels

from ._base import LossTerm, Objective, ObjectiveModel, Targets
from ._derivatives import energy_and_derivatives
from ._losses import LOSSES, masked_term
from ._references import REFERENCES, element_counts, fit_reference_energies

__all__ = ["ForceField"]

LABELS = {"energy": "eV per cell", "forces": "eV/Å", "stress": "eV/Å^3"}


class ForceField(Objective):
    """Learn energy, forces and stress, the last two as exact derivatives of the first.

    The loss is ``energy * L(E) + forces * L(F) + stress * L(S)``, each L a mean over all entries
    that have a label. The five ratios of Jia et al. (2024), on raw total energies, are
    ``ForceField(1, 0, 0, ...)``, ``(0, 1, 0)``, ``(0, 1, 1)``, ``(1, 1, 1)`` and
    ``(1, 500, 500)`` with ``energy_per="cell", reference_energies=None, scale=False,
    readout="early", head_layers=3, head_channels=150``.

    Parameters
    ----------
    energy : float
        Weight of the energy loss (eV per atom or per cell); 0 leaves it out.
    forces : float
        Weight of the force loss (eV/Å); 0 leaves it out.
    stress : float
        Weight of the stress loss (eV/Å^3, so its numbers are some hundred times smaller); 0
        leaves it out.
    energy_per : {"atom", "cell"}
        What the energy loss is taken over: the energy divided by the number of atoms, or that of
        the cell, as in the papers.
    loss : {"l1", "huber", "mse"}
        Loss of each entry; forces and stress count each component.
    huber_delta : float
        Where the Huber loss turns from quadratic to linear, in the unit of each label.
    reference_energies : {"ridge", "minimum_norm"} or None
        Energies per element, fitted to the training part and kept with the model, that the
        network adds to; None for raw totals.
    scale : bool
        Multiply what the network gives by the typical size of the labels: the root mean square
        force, or the spread of the energies per atom where forces have no weight.
    readout : {"late", "early"}
        Energies of atoms that are summed, so that the energy is size-extensive; or the papers'
        perceptron on pooled features, which is not.
    pooling : {"sum", "mean"}
        Pooling of the readout. With ``"mean"`` it gives the energy per atom.
    head_channels : int, optional
        Width of the hidden layers of the readout; that of the backbone by default.
    head_layers : int
        Hidden layers of the readout.

    See Also
    --------
    gnnpre.FrameLabels : The labels, and what their units and signs are.

    References
    ----------
    S. Jia et al., "Derivative-based pre-training of graph neural networks for materials property
    predictions", Digital Discovery (2024), equation 6.

    Examples
    --------
    >>> from gnnpre import ForceField
    >>> ForceField(forces=10, loss="huber")
    ForceField(forces=10, loss='huber')
    """

    def __init__(
        self,
        energy: float = 1.0,
        forces: float = 1.0,
        stress: float = 1.0,
        *,
        energy_per: str = "atom",
        loss: str = "l1",
        huber_delta: float = 0.01,
        reference_energies: str | None = "ridge",
        scale: bool = True,
        readout: str = "late",
        pooling: str = "sum",
        head_channels: int | None = None,
        head_layers: int = 1,
    ) -> None:
        self.energy = energy
        self.forces = forces
        self.stress = stress
        self.energy_per = energy_per
        self.loss = loss
        self.huber_delta = huber_delta
        self.reference_energies = reference_energies
        self.scale = scale
        self.readout = readout
        self.pooling = pooling
        self.head_channels = head_channels
        self.head_layers = head_layers

    def check_graphs(self, graphs: CrystalGraphs) -> None:
        """Warn when a cut of the neighbours makes forces discontinuous.

        Parameters
        ----------
        graphs : CrystalGraphs
            The crystals.
        """
        if graphs.settings.max_neighbors is not None and (self.forces or self.stress):
            warn_user(
                f"The graphs keep max_neighbors={graphs.settings.max_neighbors} neighbours: forces "
                "and stress jump where that cut changes. StructureToGraph(max_neighbors=None) "
                "keeps all within the cutoff.",
                DataQualityWarning,
            )

    def make_targets(self, graphs: CrystalGraphs, y: Any) -> Targets:
        """Check frame labels and turn them into targets.

        Parameters
        ----------
        graphs : CrystalGraphs
            The n crystals.
        y : FrameLabels of shape (n,)
            Their labels.

        Returns
        -------
        Targets
            Energy (n,), forces (N, 3), stress (n, 3, 3).

        Raises
        ------
        TypeError
            If ``y`` holds no frame labels.
        ValueError
            If the labels do not fit the crystals, or one with a weight is missing everywhere.
        """
        self._check_parameters()
        _check_labels(graphs, y)
        periodic = graphs.pbc.cpu().numpy().all(axis=1)
        usable = {"energy": y.energy, "forces": y.forces, "stress": y.stress[periodic]}
        for name, unit in LABELS.items():
            if getattr(self, name) and not np.isfinite(usable[name]).any():
                raise ValueError(
                    f"y has no {name} ({unit}; all are missing, or stress of cells that are not "
                    f"periodic in all directions), but ForceField gives it the weight "
                    f"{getattr(self, name)}. Set {name}=0, or read the labels with the right key."
                )
        # Copies: what a worker process gets may be a read-only memory map.
        crystal = {"energy": torch.tensor(y.energy), "stress": torch.tensor(y.stress)}
        return Targets(y.n_atoms, crystal, {"forces": torch.tensor(y.forces)})

    def build(self, backbone: BackboneModule, layout: dict[str, Any]) -> "ForceFieldModel":
        """Put an energy readout on a backbone.

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
        return ForceFieldModel(backbone, self)

    def collect(self, parts: Sequence[dict[str, np.ndarray]], n_atoms: np.ndarray) -> FrameLabels:
        """Join predictions into frame labels.

        Parameters
        ----------
        parts : sequence of dict of str to ndarray
            Predictions batch by batch.
        n_atoms : ndarray of shape (n,)
            Atoms of each crystal.

        Returns
        -------
        FrameLabels
            Energy (eV per cell), forces (eV/Å), stress (eV/Å^3; NaN where not fully periodic).
        """
        energy, forces, stress = (np.concatenate([part[name] for part in parts]) for name in LABELS)
        return FrameLabels(n_atoms, energy=energy, forces=forces, stress=stress)

    def _check_parameters(self) -> None:
        for name in LABELS:
            check_number(name, getattr(self, name), low_included=True)
        if not (self.energy or self.forces or self.stress):
            raise ValueError("energy, forces and stress all have weight 0: nothing to learn.")
        check_choice("pooling", self.pooling, ENERGY_POOLINGS)
        check_choice("energy_per", self.energy_per, ("atom", "cell"))
        check_choice("loss", self.loss, LOSSES)
        check_choice("reference_energies", self.reference_energies, (None, *REFERENCES))
        check_number("huber_delta", self.huber_delta)
        check_bool("scale", self.scale)


def _check_labels(graphs: CrystalGraphs, y: Any) -> None:
    if not isinstance(y, FrameLabels):
        raise TypeError(
            f"y is of type {type(y).__name__}; ForceField expects FrameLabels with energy, forces "
            "or stress (gnnpre.datasets.read_frames gives them)."
        )
    if len(y) != len(graphs):
        raise ValueError(f"y has {len(y)} frames; X has {len(graphs)} crystals.")
    different = np.flatnonzero(y.n_atoms != graphs.atom_counts)
    if len(different):
        index = different[0]
        raise ValueError(
            f"y has {y.n_atoms[index]} atoms in frame {index}; crystal {index} of X has "
            f"{graphs.atom_counts[index]}. Are both in the same order?"
        )


class ForceFieldModel(ObjectiveModel):
    """A backbone with an energy readout, and the derivatives of that energy."""

    reference_energies: Tensor
    scale: Tensor

    def __init__(self, backbone: BackboneModule, config: ForceField) -> None:
        super().__init__(backbone)
        self.config = config
        self.head = Readout(
            backbone.out_channels,
            1,
            order=config.readout,
            pooling=config.pooling,
            hidden_channels=config.head_channels,
            n_layers=config.head_layers,
        )
        self.register_buffer("reference_energies", torch.zeros(backbone.n_elements))
        self.register_buffer("scale", torch.ones(()))

    def set_statistics(self, graphs: CrystalGraphs, targets: Targets, train: np.ndarray) -> None:
        """Fit reference energies and the scale to the training part."""
        energy = targets.crystal["energy"].cpu().numpy()
        known = train[np.isfinite(energy[train])]
        counts = element_counts(graphs[known], len(self.reference_energies))
        residual = energy[known]
        if self.config.reference_energies is not None and len(known):
            fitted = fit_reference_energies(counts, residual, self.config.reference_energies)
            self.reference_energies.copy_(torch.from_numpy(fitted))
            residual = residual - counts @ fitted
        if self.config.scale:
            self.scale.fill_(self._typical_size(graphs, targets, train, residual / counts.sum(1)))

    def _typical_size(
        self, graphs: CrystalGraphs, targets: Targets, train: np.ndarray, per_atom: np.ndarray
    ) -> float:
        size = 0.0
        if self.config.forces:
            forces = targets.batch(train, torch.float64)["forces"]
            size = float(forces[torch.isfinite(forces)].square().mean().sqrt())
        if not size > 0 and len(per_atom):
            size = float(np.std(per_atom))
        return size if size > 0 else 1.0

    @property
    def differentiates(self) -> bool:
        """Whether the losses need derivatives: those of forces and stress do."""
        return bool(self.config.forces or self.config.stress)

    def forward(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict what the losses need: derivatives only where they have a weight."""
        if not self.differentiates:
            return {"energy": self._energy(batch)}
        return energy_and_derivatives(self._energy, batch, create_graph=self.training)

    def predict(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict energy (eV per cell), forces (eV/Å) and stress (eV/Å^3)."""
        return energy_and_derivatives(self._energy, batch, create_graph=False)

    def _energy(self, batch: CrystalBatch) -> Tensor:
        value = self.head(self.backbone(batch).scalars, batch)[:, 0] * self.scale  # (n,)
        if self.config.pooling == "mean":
            value = value * batch.n_atoms.to(value.dtype)
        references = self.reference_energies[batch.atomic_numbers - 1]  # (N,)
        return value.index_add(0, batch.batch, references)

    def losses(
        self, predictions: dict[str, Tensor], targets: dict[str, Tensor], batch: CrystalBatch
    ) -> dict[str, LossTerm]:
        """Losses of energy, forces and stress, those with a weight."""
        sample_weight = targets.get("sample_weight")
        terms = {}
        for name in LABELS:
            if weight := getattr(self.config, name):
                prediction, target, rows = predictions[name], targets[name], sample_weight
                if name == "energy" and self.config.energy_per == "atom":
                    prediction, target = prediction / batch.n_atoms, target / batch.n_atoms
                if name == "forces" and rows is not None:
                    rows = rows[batch.batch]
                if name == "stress":  # where not fully periodic there is none to predict
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
