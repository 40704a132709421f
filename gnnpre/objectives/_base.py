"""The contract between objectives and training: targets, models and loss terms."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from gnnpre.backbones import BackboneModule
from gnnpre.graphs import CrystalBatch, CrystalGraphs

__all__ = ["LossTerm", "Objective", "ObjectiveModel", "Targets"]


@dataclass(frozen=True)
class LossTerm:
    """One named part of a loss, as a sum and what it is divided by.

    Sums and counts are added up over an epoch, so that a mean over a data set does not depend on
    how it was cut into batches.

    Parameters
    ----------
    total : Tensor
        Sum of the losses of all entries.
    count : Tensor
        Number of entries, or the sum of their weights.
    weight : float
        What the mean is multiplied with in the loss.
    entries : Tensor, optional
        Number of entries, where ``count`` is a sum of weights: what a step of training divides
        by, as weights divided out batch by batch would have no effect between batches.

    Examples
    --------
    >>> import torch
    >>> from gnnpre.objectives import LossTerm
    >>> float(LossTerm(torch.tensor(6.0), torch.tensor(3.0), 10.0).mean)
    2.0
    """

    total: Tensor
    count: Tensor
    weight: float
    entries: Tensor | None = None

    @property
    def mean(self) -> Tensor:
        """Mean over the entries; 0 where there is none."""
        return _divide(self.total, self.count)

    @property
    def step_mean(self) -> Tensor:
        """Mean over the entries of a batch, in which each weighs what its weight says."""
        return _divide(self.total, self.count if self.entries is None else self.entries)


def _divide(total: Tensor, count: Tensor) -> Tensor:
    return total / count.clamp(min=torch.finfo(total.dtype).tiny)


class Targets:
    """What the losses of n crystals see: named tensors with a row a crystal or a row an atom.

    Parameters
    ----------
    n_atoms : ndarray of shape (n,)
        Atoms of each crystal.
    crystal : mapping of str to Tensor of shape (n, ...)
        Targets of crystals.
    atom : mapping of str to Tensor of shape (N, ...), optional
        Targets of atoms.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from gnnpre.objectives import Targets
    >>> targets = Targets(np.array([1, 2]), {"energy": torch.tensor([1.0, 2.0])})
    >>> targets.batch(np.array([1]), torch.float32)
    {'energy': tensor([2.])}
    """

    def __init__(
        self,
        n_atoms: np.ndarray,
        crystal: Mapping[str, Tensor],
        atom: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.n_atoms = n_atoms
        self.crystal = dict(crystal)
        self.atom = dict(atom or {})
        self._offsets = np.concatenate([[0], np.cumsum(n_atoms)])

    def __len__(self) -> int:
        return len(self.n_atoms)

    def batch(self, indices: np.ndarray, dtype: torch.dtype) -> dict[str, Tensor]:
        """Gather the targets of some crystals.

        Parameters
        ----------
        indices : ndarray of shape (m,)
            Which crystals.
        dtype : torch.dtype
            Precision.

        Returns
        -------
        dict of str to Tensor
            Rows of these crystals, or of their atoms.
        """
        crystals = torch.from_numpy(indices)
        batch = {name: _take(values, crystals, dtype) for name, values in self.crystal.items()}
        if self.atom:
            atoms = self._atom_rows(indices)
            batch |= {name: _take(values, atoms, dtype) for name, values in self.atom.items()}
        return batch

    def _atom_rows(self, indices: np.ndarray) -> Tensor:
        counts = self.n_atoms[indices]
        starts = np.cumsum(counts) - counts
        rows = np.arange(counts.sum()) + np.repeat(self._offsets[indices] - starts, counts)
        return torch.from_numpy(rows)

    def to(self, device: torch.device | str) -> "Targets":
        """Copy the targets to a device.

        Parameters
        ----------
        device : torch.device or str
            Where to.

        Returns
        -------
        Targets
            The copy.
        """
        crystal = {name: values.to(device) for name, values in self.crystal.items()}
        atom = {name: values.to(device) for name, values in self.atom.items()}
        return Targets(self.n_atoms, crystal, atom)


def _take(values: Tensor, rows: Tensor, dtype: torch.dtype) -> Tensor:
    return values[rows.to(values.device)].to(dtype)


class ObjectiveModel(nn.Module):
    """A backbone with what an objective puts on top of it.

    Subclasses define :meth:`forward` and :meth:`losses`. Weights of the backbone are found under
    ``backbone``, those of a readout under ``head``, in every model: what is transferred from one
    to another is found by name.

    Parameters
    ----------
    backbone : BackboneModule
        What a :class:`~gnnpre.backbones.Backbone` built.

    Examples
    --------
    >>> from gnnpre import CGCNN, ForceField
    >>> model = ForceField().build(CGCNN().build(cutoff=5.0), {})
    >>> sorted({name.split(".")[0] for name, _ in model.named_parameters()})
    ['backbone', 'head']
    """

    def __init__(self, backbone: BackboneModule) -> None:
        super().__init__()
        self.backbone = backbone

    @property
    def differentiates(self) -> bool:
        """Whether :meth:`forward` differentiates features with respect to the edge vectors.

        The parts of a mixture share one pass through the backbone, which has to know.
        """
        return False

    def transferable_weights(self) -> dict[str, Tensor]:
        """Give what another model may take over by name, ``backbone.*`` and ``head.*``.

        Returns
        -------
        dict of str to Tensor
            The state of this model, by default.
        """
        weights: dict[str, Tensor] = self.state_dict()
        return weights

    def set_statistics(self, graphs: CrystalGraphs, targets: Targets, train: np.ndarray) -> None:
        """Learn from the training part what is no weight: scales, reference energies.

        Parameters
        ----------
        graphs : CrystalGraphs
            All crystals.
        targets : Targets
            Their targets.
        train : ndarray of int
            Those that may be looked at.
        """

    def perturb(
        self, batch: CrystalBatch, targets: dict[str, Tensor], generator: torch.Generator
    ) -> tuple[CrystalBatch, dict[str, Tensor]]:
        """Change a batch before the model sees it; by default nothing is changed.

        Parameters
        ----------
        batch : CrystalBatch
            The crystals.
        targets : dict of str to Tensor
            Their targets.
        generator : torch.Generator
            The only source of randomness to use, on the CPU.

        Returns
        -------
        batch : CrystalBatch
            What the model sees.
        targets : dict of str to Tensor
            What its losses see.
        """
        return batch, targets

    def predict(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict everything that the objective speaks of, in the units of its labels.

        Parameters
        ----------
        batch : CrystalBatch
            The crystals.

        Returns
        -------
        dict of str to Tensor
            Named predictions, detached.
        """
        with torch.no_grad():
            predictions: dict[str, Tensor] = self(batch)
        return predictions

    def losses(
        self, predictions: dict[str, Tensor], targets: dict[str, Tensor], batch: CrystalBatch
    ) -> dict[str, LossTerm]:
        """Compare predictions with targets.

        Parameters
        ----------
        predictions : dict of str to Tensor
            What :meth:`forward` returned.
        targets : dict of str to Tensor
            What :meth:`Targets.batch` returned.
        batch : CrystalBatch
            The crystals.

        Returns
        -------
        dict of str to LossTerm
            The named parts of the loss.
        """
        raise NotImplementedError


