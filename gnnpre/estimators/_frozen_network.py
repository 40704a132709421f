"""A pre-trained network that no training changes, as kernel machines see it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor

from gnnpre._prefixes import add_prefix, select_prefix
from gnnpre.graphs import CrystalGraphs
from gnnpre.objectives import Mixture, Objective, PropertyTargets
from gnnpre.training import (
    CrystalNet,
    ModelSpec,
    TrainingSettings,
    predict_batches,
    restore_net,
)

from ._embedding import embed_middle_and_end
from ._pretrained import PretrainedWeights
from ._target_process import MachineState

__all__ = ["FrozenNetwork"]

# Name of the objective of a pre-trained model that is not a mixture of several.
SINGLE = "property"


@dataclass(frozen=True)
class FrozenNetwork:
    """A network with the pre-trained backbone, and the readouts of properties that it learnt.

    To a machine with two hundred labels, a shear modulus that the network learnt from ten thousand
    says more about another property than the embeddings that it is computed from.

    Parameters
    ----------
    spec : ModelSpec
        Its description. The objective is a mixture where the network has learnt properties.
    net : CrystalNet
        The network.
    """

    spec: ModelSpec
    net: CrystalNet

    @classmethod
    def of(
        cls,
        pretrained: PretrainedWeights,
        spec: ModelSpec,
        state: Mapping[str, Tensor],
        settings: TrainingSettings,
    ) -> "FrozenNetwork":
        """Return a copy of a network before its training.

        Parameters
        ----------
        pretrained : PretrainedWeights
            The pre-trained model.
        spec : ModelSpec
            Description of the network that starts from it.
        state : mapping of str to Tensor
            All weights of that network before its first step.
        settings : TrainingSettings
            Device and options of the network.

        Returns
        -------
        FrozenNetwork
            The copy, with the readouts of the pre-trained model if those are of properties.
        """
        properties = _properties(pretrained.objective)
        if not properties:
            return cls(spec, restore_net(spec, state, settings))
        weights = {name: value for name, value in state.items() if name.startswith("backbone.")}
        dtype = next(w.dtype for w in weights.values() if w.is_floating_point())
        layout = {}
        for name in properties:
            readout = _readout(name, pretrained)
            layout[name] = {"n_outputs": len(readout["mean"])}
            # Statistics stay in float64, weights are of the precision of this network.
            cast = {k: w.to(dtype) if k.startswith("head.") else w for k, w in readout.items()}
            weights |= add_prefix(f"parts.{name}", cast)
        mixture = Mixture([(name, clone(item), 1.0) for name, item in properties.items()])
        spec = replace(spec, objective=mixture, layout=layout)
        return cls(spec, restore_net(spec, weights, settings))

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.net.module_.parameters()).device

    def blocks(self, graphs: CrystalGraphs, rows: np.ndarray | None = None) -> list[np.ndarray]:
        """Return cumulants of embeddings, and the properties that the network has learnt.

        Parameters
        ----------
        graphs : CrystalGraphs
            The crystals.
        rows : ndarray of int, optional
            Some of them; all by default.

        Returns
        -------
        list of ndarray of shape (n, d)
            The blocks of features, in float64. Properties that grow with the cell are per atom.
        """
        model = self.net.module_
        blocks = embed_middle_and_end(model, graphs, rows)
        if not isinstance(self.spec.objective, Mixture):
            return blocks
        counts = graphs.atom_counts if rows is None else graphs.atom_counts[rows]
        predicted = self.spec.objective.collect(predict_batches(model, graphs, rows=rows), counts)
        columns = [
            predicted[name] / (counts[:, None] if item.pooling == "sum" else 1.0)
            for name, item in _properties(self.spec.objective).items()
        ]
        return [*blocks, np.hstack(columns).astype(np.float64)]

    def to_state(self) -> MachineState:
        """Return everything as JSON and arrays."""
        state = self.net.module_.state_dict()
        arrays = {name: weight.cpu().numpy() for name, weight in state.items()}
        return {"spec": self.spec.to_dict()}, arrays

    @classmethod
    def from_state(
        cls,
        values: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray],
        classes: Mapping[str, type],
        settings: TrainingSettings,
    ) -> "FrozenNetwork":
        """Return the network that :meth:`to_state` described."""
        spec = ModelSpec.from_dict(values["spec"], classes)
        weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return cls(spec, restore_net(spec, weights, settings))


def _properties(objective: Objective) -> dict[str, PropertyTargets]:
    """Return the properties of crystals among the objectives of a model, by name."""
    if isinstance(objective, PropertyTargets):
        return {SINGLE: objective}
    objectives = objective.parts if isinstance(objective, Mixture) else []
    return {name: item for name, item, _ in objectives if isinstance(item, PropertyTargets)}


def _readout(name: str, pretrained: PretrainedWeights) -> dict[str, Tensor]:
    """Return weights and statistics of the readout of a property."""
    if isinstance(pretrained.objective, Mixture):
        return select_prefix(f"parts.{name}", pretrained.state)
    state = pretrained.state
    return {key: value for key, value in state.items() if not key.startswith("backbone.")}
