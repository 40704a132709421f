"""Supervised learning of a property of each atom, such as its charge or magnetic moment."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from gnnpre._atom_labels import join_atom_labels, object_rows
from gnnpre._constraints import Check, boolean
from gnnpre._warnings import DataQualityWarning, warn_user
from gnnpre.backbones import BackboneModule, Readout
from gnnpre.graphs import CrystalBatch, CrystalGraphs

from ._base import Objective
from ._bounds import check_bounds, refuse_labels_outside
from ._collect import split_atoms
from ._lazy_targets import iterate_chunks
from ._losses import LOSS_CONSTRAINTS, unit_of_labels
from ._readout import HEAD_CONSTRAINTS
from ._scaling import mean_and_spread, root_mean_square
from ._standardized_model import StandardizedModel
from ._targets import Targets

__all__ = ["AtomTargets"]


class AtomTargets(Objective):
    """Learn one number for each atom; missing ones (NaN) are left out of the loss.

    Parameters
    ----------
    loss : {"l1", "huber", "mse"}
        Loss of each atom.
    huber_delta : float
        Error at which the Huber loss turns from quadratic to linear, in units of the
        (standardised) property.
    standardize : bool
        Subtract the mean over the atoms of the same element, and divide by the standard deviation
        that remains, both of the training set and in float64. Elements that it lacks get the mean
        over all atoms.
    bounds : tuple of (float or None, float or None), optional
        Least and largest possible value, such as ``(0, None)``: predictions are clipped.
    head_channels : int, optional
        Width of the hidden layers of the readout; that of the backbone by default.
    head_layers : int
        Hidden layers of the readout.

    Examples
    --------
    >>> import numpy as np
    >>> from gnnpre import CGCNN, AtomTargets, Pretrainer
    >>> from gnnpre.datasets import make_emt_property
    >>> structures, _ = make_emt_property(12, random_state=0)
    >>> y = [np.zeros(len(structure)) for structure in structures]
    >>> pretrainer = Pretrainer(CGCNN(8, 1), AtomTargets(), max_epochs=1, random_state=0)
    >>> len(pretrainer.fit(structures, y).predict(structures[:2]))
    2
    """

    _constraints: ClassVar[dict[str, Check]] = {
        **LOSS_CONSTRAINTS,
        "standardize": boolean,
        "bounds": check_bounds,
        **HEAD_CONSTRAINTS,
    }

    def __init__(
        self,
        loss: str = "l1",
        *,
        huber_delta: float = 0.1,
        standardize: bool = True,
        bounds: Any = None,
        head_channels: int | None = None,
        head_layers: int = 1,
    ) -> None:
        self.loss = loss
        self.huber_delta = huber_delta
        self.standardize = standardize
        self.bounds = bounds
        self.head_channels = head_channels
        self.head_layers = head_layers

    def make_targets(self, graphs: CrystalGraphs, y: Any) -> Targets:
        """Check values of atoms and convert them to targets.

        Parameters
        ----------
        graphs : CrystalGraphs
            The n crystals.
        y : sequence of n arrays (n_atoms[i],)
            Values of the atoms of each crystal, NaN where missing; None or NaN for a crystal
            without values.

        Returns
        -------
        Targets
            Values of the atoms (N,), in float64.

        Raises
        ------
        ValueError, TypeError
            If ``y`` has another length, an array does not fit its crystal, or a value is not a
            finite number within the bounds.
        """
        self.check_parameters()
        values = join_atom_labels("y", y, graphs.atom_counts)
        if np.isnan(values).all():
            raise ValueError("y has only missing values (NaN): there is nothing to learn.")
        crystals = np.repeat(np.arange(len(graphs)), graphs.atom_counts)
        refuse_labels_outside(values, self.bounds, y, crystals)
        return Targets(graphs.atom_counts, {}, {"atom_values": torch.tensor(values)})

    def build(self, backbone: BackboneModule, layout: dict[str, Any]) -> "AtomModel":
        self.check_parameters()
        return AtomModel(backbone, self)

    def term_units(self) -> dict[str, str]:
        return {"atom_values": unit_of_labels(self.loss, self.standardize)}

    def collect(self, batches: Sequence[dict[str, np.ndarray]], n_atoms: np.ndarray) -> np.ndarray:
        return object_rows(split_atoms(batches, "atom_values", n_atoms))


class AtomModel(StandardizedModel):
    """A backbone with a perceptron on atoms, whose values are in units of their spread."""

    label = "atom_values"

    def __init__(self, backbone: BackboneModule, config: AtomTargets) -> None:
        super().__init__(backbone, config)
        self.head = Readout(
            backbone.out_channels,
            1,
            hidden_channels=config.head_channels,
            n_layers=config.head_layers,
        )
        # Of the atomic numbers 1 to n_elements.
        zeros = torch.zeros(backbone.n_elements, dtype=torch.float64)
        self.register_buffer("mean", zeros)
        # 0 for a property that is constant for each element of the training set.
        self.register_buffer("std", torch.ones((), dtype=torch.float64))

    def set_statistics(self, graphs: CrystalGraphs, targets: Targets, train: np.ndarray) -> None:
        """Compute the mean of each element and the spread around it over the training set."""
        if not self.config.standardize:
            return
        # Chunk by chunk, because the crystals may be on disk.
        chunks = list(iterate_chunks(graphs.to_crystals(), targets, np.sort(train)))
        values = np.concatenate([chunk.atom["atom_values"].cpu().numpy() for _, chunk in chunks])
        numbers = np.concatenate([crystals.atomic_numbers for crystals, _ in chunks])
        present = np.isfinite(values)
        values, numbers = values[present], numbers[present]
        if not len(values):
            warn_user(
                f"y is missing for all atoms of the {len(train)} crystals to train on: "
                "predictions mean nothing. Hold out other crystals.",
                DataQualityWarning,
            )
            return
        means = np.full(len(self.mean), mean_and_spread(values)[0])
        for number in np.unique(numbers):
            means[number - 1] = mean_and_spread(values[numbers == number])[0]
        spread = float(root_mean_square(values - means[numbers - 1]))
        # Rounding of a constant is not a spread.
        noise = 16 * np.finfo(np.float64).eps * np.abs(values).max()
        self.mean.copy_(torch.from_numpy(means))
        self.std.fill_(spread if spread > noise else 0.0)

    def _offset(self, batch: CrystalBatch) -> Tensor:
        return self.mean[batch.atomic_numbers - 1]  # (N,)

    def _label_weights(self, weights: Tensor, batch: CrystalBatch) -> Tensor:
        return weights[batch.batch]  # (N,)

    def forward(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict the standardised value of each atom, ``(N,)``."""
        value = self.head.mlp(self.backbone(batch).scalars)[:, 0]  # (N,)
        # Nothing to predict where the property is constant; the product keeps a gradient, of 0.
        return {"atom_values": value * (self.std > 0)}
