"""Structural fingerprints of atoms as what is learnt: labels that cost nothing."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from gnnpre._validation import check_bool, check_choice, check_number
from gnnpre.backbones import BackboneModule, Readout
from gnnpre.fingerprints import EAD, Fingerprint
from gnnpre.graphs import CrystalBatch, CrystalGraphs

from ._base import LossTerm, Objective, ObjectiveModel, Targets
from ._losses import LOSSES, masked_term

__all__ = ["FingerprintTargets"]

# A feature whose spread is below this part of its size is constant but for rounding.
CONSTANT = 1e-9


class FingerprintTargets(Objective):
    """Learn structural fingerprints of the atoms; needs no labels.

    The fingerprints are computed from the crystals once, before training. A perceptron on the
    features of each atom predicts them.

    Parameters
    ----------
    fingerprint : Fingerprint, optional
        ``EAD()`` (the default), ``WACSF()`` or ``GMP()``; its ``pooling`` does not matter.
    loss : {"l1", "huber", "mse"}
        Loss of each feature of each atom.
    huber_delta : float
        Where the Huber loss turns from quadratic to linear, in units of a (standardised) feature.
    standardize : bool
        Learn each feature less its mean, over its standard deviation, both over the atoms of the
        training part. Without it, features of large numbers outweigh all others.
    head_channels : int, optional
        Width of the hidden layers of the perceptron; that of the backbone by default.
    head_layers : int
        Hidden layers of the perceptron.

    Notes
    -----
    Features that do not vary over the training part are left out of the loss, and predicted as
    the constants they are.

    References
    ----------
    S. Jia et al., "Pre-training graph neural networks with structural fingerprints for materials
    discovery", arXiv:2503.01227 (2025).

    Examples
    --------
    >>> from gnnpre import CGCNN, EAD, FingerprintTargets, Pretrainer
    >>> from gnnpre.datasets import make_emt_frames
    >>> structures, _ = make_emt_frames(12, random_state=0)
    >>> objective = FingerprintTargets(EAD(L=1, rs=(2.0, 3.0, 4.0)))
    >>> pretrainer = Pretrainer(CGCNN(8, 1), objective, max_epochs=1, random_state=0)
    >>> fingerprints = pretrainer.fit(structures).predict(structures[:2])
    >>> [array.shape == (len(s), 6) for array, s in zip(fingerprints, structures)]
    [True, True]
    """

    needs_labels: ClassVar[bool] = False

    def __init__(
        self,
        fingerprint: Fingerprint | None = None,
        loss: str = "l1",
        *,
        huber_delta: float = 0.1,
        standardize: bool = True,
        head_channels: int | None = None,
        head_layers: int = 1,
    ) -> None:
        self.fingerprint = fingerprint
        self.loss = loss
        self.huber_delta = huber_delta
        self.standardize = standardize
        self.head_channels = head_channels
        self.head_layers = head_layers

    def make_targets(self, graphs: CrystalGraphs, y: Any) -> Targets:
        """Compute the fingerprints of all atoms.

        Parameters
        ----------
        graphs : CrystalGraphs
            The n crystals.
        y : object
            Ignored.

        Returns
        -------
        Targets
            The fingerprints (N, D).

        Raises
        ------
        ValueError, TypeError
            If the fingerprint, or a parameter of it, is not as expected.
        """
        self._check_parameters()
        values = self._fingerprint().atom_features(graphs)
        return Targets(graphs.atom_counts, {}, {"fingerprints": torch.from_numpy(values)})

    def layout(self, targets: Targets) -> dict[str, Any]:
        """Give the number of features.

        Parameters
        ----------
        targets : Targets
            What :meth:`make_targets` returned.

        Returns
        -------
        dict
            ``{"n_features": D}``.
        """
        return {"n_features": targets.atom["fingerprints"].shape[1]}

    def build(self, backbone: BackboneModule, layout: dict[str, Any]) -> "FingerprintModel":
        """Put a perceptron with one output a feature on a backbone.

        Parameters
        ----------
        backbone : BackboneModule
            What a backbone config built.
        layout : dict
            ``{"n_features": D}``; the number of the fingerprint's names by default.

        Returns
        -------
        ObjectiveModel
            The model to train.
        """
        self._check_parameters()
        default = len(self._fingerprint().atom_feature_names())
        return FingerprintModel(backbone, self, layout.get("n_features", default))

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
        list of n ndarray of shape (n_atoms, D)
            Fingerprints of the atoms, in their own units.
        """
        rows = np.concatenate([part["fingerprints"] for part in parts])
        return np.split(rows, np.cumsum(n_atoms)[:-1])

    def _fingerprint(self) -> Fingerprint:
        return EAD() if self.fingerprint is None else self.fingerprint

    def _check_parameters(self) -> None:
        if not isinstance(self._fingerprint(), Fingerprint):
            raise TypeError(
                f"fingerprint={self.fingerprint!r}; expected EAD(), WACSF(), GMP() "
                "or a Fingerprint of your own."
            )
        check_choice("loss", self.loss, LOSSES)
        check_number("huber_delta", self.huber_delta)
        check_bool("standardize", self.standardize)


class FingerprintModel(ObjectiveModel):
    """A backbone with a perceptron on each atom."""

    mean: Tensor
    std: Tensor
    varies: Tensor

    def __init__(
        self, backbone: BackboneModule, config: FingerprintTargets, n_features: int
    ) -> None:
        super().__init__(backbone)
        self.config = config
        # The names of a readout's weights: other models may take the hidden layers over.
        self.head = Readout(
            backbone.out_channels,
            n_features,
            hidden_channels=config.head_channels,
            n_layers=config.head_layers,
        )
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("std", torch.ones(n_features))
        self.register_buffer("varies", torch.ones(n_features, dtype=torch.bool))

    def set_statistics(self, graphs: CrystalGraphs, targets: Targets, train: np.ndarray) -> None:
        """Take mean and spread of each feature from the training part."""
        values = targets.batch(train, torch.float64)["fingerprints"]
        mean, std = values.mean(dim=0), values.std(dim=0, unbiased=False)
        varies = std > CONSTANT * values.abs().amax(dim=0)
        if not varies.any():
            raise ValueError(
                "No feature of the fingerprint varies over the crystals of the training part: "
                "there is nothing to learn. Give more crystals, or another fingerprint."
            )
        self.varies.copy_(varies)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(varies, std, 0.0))
        if not self.config.standardize:
            self.mean[varies] = 0.0
            self.std[varies] = 1.0

    def forward(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict the features of each atom, in their own units."""
        value: Tensor = self.head.mlp(self.backbone(batch).scalars)  # (N, D)
        return {"fingerprints": value * self.std + self.mean}

    def losses(
        self, predictions: dict[str, Tensor], targets: dict[str, Tensor], batch: CrystalBatch
    ) -> dict[str, LossTerm]:
        """Loss of the features that vary, each in units of its standard deviation."""
        sample_weight = targets.get("sample_weight")
        std = self.std[self.varies]
        term = masked_term(
            predictions["fingerprints"][:, self.varies] / std,
            targets["fingerprints"][:, self.varies] / std,
            loss=self.config.loss,
            huber_delta=self.config.huber_delta,
            weight=1.0,
            sample_weight=None if sample_weight is None else sample_weight[batch.batch],
        )
        return {"fingerprints": term}
