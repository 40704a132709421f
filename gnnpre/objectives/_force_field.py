"""Explicit force field: energy, forces and stress as derivatives of one scalar."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from gnnpre._constraints import Check, boolean, number, one_of
from gnnpre._warnings import DataQualityWarning, warn_user
from gnnpre.backbones import ENERGY_POOLINGS, BackboneModule
from gnnpre.graphs import CrystalGraphs, FrameLabels, LazyLabels

from ._base import Objective
from ._collect import join_batches
from ._force_field_model import LABELS, ForceFieldModel
from ._frame_checks import check_frame_labels, check_sources, source_codes
from ._lazy_targets import LabelSource, LazyTargets
from ._losses import LOSS_CONSTRAINTS, loss_unit
from ._readout import READOUT_CONSTRAINTS, HasReadout
from ._references import REFERENCES
from ._targets import Targets

__all__ = ["ForceField"]

UNITS = {"energy": "eV per cell", "forces": "eV/Å", "stress": "eV/Å^3"}


class ForceField(HasReadout, Objective):
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
        Unit of the energy loss: the energy divided by the number of atoms, or that of the cell,
        as in the papers.
    loss : {"l1", "huber", "mse"}
        Loss of each entry; forces and stress count each component.
    huber_delta : float
        Error at which the Huber loss turns from quadratic to linear, in the unit of each label.
    reference_energies : {"minimum_norm", "ridge"} or None
        Energies of the elements, which the network adds to: an exact least-squares fit to the
        training set, of minimum norm where compositions leave it open; None for raw totals. They
        are fitted, subtracted and added in float64, so that the network learns the same from
        total energies with any offset of the elements. ``"ridge"`` names the limit of a vanishing
        penalty, which is the same solution.
    scale : bool
        Multiply the output of the network by the typical size of the labels: the root mean square
        force, or the spread of the energies per atom where forces have no weight.
    sources : sequence of str, optional
        Names of the data sets that the frames come from, as in the column ``"source"`` of
        ``FrameLabels.info``. Each gets reference energies of its own, because codes, functionals
        and pseudopotentials differ in their offsets. Predictions have those of the first.
    readout : {"late", "early"}
        Sum energies of atoms, so that the energy is size-extensive; or apply a perceptron to
        pooled features as the papers do, which is not extensive.
    pooling : {"sum", "mean"}
        Pooling of the readout. With ``"mean"`` its value is the energy per atom.
    head_channels : int, optional
        Width of the hidden layers of the readout; that of the backbone by default.
    head_layers : int
        Hidden layers of the readout.

    See Also
    --------
    gnnpre.FrameLabels : The labels, their units and signs.

    Notes
    -----
    ``fit`` compares energies of frames of the same atoms with the work of forces and stress between
    them, and warns where a sign or a unit cannot be right. It warns of energies with an offset per
    cell, which no energies of elements explain.

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

    _constraints: ClassVar[dict[str, Check]] = {
        **dict.fromkeys(UNITS, number(low_included=True)),
        "energy_per": one_of("atom", "cell"),
        **LOSS_CONSTRAINTS,
        "reference_energies": one_of(None, *REFERENCES),
        "scale": boolean,
        "sources": check_sources,
        **READOUT_CONSTRAINTS,
        # An energy needs derivatives, and has to repeat in a supercell.
        "pooling": one_of(*ENERGY_POOLINGS),
    }

    def __init__(
        self,
        energy: float = 1.0,
        forces: float = 1.0,
        stress: float = 1.0,
        *,
        energy_per: str = "atom",
        loss: str = "l1",
        huber_delta: float = 0.01,
        reference_energies: str | None = "minimum_norm",
        scale: bool = True,
        sources: Sequence[str] | None = None,
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
        self.sources = sources
        self.readout = readout
        self.pooling = pooling
        self.head_channels = head_channels
        self.head_layers = head_layers

    def check_parameters(self) -> None:
        """Check that every parameter has an allowed value.

        Raises
        ------
        ValueError
            If one has not, or all labels have weight 0.
        """
        super().check_parameters()
        if not (self.energy or self.forces or self.stress):
            raise ValueError("energy, forces and stress all have weight 0: nothing to learn.")
        if self.sources is not None and self.reference_energies is None:
            raise ValueError(
                "sources have reference energies of their own, but reference_energies=None: set "
                "reference_energies='minimum_norm', or sources=None."
            )

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
        """Check frame labels and convert them to targets.

        Parameters
        ----------
        graphs : CrystalGraphs
            The n crystals.
        y : FrameLabels of shape (n,)
            Their labels.

        Returns
        -------
        Targets
            Energy (n,), forces (N, 3), stress (n, 3, 3), in float64.

        Raises
        ------
        TypeError
            If ``y`` holds no frame labels.
        ValueError
            If the labels do not fit the crystals, or one with a weight is missing everywhere.
        """
        self.check_parameters()
        check_frame_labels(graphs, y)
        if isinstance(y, LazyLabels):
            self._check_stored(y)
            source = LabelSource(y, self._convert, info=self.sources is not None)
            return LazyTargets(graphs.atom_counts, {"": source})
        self._check_presence(graphs, y)
        return self._convert(y)

    def _convert(self, y: FrameLabels) -> Targets:
        """Convert labels to tensors."""
        # Copies: what a worker process gets may be a read-only memory map.
        crystal = {"energy": torch.tensor(y.energy), "stress": torch.tensor(y.stress)}
        if self.sources is not None:
            crystal["source"] = torch.from_numpy(source_codes(y, list(self.sources)))
        return Targets(y.n_atoms, crystal, {"forces": torch.tensor(y.forces)})

    def _check_stored(self, y: LazyLabels) -> None:
        """Check that a store has each label with a weight."""
        for name, unit in UNITS.items():
            if getattr(self, name) and not y.has(name):
                raise ValueError(
                    f"The store has no {name} ({unit}), but ForceField gives it the weight "
                    f"{getattr(self, name)}. Set {name}=0, or write a store with them."
                )

    def _check_presence(self, graphs: CrystalGraphs, y: FrameLabels) -> None:
        """Check that each label with a weight is there for some frame."""
        periodic = graphs.pbc.cpu().numpy().all(axis=1)
        usable = {"energy": y.energy, "forces": y.forces, "stress": y.stress[periodic]}
        for name, unit in UNITS.items():
            if getattr(self, name) and not np.isfinite(usable[name]).any():
                raise ValueError(
                    f"y has no {name} ({unit}; all are missing, or stress of cells that are not "
                    f"periodic in all directions), but ForceField gives it the weight "
                    f"{getattr(self, name)}. Set {name}=0, or read the labels with the right key."
                )

    def build(self, backbone: BackboneModule, layout: dict[str, Any]) -> ForceFieldModel:
        self.check_parameters()
        return ForceFieldModel(backbone, self)

    def collect(self, batches: Sequence[dict[str, np.ndarray]], n_atoms: np.ndarray) -> FrameLabels:
        energy, forces, stress = (join_batches(batches, name) for name in LABELS)
        return FrameLabels(n_atoms, energy=energy, forces=forces, stress=stress)

    def term_units(self) -> dict[str, str]:
        energy = "eV/atom" if self.energy_per == "atom" else "eV"
        units = {"energy": energy, "forces": "eV/Å", "stress": "eV/Å³"}
        return {name: loss_unit(u, self.loss) for name, u in units.items() if getattr(self, name)}

    def search_space(self) -> dict[str, Any]:
        from optuna.distributions import FloatDistribution

        weight = FloatDistribution(0.3, 300.0, log=True)
        return {name: weight for name in ("forces", "stress") if getattr(self, name)}
