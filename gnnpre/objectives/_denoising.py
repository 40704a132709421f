"""Denoising: learn the way back to a crystal from noise on its atoms, and strain of its cell."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from gnnpre._constraints import Check, boolean, number, one_of
from gnnpre._warnings import DataQualityWarning, warn_user
from gnnpre.backbones import ENERGY_POOLINGS, BackboneModule
from gnnpre.graphs import CrystalGraphs

from ._collect import join_batches, split_atoms
from ._denoising_model import DenoisingModel, DerivativeDenoisingModel, HeadDenoisingModel
from ._label_free import LabelFreeObjective
from ._losses import LOSS_CONSTRAINTS, loss_unit
from ._readout import READOUT_CONSTRAINTS, HasReadout

__all__ = ["Denoising"]

FORMS = ("derivative", "head")
TARGETS = ("return", "noise")
SCALES = ("noise", "running", None)
# Crystals that the size of the noise is compared with.
N_CHECKED = 256
# In Å; single precision of coordinates around 10 Å resolves about a tenth of it.
SMALLEST_NOISE = 1e-5
# Beyond this, crystals are no longer near equilibrium, and edges cross the cutoff in numbers.
LARGEST_STRAIN = 0.3


class Denoising(HasReadout, LabelFreeObjective):
    """Move atoms by Gaussian noise, drawn anew at each visit, and learn the way back.

    Needs no labels: crystals at or near equilibrium are enough. ``predict`` returns the
    displacements, in Å, that take the atoms of the crystals back: a list with one array
    ``(n_atoms, 3)`` for each crystal. With ``strain`` it returns a dict of these displacements and
    of strains ``(n, 3, 3)`` that take the cells back.

    The papers' form is ``Denoising(target="noise", remove_translation=False, scale=None,
    readout="early", head_layers=3, head_channels=150)``; its gamma is 1.

    Parameters
    ----------
    noise : float
        Standard deviation of the noise, in Å, on each Cartesian component of each atom.
    through : {"derivative", "head"}
        Source of the displacements: ``-dE/dr`` of a scalar E that is read out of the crystal; or
        a head on the features of each atom. The head is equivariant where the backbone has
        vectors. Otherwise it is the papers' perceptron with three outputs, which knows no
        directions: its predictions do not turn with the crystal, and it hardly learns.
    target : {"return", "noise"}
        Compare with minus the noise, so that crystals are minima of E and ``-dE/dr`` pulls like
        a force; or with the noise itself, the papers' form, which makes them maxima and works
        against a force field in a mixture. ``predict`` returns the way back with both.
    remove_translation : bool
        Subtract the mean over the atoms of a crystal from the target, and from the prediction of
        a head: no model can see it, and ``-dE/dr`` has none. Crystals of one atom are then left
        out of the loss. The papers do not subtract it.
    scale : {"noise", "running"} or None
        Unit of the loss and of the output of the network: ``noise``, the standard deviation of
        the targets so far (stored in the model), or, as in the papers, 1 Å.
    strain : float
        Standard deviation of each component of a symmetric strain of the cell, and of the atoms
        with it; 0 leaves cells as they are. Crystals that are not periodic in all directions are
        not strained. Through the derivative, the strain back is minus the stress of E times the
        length ``(V / n_atoms)^(1/3)``; a head sums ``r r^T`` over the edges, weighted by atom
        features. Its loss, in units of ``strain``, is added to that of the displacements.
    loss : {"l1", "huber", "mse"}
        Loss of each component.
    huber_delta : float
        Error at which the Huber loss turns from quadratic to linear, in that unit.
    readout : {"late", "early"}
        Sum scalars of atoms to E, or apply the papers' perceptron to pooled features. For
        ``"derivative"`` only, as is ``pooling``.
    pooling : {"sum", "mean"}
        Pooling of the readout. With ``"mean"`` its value is E per atom.
    head_channels : int, optional
        Width of the hidden layers of readout or head; that of the backbone by default.
    head_layers : int
        Hidden layers of readout or head; for vectors, gated equivariant blocks.

    Notes
    -----
    Edges are those of the crystal before the noise, at the distances after it: one that grows
    longer than the cutoff fades out, one that would come in is missing. Compared with graphs built
    after the noise (jdft2d and Alexandria frames, 0.1 Å, cutoffs of 5 and 6 Å, random weights),
    this changes ``-dE/dr`` of ``CGCNN(64, 3)`` by 0.3 % to 2.8 % of its root mean square (2.0 %
    after training, whose loss on such graphs is 0.2 % larger), and that of ``TorchMDNet`` by
    0.01 %. The papers' CGCNN, which has no envelope, differs by 25 % to 40 %: there the energy
    jumps with each edge that comes or goes, which no derivative sees, and fixed edges make it
    smooth.

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

    _constraints: ClassVar[dict[str, Check]] = {
        "noise": number(),
        "through": one_of(*FORMS),
        "target": one_of(*TARGETS),
        "remove_translation": boolean,
        "scale": one_of(*SCALES),
        "strain": number(low_included=True, high=LARGEST_STRAIN),
        **LOSS_CONSTRAINTS,
        **READOUT_CONSTRAINTS,
        # E needs derivatives, and has to repeat in a supercell.
        "pooling": one_of(*ENERGY_POOLINGS),
    }

    def __init__(
        self,
        noise: float = 0.1,
        through: str = "derivative",
        *,
        target: str = "return",
        remove_translation: bool = True,
        scale: str | None = "noise",
        strain: float = 0.0,
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
        self.strain = strain
        self.loss = loss
        self.huber_delta = huber_delta
        self.readout = readout
        self.pooling = pooling
        self.head_channels = head_channels
        self.head_layers = head_layers

    def check_graphs(self, graphs: CrystalGraphs) -> None:
        """Check that there is something to learn; warn of unusual noise and of cut neighbours.

        Parameters
        ----------
        graphs : CrystalGraphs
            The crystals.

        Raises
        ------
        ValueError
            If no crystal has two atoms, and translations are removed; or if cells are to be
            strained, and no crystal is periodic in all directions.
        """
        # 1. nothing to learn: errors
        if self.strain and not graphs.pbc.all(dim=1).any():
            raise ValueError(
                f"strain={self.strain}, but no crystal of X is periodic in all directions: there "
                "is no cell to strain. Set strain=0."
            )
        if self.remove_translation and not self.strain and (graphs.atom_counts == 1).all():
            raise ValueError(
                "Every crystal of X has one atom, whose displacement nothing shows: there is "
                "nothing to learn from Denoising. Pass supercells or other crystals, or set strain."
            )
        # 2. little to learn: warnings
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
        if self.noise < SMALLEST_NOISE:
            warn_user(
                f"noise={self.noise} Å is lost in the rounding of coordinates in single precision. "
                "It is usually 0.02 to 0.2.",
                DataQualityWarning,
            )

    def build(self, backbone: BackboneModule, layout: dict[str, Any]) -> DenoisingModel:
        self.check_parameters()
        if self.through == "derivative":
            return DerivativeDenoisingModel(backbone, self)
        return HeadDenoisingModel(backbone, self)

    def collect(self, batches: Sequence[dict[str, np.ndarray]], n_atoms: np.ndarray) -> Any:
        displacements = split_atoms(batches, "displacements", n_atoms)
        if not self.strain:
            return displacements
        return {"displacements": displacements, "strain": join_batches(batches, "strain")}

    def term_units(self) -> dict[str, str]:
        length = "noise" if self.scale == "noise" else "Å"
        units = {"displacements": loss_unit(length, self.loss)}
        return {**units, "strain": loss_unit("strain", self.loss)} if self.strain else units

    def search_space(self) -> dict[str, Any]:
        from optuna.distributions import FloatDistribution

        space = {"noise": FloatDistribution(0.02, 0.3, log=True)}
        if self.strain:
            space["strain"] = FloatDistribution(0.01, 0.1, log=True)
        return space


def _typical_nearest_distance(graphs: CrystalGraphs) -> float:
    """Return the median shortest edge of (some) crystals, in Å; infinite without edges."""
    rows = np.unique(np.linspace(0, len(graphs) - 1, N_CHECKED).astype(int))
    batch = graphs.batch(rows, torch.float64)
    nearest = batch.distances.new_full((len(batch),), torch.inf)
    nearest.scatter_reduce_(0, batch.batch[batch.target], batch.distances, "amin")
    nearest = nearest[torch.isfinite(nearest)]
    return float(nearest.median()) if len(nearest) else float("inf")
