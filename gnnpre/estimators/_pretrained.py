"""Weights of a pre-trained model, wherever they come from, and how they go into a new one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from torch import Tensor

from gnnpre.backbones import Backbone
from gnnpre.graphs import CrystalGraphs, GraphSettings
from gnnpre.objectives import Objective, ObjectiveModel

from ._pretrainer import Pretrainer

__all__ = ["PretrainedWeights", "find_pretrained", "fit_pretraining"]


@dataclass(frozen=True)
class PretrainedWeights:
    """What a fine-tuned model takes over from a pre-trained one."""

    backbone: Backbone
    graphs: GraphSettings
    elements: list[int]
    weights: dict[str, Tensor]
    objective: Objective
    state: dict[str, Tensor]

    @classmethod
    def of(cls, pretrainer: Pretrainer) -> "PretrainedWeights":
        """Copy them out of a fitted pre-trainer."""
        model = pretrainer.net_.module_
        return cls(
            backbone=clone(pretrainer.spec_.backbone),
            graphs=pretrainer.graph_settings_,
            elements=pretrainer.elements_,
            weights=_copies(model.transferable_weights()),
            objective=clone(pretrainer.spec_.objective),
            state=_copies(model.state_dict()),
        )

    @property
    def fingerprint(self) -> str:
        """Hash of the weights, to tell runs that start from different ones apart."""
        return str(joblib.hash({name: value.numpy() for name, value in self.weights.items()}))

    def load_into(self, model: ObjectiveModel, transfer: str) -> list[str]:
        """Copy weights by name: the backbone's, or all that fit; give the names copied."""
        current = model.state_dict()
        names = [name for name in current if name.startswith("backbone.")]
        if transfer == "matching":
            names += [
                name
                for name in current
                if name.startswith("head.")
                and name in self.weights
                and self.weights[name].shape == current[name].shape
            ]
        # Strict for the backbone, whose config is the pre-trained one.
        model.load_state_dict({**current, **{name: self.weights[name] for name in names}})
        return names


def _copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in tensors.items()}


def find_pretrained(pretrained: Any) -> PretrainedWeights:
    """Read ``pretrained``: a path, or a fitted pre-trainer that is frozen."""
    if isinstance(pretrained, (str, Path)):
        return PretrainedWeights.of(Pretrainer.load(pretrained))
    inner = getattr(pretrained, "estimator", None)
    if isinstance(inner, Pipeline):
        raise TypeError(
            "pretrained holds a Pipeline; expected the Pretrainer at its end: "
            "FrozenEstimator(pipeline[-1])."
        )
    if not isinstance(pretrained, FrozenEstimator) or not isinstance(inner, Pretrainer):
        raise TypeError(
            f"pretrained is of type {type(pretrained).__name__}; expected the path of a saved "
            "Pretrainer, or FrozenEstimator(pretrainer) with a fitted one: without "
            "sklearn.frozen.FrozenEstimator, clone would take its weights away. To pre-train "
            "within each fit, pass an unfitted label-free one as pretraining=."
        )
    if not hasattr(inner, "net_"):
        raise NotFittedError(
            "pretrained holds a Pretrainer that is not fitted: fit it first, or pass it as "
            "pretraining=."
        )
    return PretrainedWeights.of(inner)


def fit_pretraining(
    pretraining: Any, graphs: CrystalGraphs, groups: Any, seed: int
) -> PretrainedWeights:
    """Fit a label-free pre-trainer on the crystals at hand; ``pretraining`` stays unfitted."""
    if not isinstance(pretraining, Pretrainer):
        raise TypeError(
            f"pretraining is of type {type(pretraining).__name__}; expected an unfitted Pretrainer."
        )
    pretrainer = clone(pretraining)
    _, objective = pretrainer._configs()
    if objective.needs_labels:
        raise ValueError(
            f"pretraining has the objective {type(objective).__name__}, which learns from labels "
            "that fit does not have here. Use a label-free objective, or fit it beforehand and "
            "pass it as pretrained=."
        )
    if pretrainer.random_state is None:
        pretrainer.set_params(random_state=seed)
    return PretrainedWeights.of(pretrainer.fit(graphs, groups=groups))
