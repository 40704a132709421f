"""The jobs of the pre-trainings that the evaluations of a study need."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gnnpre.estimators import Pretrainer
from gnnpre.pretrained import FORCE_FIELD, resolve_model
from gnnpre.training import to_spec

from ..declare._checks import PRETRAINING
from ..declare._networks import Network
from ..declare._strategy import Strategy
from ..declare._study import Study
from ._data import LocatedData
from ._files import hash_content, hash_file
from ._job import Job
from ._resolved import resolved_graphs, resolved_settings

__all__ = ["PretrainingJobs"]


class PretrainingJobs:
    """Jobs of pre-trainings, each of which is made when it is asked for first.

    Parameters
    ----------
    study : Study
        The declaration.
    data : mapping of str to LocatedData
        The data sets by name, some of whose crystals pre-trainings leave out.
    files : mapping of str to list of Path
        The files that each pre-training learns from.
    """

    def __init__(
        self, study: Study, data: Mapping[str, LocatedData], files: Mapping[str, list[Path]]
    ) -> None:
        self.study = study
        self.data = data
        self.files = files
        self.declared = {item.name: item for item in study.pretrainings}
        self.jobs: dict[tuple[str, str], Job] = {}

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs.values())

    def of_strategy(self, network: Network, strategy: Strategy) -> Job:
        """Return the job whose weights a strategy starts from, after a check of its epoch."""
        job = self.get(network, str(strategy.pretraining))
        if strategy.epoch is not None and strategy.pretraining not in self.declared:
            raise ValueError(
                f"epoch of strategy {strategy.name!r} is {strategy.epoch}, but the package has "
                f"{strategy.pretraining!r} at the end of its training alone: leave epoch out."
            )
        epochs = job.tools["settings"].get("checkpoint_epochs") or ()
        if strategy.epoch is not None and strategy.epoch not in epochs:
            raise ValueError(
                f"epoch of strategy {strategy.name!r} is {strategy.epoch}, but checkpoint_epochs "
                f"of pre-training {strategy.pretraining!r} are {list(epochs)}: add it there."
            )
        return job

    def get(self, network: Network, name: str) -> Job:
        """Return the job of a pre-training of a network, or of a model in the package."""
        if (network.name, name) not in self.jobs:
            make = self._make_pretraining if name in self.declared else self._take_model
            self.jobs[network.name, name] = make(network, name)
        return self.jobs[network.name, name]

    def of_force_field(self, network: Network) -> Job:
        """Return the job of the force field, whose embeddings are features of kernel machines."""
        key = network.name, FORCE_FIELD
        if key not in self.jobs:
            self.jobs[key] = _model_job(network, FORCE_FIELD)
        return self.jobs[key]

    def _take_model(self, network: Network, name: str) -> Job:
        """Return the job that takes the weights of a model in the package."""
        if network.model != name:
            raise ValueError(
                f"A strategy starts from {name!r} with the network {network.name!r}, which is "
                f"declared otherwise: restrict the strategy by backbones, or declare a network "
                f"with model = {name!r}."
            )
        return _model_job(network, name)

    def _make_pretraining(self, network: Network, name: str) -> Job:
        # 1. settings: of the study, of the network, of the pre-training; later ones win
        declared = self.declared[name]
        settings = {**self.study.pretraining, **network.pretraining, **declared.settings}
        graphs = network.graphs or self.study.graphs
        leaks = [self.data[item].parameters for item in declared.drop_leaks]
        parameters = {
            "objective": to_spec(declared.objective, "objective"),
            "backbone": to_spec(network.backbone, network.name),
            "graphs": resolved_graphs(graphs),
            "sources": [Path(source).name for source in declared.sources],
            "sha256": [hash_content(path) for path in self.files[name]],
            "targets": None if declared.targets is None else list(declared.targets),
            "max_structures": declared.max_structures,
            "drop_leaks": leaks,
            "leak_level": declared.leak_level if leaks else None,
            "random_state": declared.random_state,
            "settings": resolved_settings(Pretrainer(**settings), PRETRAINING),
        }
        tools = {
            "declared": declared,
            "files": self.files[name],
            "leaks": [self.data[item] for item in declared.drop_leaks],
            "backbone": network.backbone,
            "graphs": graphs,
            "settings": settings,
        }
        # The key of the job depends on parameters alone; tools are the objects behind them.
        fields: dict[str, Any] = {"strategy": name, "role": "pretraining", "backbone": network.name}
        return Job(kind="pretraining", parameters=parameters, tools=tools, **fields)


def _model_job(network: Network, name: str) -> Job:
    parameters = {"model": name, "sha256": hash_file(resolve_model(name))}
    fields: dict[str, Any] = {"strategy": name, "role": "pretraining", "backbone": network.name}
    tools: dict[str, Any] = {"model": name, "settings": {}}
    return Job(kind="pretraining", parameters=parameters, tools=tools, **fields)
