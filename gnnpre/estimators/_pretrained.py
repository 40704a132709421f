"""Weights of a pre-trained model, and how they are copied into another one."""

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
from gnnpre.graphs import GraphSettings
from gnnpre.objectives import Objective, ObjectiveModel

from ._base import CrystalEstimator
from ._network import TrainedNetwork

__all__ = ["PretrainedWeights", "read_network", "read_pretrained"]


@dataclass(frozen=True)
class PretrainedWeights:
    """A pre-trained model as fine-tuning needs it: configs, graph settings and weights.

    Parameters
    ----------
    backbone : Backbone
        Config of the network.
    graph_settings : GraphSettings
        How its graphs were built.
    elements : list of int
        Atomic numbers of its training.
    weights : dict of str to Tensor
        Weights that another model may copy by name, ``backbone.*`` and ``head.*``.
    objective : Objective
        Config of its objective.
    state : dict of str to Tensor
        All weights and buffers of the model.
    """

    backbone: Backbone
    graph_settings: GraphSettings
    elements: list[int]
    weights: dict[str, Tensor]
    objective: Objective
    state: dict[str, Tensor]

    @classmethod
    def of_network(cls, network: TrainedNetwork) -> "PretrainedWeights":
        """Copy the weights of a trained network."""
        model, record = network.net.module_, network.record
        return cls(
            backbone=clone(record.spec.backbone),
            graph_settings=record.graph_settings,
            elements=record.elements,
            weights=_copies(model.transferable_weights()),
            objective=clone(record.spec.objective),
            state=_copies(model.state_dict()),
        )

    @property
    def digest(self) -> str:
        """Hash of the weights, which tells trainings with different starts apart."""
        return str(joblib.hash({name: value.numpy() for name, value in self.weights.items()}))

    def load_into(self, model: ObjectiveModel, transfer: str) -> list[str]:
        """Copy weights by name into a model.

        Parameters
        ----------
        model : ObjectiveModel
            The model, whose backbone has the pre-trained config.
        transfer : {"backbone", "matching"}
            Copy the backbone, or all weights whose name and shape fit.

        Returns
        -------
        list of str
            Names of the weights that were copied.
        """
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


def read_network(path: str | Path) -> TrainedNetwork:
    """Return the network of a saved estimator of any class, by its path or name."""
    # Here, because the classes that can be loaded import this module.
    from ._loading import load_estimator

    estimator = load_estimator(path)
    if not hasattr(estimator, "_network"):
        raise ValueError(
            f"{str(path)!r} holds a {type(estimator).__name__}, which is not one network: expected "
            "the file of a Pretrainer, PropertyRegressor or PropertyClassifier. Those of an "
            "ensemble are in members_: save one of them."
        )
    network: TrainedNetwork = estimator._network()
    return network


def read_pretrained(pretrained: Any) -> PretrainedWeights:
    """Return the weights that the parameter ``pretrained`` names.

    Parameters
    ----------
    pretrained : str, Path or FrozenEstimator
        Name or path of a saved estimator of any class, or a fitted one that is frozen.

    Returns
    -------
    PretrainedWeights
        A copy of its weights.

    Raises
    ------
    TypeError
        If it is something else, such as a bare ``Pretrainer``.
    sklearn.exceptions.NotFittedError
        If the frozen estimator is not fitted.
    """
    if isinstance(pretrained, (str, Path)):
        return PretrainedWeights.of_network(read_network(pretrained))
    inner = getattr(pretrained, "estimator", None)
    if isinstance(inner, Pipeline):
        raise TypeError(
            "pretrained holds a Pipeline; expected the estimator at its end: "
            "FrozenEstimator(pipeline[-1])."
        )
    if not isinstance(pretrained, FrozenEstimator) or not isinstance(inner, CrystalEstimator):
        raise TypeError(
            f"pretrained is of type {type(pretrained).__name__}; expected a name of "
            "gnnpre.list_pretrained(), the path of a saved estimator, or "
            "FrozenEstimator(pretrainer) with a fitted one: without "
            "sklearn.frozen.FrozenEstimator, clone would take its weights away. To pre-train "
            "within each fit, pass an unfitted label-free Pretrainer as pretraining=."
        )
    if not hasattr(inner, "net_"):
        raise NotFittedError(
            f"pretrained holds a {type(inner).__name__} that is not fitted: fit it first, or pass "
            "a Pretrainer as pretraining=."
        )
    return PretrainedWeights.of_network(inner._network())
