"""Settings of a declaration: checked, with all defaults, as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch

from gnnpre.graphs import StructureToGraph
from gnnpre.training import TrainingSettings, to_spec

from ..declare._networks import Network

__all__ = ["check_network", "resolved_graphs", "resolved_settings"]


def check_network(network: Network, cutoff: float) -> None:
    """Check the parameters of a backbone before anything is trained."""
    backbone: Any = network.backbone  # of the model, where that is declared
    with torch.random.fork_rng(devices=[]):
        backbone.build(cutoff)


def resolved_graphs(graphs: StructureToGraph) -> dict[str, Any]:
    # Where and by how many processes graphs are built decides nothing about results.
    parameters = {k: v for k, v in graphs.get_params().items() if k not in ("n_jobs", "device")}
    return _described(parameters)


def resolved_settings(estimator: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return checked settings with all defaults, which another version may change."""
    parameters = estimator.get_params(deep=False)
    training = {item.name for item in fields(TrainingSettings)}
    # A folder stands in for that of the job, which checkpoint_epochs asks for.
    checked = {name: value for name, value in parameters.items() if name in training}
    TrainingSettings(**{**checked, "checkpoint_dir": "."}).validate()
    return _described({name: parameters[name] for name in names})


def _described(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: to_spec(value, name) for name, value in sorted(settings.items())}
