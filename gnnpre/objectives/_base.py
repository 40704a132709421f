"""The contract between objectives and training: targets, models and loss terms."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from gnnpre._constraints import HasConstraints
from gnnpre._registry import Registered
from gnnpre.backbones import BackboneModule
from gnnpre.graphs import CrystalBatch, CrystalGraphs

__all__ = ["LossTerm", "Objective", "ObjectiveModel", "Targets"]


@dataclass(frozen=True)
class LossTerm:
    """One named term of a loss, as a sum and its divisor.

    Sums and counts are added up over an epoch, so that the mean over a data set does not depend on
    the batches it was cut into.

    Parameters
    ----------
    total : Tensor
        Sum of the losses of all entries.
    count : Tensor
        Number of entries, or the sum of their weights.
    weight : float
        Factor of the mean in the loss.
    entries : Tensor, optional
        Number of entries, where ``count`` is a sum of weights. A training step divides by it:
        weights that were normalised batch by batch would have no effect between batches.

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
        """Mean over the entries; 0 without entries."""
        return _divide(self.total, self.count)

    @property
    def step_mean(self) -> Tensor:
        """Sum over the weighted entries of a batch, divided by their number."""
        return _divide(self.total, self.count if self.entries is None else self.entries)


def _divide(total: Tensor, count: Tensor) -> Tensor:
    return total / count.clamp(min=torch.finfo(total.dtype).tiny)


class Targets:
    """Labels of n crystals: named tensors with one row for each crystal, or for each atom.

    Parameters
    ----------
    n_atoms : ndarray of shape (n,)
        Atoms of each crystal.
    crystal : mapping of str to Tensor of shape (n, ...)
        Labels of crystals, in float64 where they are numbers.
    atom : mapping of str to Tensor of shape (N, ...), optional
        Labels of atoms.

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
            Rows of the crystals.
        dtype : torch.dtype
            Precision to convert to.

        Returns
        -------
        dict of str to Tensor
            The rows of these crystals, or of their atoms.
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
            The device.

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
    """A backbone with the head of an objective.

    Subclasses define :meth:`forward` and :meth:`losses`. In every model the weights of the backbone
    are named ``backbone.*`` and those of a readout ``head.*``: weights are transferred by name.

    Training takes the labels of a batch in float64 through :meth:`standardize`, casts the result
    to the precision of the network, lets :meth:`perturb` change the batch, and compares
    :meth:`forward` with the result in :meth:`losses`. :meth:`predict` goes the other way, to the
    units of the labels. Statistics such as means and reference energies are float64 buffers, and
    stay in float64 when the model changes its precision: an offset of the labels costs no digits.

    Parameters
    ----------
    backbone : BackboneModule
        The module that a :class:`~gnnpre.backbones.Backbone` built.

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

        The objectives of a mixture share one pass through the backbone, which depends on it.
        """
        return False

    def transferable_weights(self) -> dict[str, Tensor]:
        """Return the weights that another model may take over, ``backbone.*`` and ``head.*``.

        Returns
        -------
        dict of str to Tensor
            The state of this model, by default.
        """
        weights: dict[str, Tensor] = self.state_dict()
        return weights

    def set_statistics(self, graphs: CrystalGraphs, targets: Targets, train: np.ndarray) -> None:
        """Compute statistics of the training set, such as scales and reference energies.

        Parameters
        ----------
        graphs : CrystalGraphs
            All crystals.
        targets : Targets
            Their targets.
        train : ndarray of int
            Rows of the training set.
        """

    def standardize(self, labels: dict[str, Tensor], batch: CrystalBatch) -> dict[str, Tensor]:
        """Convert the labels of a batch to the units of the losses; unchanged by default.

        Parameters
        ----------
        labels : dict of str to Tensor
            Labels from :meth:`Targets.batch`, in float64.
        batch : CrystalBatch
            The crystals, before :meth:`perturb`.

        Returns
        -------
        dict of str to Tensor
            The targets of the losses, in float64.
        """
        return labels

    def perturb(
        self, batch: CrystalBatch, targets: dict[str, Tensor], generator: torch.Generator
    ) -> tuple[CrystalBatch, dict[str, Tensor]]:
        """Change a batch before the model sees it; unchanged by default.

        Parameters
        ----------
        batch : CrystalBatch
            The crystals.
        targets : dict of str to Tensor
            Targets from :meth:`standardize`.
        generator : torch.Generator
            The only source of random numbers to use, on the CPU.

        Returns
        -------
        batch : CrystalBatch
            The crystals that the model sees.
        targets : dict of str to Tensor
            The targets that its losses see.
        """
        return batch, targets

    def predict(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict all labels of the objective, in their own units.

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
            The result of :meth:`forward`.
        targets : dict of str to Tensor
            Targets from :meth:`standardize` and :meth:`perturb`.
        batch : CrystalBatch
            The crystals.

        Returns
        -------
        dict of str to LossTerm
            The named terms of the loss.
        """
        raise NotImplementedError

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ObjectiveModel":
        """Move tensors to a device or precision, but leave statistics in float64."""
        statistics = {
            name: buffer
            for name, buffer in self._buffers.items()
            if buffer is not None and buffer.dtype == torch.float64
        }
        super()._apply(fn, recurse)
        for name, before in statistics.items():
            moved = self._buffers[name]
            if moved is not None and moved.dtype != torch.float64:
                self._buffers[name] = before.to(moved.device)
        return self


