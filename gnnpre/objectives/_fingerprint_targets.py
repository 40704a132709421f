"""Structural fingerprints of atoms as targets: labels that need no calculation."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from gnnpre._constraints import Check, boolean
from gnnpre.backbones import BackboneModule
from gnnpre.fingerprints import EAD, Fingerprint
from gnnpre.graphs import CrystalGraphs

from ._base import Objective, Targets
from ._feature_model import FeatureModel
from ._losses import LOSS_CONSTRAINTS
from ._readout import HEAD_CONSTRAINTS

__all__ = ["FingerprintTargets"]


def check_fingerprint(name: str, fingerprint: Any) -> None:
    """Check that a fingerprint is one, and its parameters."""
    if fingerprint is None:
        return
    if not isinstance(fingerprint, Fingerprint):
        raise TypeError(
            f"{name}={fingerprint!r}; expected EAD(), WACSF(), GMP() or a Fingerprint of your own."
        )
    fingerprint.check_parameters()


class FingerprintTargets(Objective):
    """Learn structural fingerprints of the atoms; needs no labels.

    The fingerprints are computed from the crystals once, before training. A perceptron predicts
    them from the features of each atom.

    Parameters
    ----------
    fingerprint : Fingerprint, optional
        ``EAD()`` (the default), ``WACSF()`` or ``GMP()``; its ``pooling`` is ignored.
    loss : {"l1", "huber", "mse"}
        Loss of each feature of each atom.
    huber_delta : float
        Error at which the Huber loss turns from quadratic to linear, in units of a (standardised)
        feature.
    standardize : bool
        Subtract the mean of each feature over the atoms of the training set and divide by its
        standard deviation, in float64. Otherwise features of large numbers outweigh all others.
    head_channels : int, optional
        Width of the hidden layers of the perceptron; that of the backbone by default.
    head_layers : int
        Hidden layers of the perceptron.

    Notes
    -----
    Features that do not vary over the training set are left out of the loss, and predicted as
    constants.

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
    _constraints: ClassVar[dict[str, Check]] = {
        "fingerprint": check_fingerprint,
        **LOSS_CONSTRAINTS,
        "standardize": boolean,
        **HEAD_CONSTRAINTS,
    }

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
        self.check_parameters()
        values = self._fingerprint().atom_features(graphs)
        return Targets(graphs.atom_counts, {}, {"fingerprints": torch.from_numpy(values)})

    def layout(self, targets: Targets) -> dict[str, Any]:
        """Return the number of features.

        Parameters
        ----------
        targets : Targets
            The result of :meth:`make_targets`.

        Returns
        -------
        dict
            ``{"n_features": D}``.
        """
        return {"n_features": targets.atom["fingerprints"].shape[1]}

    def build(self, backbone: BackboneModule, layout: dict[str, Any]) -> FeatureModel:
        """Build the model: a backbone and a perceptron with one output for each feature.

        Parameters
        ----------
        backbone : BackboneModule
            The module that a backbone config built.
        layout : dict
            ``{"n_features": D}``; the number of the fingerprint's names by default.

        Returns
        -------
        ObjectiveModel
            The model to train.
        """
        self.check_parameters()
        default = len(self._fingerprint().atom_feature_names())
        return FeatureModel(backbone, self, "fingerprints", layout.get("n_features", default))

    def collect(
        self, batches: Sequence[dict[str, np.ndarray]], n_atoms: np.ndarray
    ) -> list[np.ndarray]:
        """Split predictions into crystals.

        Parameters
        ----------
        batches : sequence of dict of str to ndarray
            Predictions of each batch.
        n_atoms : ndarray of shape (n,)
            Atoms of each crystal.

        Returns
        -------
        list of n ndarray of shape (n_atoms, D)
            Fingerprints of the atoms, in their own units and float64.
        """
        rows = np.concatenate([batch["fingerprints"] for batch in batches])
        return np.split(rows, np.cumsum(n_atoms)[:-1])

    def _fingerprint(self) -> Fingerprint:
        return EAD() if self.fingerprint is None else self.fingerprint
