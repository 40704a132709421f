"""Structural fingerprints of atoms as targets: labels that need no calculation."""

from typing import Any, ClassVar

import torch

from gnnpre._constraints import Check
from gnnpre.backbones import BackboneModule
from gnnpre.fingerprints import EAD, Fingerprint
from gnnpre.graphs import CrystalGraphs, is_on_disk

from ._feature_model import FeatureModel
from ._feature_objective import FEATURE_CONSTRAINTS, FeatureObjective
from ._lazy_targets import AtomFile, LazyTargets
from ._targets import Targets

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


class FingerprintTargets(FeatureObjective):
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

    atom_features: ClassVar[str] = "fingerprints"
    crystal_features: ClassVar[str] = "crystal_fingerprints"  # there are none
    _constraints: ClassVar[dict[str, Check]] = {
        "fingerprint": check_fingerprint,
        **FEATURE_CONSTRAINTS,
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
        self.check_parameters()
        if is_on_disk(graphs):
            chunks = self._fingerprint().iterate_atom_features(graphs)
            source = AtomFile(self.atom_features, graphs.atom_counts, chunks)
            return LazyTargets(graphs.atom_counts, {"": source})
        values = self._fingerprint().atom_features(graphs)
        return Targets(graphs.atom_counts, {}, {self.atom_features: torch.from_numpy(values)})

    def build(self, backbone: BackboneModule, layout: dict[str, Any]) -> FeatureModel:
        self.check_parameters()
        n_features = len(self._fingerprint().atom_feature_names())
        return super().build(backbone, {"n_features": n_features, **layout})

    def _fingerprint(self) -> Fingerprint:
        return EAD() if self.fingerprint is None else self.fingerprint