class Objective(Registered, HasConstraints, BaseEstimator, ABC):
    """Base class of pre-training objectives: configs with visible parameters.

    A subclass only assigns its parameters in ``__init__`` and declares their allowed values in
    ``_constraints``. It turns labels into :class:`Targets`, builds its :class:`ObjectiveModel`, and
    returns predictions in the form of the user's labels.

    Examples
    --------
    >>> from gnnpre import ForceField
    >>> ForceField(forces=500).get_params()["forces"]
    500
    """

    #: Whether ``fit`` needs a y.
    needs_labels: ClassVar[bool] = True

    def check_graphs(self, graphs: CrystalGraphs) -> None:
        """Check that this objective can be learnt from some graphs; warn where it hardly can.

        Parameters
        ----------
        graphs : CrystalGraphs
            The crystals.
        """

    @abstractmethod
    def make_targets(self, graphs: CrystalGraphs, y: Any) -> Targets:
        """Check labels and convert them to tensors.

        Parameters
        ----------
        graphs : CrystalGraphs
            The crystals.
        y : object
            The user's labels.

        Returns
        -------
        Targets
            One row for each crystal, or for each atom.

        Raises
        ------
        ValueError, TypeError
            If the labels do not fit the crystals.
        """

    def layout(self, targets: Targets) -> dict[str, Any]:
        """Return what :meth:`build` needs besides the parameters, as JSON-serializable values.

        Parameters
        ----------
        targets : Targets
            The result of :meth:`make_targets`.

        Returns
        -------
        dict
            Such as the number of outputs.
        """
        return {}

    @abstractmethod
    def build(self, backbone: BackboneModule, layout: dict[str, Any]) -> ObjectiveModel:
        """Build the model: a backbone with the head of this objective.

        Parameters
        ----------
        backbone : BackboneModule
            The module that a backbone config built.
        layout : dict
            The result of :meth:`layout`.

        Returns
        -------
        ObjectiveModel
            The model to train.
        """

    @abstractmethod
    def collect(self, batches: Sequence[dict[str, np.ndarray]], n_atoms: np.ndarray) -> Any:
        """Join the predictions of batches into the form of the labels.

        Parameters
        ----------
        batches : sequence of dict of str to ndarray
            Predictions of each batch, in the order of the crystals.
        n_atoms : ndarray of shape (n,)
            Atoms of each crystal.

        Returns
        -------
        object
            The return value of ``predict``.
        """

    def search_space(self) -> dict[str, Any]:
        """Return the ranges of the parameters that are worth a search; none by default.

        Returns
        -------
        dict
            From parameter name to an Optuna distribution.
        """
        return {}

    def saved_config(self) -> "Objective":
        """Return the objective as a file stores it: this one by default.

        Returns
        -------
        Objective
            A config that predicts the same, of parameters that can be written as JSON.
        """
        return self
