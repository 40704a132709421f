"""The model of an objective: a backbone with a head, statistics and losses."""

from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from gnnpre.backbones import BackboneModule
from gnnpre.graphs import CrystalBatch, CrystalGraphs

from ._losses import LossTerm
from ._targets import Targets

__all__ = ["NAN", "ObjectiveModel", "Predict"]

#: Applies a function to all batches of a training set.
Predict = Callable[[Callable[[CrystalBatch], dict[str, Tensor]]], list[dict[str, np.ndarray]]]

#: For models whose losses leave out what is NaN: :attr:`ObjectiveModel.left_out`.
NAN: Mapping[str, float] = MappingProxyType({})


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

    #: Values of targets that leave a crystal, or an atom, out of all losses, by name; NaN for names
    #: that are not here. None if there are none, as where losses compare crystals with one another.
    left_out: Mapping[str, float] | None = None

    #: Statistics that a training which goes on with this head takes over from the one before.
    kept_statistics: ClassVar[tuple[str, ...]] = ()

    def __init__(self, backbone: BackboneModule) -> None:
        super().__init__()
        self.backbone = backbone

    @property
    def differentiates(self) -> bool:
        """Whether :meth:`forward` differentiates features with respect to the edge vectors.

        The objectives of a mixture share one pass through the backbone, which depends on it.
        """
        return False

    @property
    def perturbs(self) -> bool:
        """Whether :meth:`perturb` changes batches."""
        return type(self).perturb is not ObjectiveModel.perturb

    def transferable_weights(self) -> dict[str, Tensor]:
        """Return the weights that another model may take over, ``backbone.*`` and ``head.*``.

        Returns
        -------
        dict of str to Tensor
            The state of this model, by default.
        """
        weights: dict[str, Tensor] = self.state_dict()
        return weights

    def in_label_unit(self, term: str, loss: float) -> str:
        """Write a term of the loss in the unit of the labels, for people to read.

        Parameters
        ----------
        term : str
            Name of the term, such as ``"forces"``.
        loss : float
            Its mean.

        Returns
        -------
        str
            Such as ``"forces 0.12 eV/Å"``; empty if the term is not a mean error in such a unit.
        """
        return ""

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

    def correct_statistics(
        self, graphs: CrystalGraphs, targets: Targets, train: np.ndarray, predict: Predict
    ) -> None:
        """Adapt ``kept_statistics`` to another training set; nothing by default.

        It is called once the backbone, the head and these statistics are those of a pre-trained
        model.

        Parameters
        ----------
        graphs : CrystalGraphs
            All crystals.
        targets : Targets
            Their targets.
        train : ndarray of int
            Rows of the training set.
        predict : callable
            Calls a function of batches with the training set, and returns its results.
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

    def perturbation(self) -> Hashable:
        """Return the numbers that decide how :meth:`perturb` changes the crystals of a batch.

        Objectives of a mixture with the same method :meth:`perturb` and equal numbers get the same
        crystals, and share one pass through the backbone.

        Returns
        -------
        hashable
            The numbers; None, by default, if the crystals cannot be shared.
        """
        return None

    def select(
        self, batch: CrystalBatch, targets: dict[str, Tensor], chosen: Tensor
    ) -> tuple[CrystalBatch, dict[str, Tensor]]:
        """Return the share of one process in a batch that :meth:`perturb` has changed.

        The processes of a training perturb the whole batch, so that the noise does not depend on
        their number. By default targets have one row per crystal, or one per atom.

        Parameters
        ----------
        batch : CrystalBatch
            The crystals.
        targets : dict of str to Tensor
            Their targets.
        chosen : Tensor of shape (n,)
            Mask of the crystals of the share.

        Returns
        -------
        batch : CrystalBatch
            The crystals of the share.
        targets : dict of str to Tensor
            Their targets.

        Raises
        ------
        ValueError
            If a target has another number of rows: the model then has to override this method.
        """
        masks = {len(batch.batch): chosen[batch.batch], len(batch): chosen}
        for name, values in targets.items():
            if values.ndim == 0 or len(values) not in masks:
                raise ValueError(
                    f"The target {name!r} has shape {tuple(values.shape)}, which is neither one "
                    f"row per crystal ({len(batch)}) nor one per atom ({len(batch.batch)}). "
                    f"Define {type(self).__name__}.select to train it in several processes."
                )
        shares = {name: values[masks[len(values)]] for name, values in targets.items()}
        return batch.select(chosen), shares

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
