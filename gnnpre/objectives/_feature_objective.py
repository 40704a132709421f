"""The base class of objectives whose targets are features that something else computes."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from gnnpre._constraints import Check, boolean
from gnnpre.backbones import BackboneModule
from gnnpre.graphs import CrystalGraphs

from ._collect import join_batches, split_atoms
from ._feature_model import FeatureModel
from ._label_free import LabelFreeObjective
from ._losses import LOSS_CONSTRAINTS, loss_unit
from ._readout import HEAD_CONSTRAINTS
from ._targets import Targets

__all__ = ["FEATURE_CONSTRAINTS", "FeatureObjective"]

#: Parameters that these objectives share.
FEATURE_CONSTRAINTS: dict[str, Check] = {
    **LOSS_CONSTRAINTS,
    "standardize": boolean,
    **HEAD_CONSTRAINTS,
}


class FeatureObjective(LabelFreeObjective):
    """Learn features of atoms or of crystals, computed once and before training.

    A subclass names the features and computes them in ``make_targets``. ``predict`` returns them
    in their own units and float64: an array ``(n_atoms, D)`` for each crystal, or one ``(n, D)``.
    """

    loss: str
    huber_delta: float
    standardize: bool
    head_channels: int | None
    head_layers: int

    #: Names of the features among the targets: those of atoms, and those of crystals.
    atom_features: ClassVar[str]
    crystal_features: ClassVar[str]

    @abstractmethod
    def make_targets(self, graphs: CrystalGraphs, y: Any) -> Targets: ...

    def layout(self, targets: Targets) -> dict[str, Any]:
        first = targets.load(np.arange(1))
        per_crystal = self.crystal_features in first.crystal
        values = first.crystal[self.crystal_features] if per_crystal else None
        if values is None:
            values = first.atom[self.atom_features]
        return {"n_features": values.shape[1], "per_crystal": per_crystal}

    def build(self, backbone: BackboneModule, layout: dict[str, Any]) -> FeatureModel:
        self.check_parameters()
        per_crystal = layout.get("per_crystal", False)
        name = self.crystal_features if per_crystal else self.atom_features
        return FeatureModel(backbone, self, name, layout["n_features"], per_crystal)

    def term_units(self) -> dict[str, str]:
        if not self.standardize:
            return {}
        unit = loss_unit("standard deviation", self.loss)
        return dict.fromkeys(filter(None, (self.atom_features, self.crystal_features)), unit)

    def collect(self, batches: Sequence[dict[str, np.ndarray]], n_atoms: np.ndarray) -> Any:
        if self.crystal_features in batches[0]:
            return join_batches(batches, self.crystal_features)
        return split_atoms(batches, self.atom_features, n_atoms)