class Objective(BaseEstimator, ABC):
    """Config of what is learnt: visible parameters for clone and search.

    A subclass assigns its parameters in ``__init__`` and does no more there; it turns labels into
    :class:`Targets`, builds its :class:`ObjectiveModel`, and gives predictions the form that the
    user's labels have.

    Examples
    --------
    >>> from gnnpre import ForceField
    >>> ForceField(forces=500).get_params()["forces"]
    500
    """

    #: Whether ``fit`` needs a y.
    needs_labels: ClassVar[bool] = True

    def check_graphs(self, graphs: CrystalGraphs) -> None:
        """Refuse graphs, or warn of them, that this objective cannot learn well from.

        Parameters
        ----------
        graphs : CrystalGraphs
            The crystals.
        """

    @abstractmethod
    def make_targets(self, graphs: CrystalGraphs, y: Any) -> Targets:
        """Check labels and turn them into what the losses see.

        Parameters
        ----------
        graphs : CrystalGraphs
            The crystals.
        y : object
            The user's labels.

        Returns
        -------
        Targets
            One row a crystal, or an atom.

        Raises
        ------
        ValueError, TypeError
            If the labels do not fit the crystals.
        """

    def layout(self, targets: Targets) -> dict[str, Any]:
        """Give the facts, JSON-able, that :meth:`build` needs beside the parameters.

        Parameters
        ----------
        targets : Targets
            What :meth:`make_targets` returned.

        Returns
        -------
        dict
            Such as the number of outputs.
        """
        return {}

    @abstractmethod
    def build(self, backbone: BackboneModule, layout: dict[str, Any]) -> ObjectiveModel:
        """Put the head of this objective on a backbone.

        Parameters
        ----------
        backbone : BackboneModule
            What a backbone config built.
        layout : dict
            What :meth:`layout` returned.

        Returns
        -------
        ObjectiveModel
            The model to train.
        """

    @abstractmethod
    def collect(self, parts: Sequence[dict[str, np.ndarray]], n_atoms: np.ndarray) -> Any:
        """Join the predictions of batches into the form that labels have.

        Parameters
        ----------
        parts : sequence of dict of str to ndarray
            Predictions batch by batch, in the order of the crystals.
        n_atoms : ndarray of shape (n,)
            Atoms of each crystal.

        Returns
        -------
        object
            What ``predict`` returns.
        """
