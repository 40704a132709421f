"""The jobs of a study, and the files that they need."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gnnpre.estimators import PropertyRegressor, make_features
from gnnpre.training import to_spec

from ..declare._checks import FINETUNING
from ..declare._networks import Network, Pretraining
from ..declare._strategy import OF_KIND, Recipe, Strategy
from ..declare._study import Study
from ._data import LocatedData, locate_data
from ._files import find_home, source_files
from ._job import Job
from ._pretraining_jobs import PretrainingJobs
from ._protocols import N_FOLDS
from ._recipe_code import recipe_parameters
from ._resolved import check_network, resolved_graphs, resolved_settings

__all__ = ["MODELS", "Plan", "plan_jobs"]

#: Kinds of rows, and the names of their models among the parameters of jobs.
MODELS = {
    "finetune": "finetune",
    "blended": "blended",
    "kernel": "frozen_kernel",
    "ensemble": "property_ensemble",
}

# A study compares with scratch, and each diagnosis costs passes over the data. A blend would hide
# what a network gains: networks stand alone unless a study asks for another strategy.
DEFAULTS = {"diagnose": False, "strategy": "full"}
# Its error on left-out crystals, by which a blend is validated, is part of its diagnosis.
OF_BLEND = {"strategy": "blended", "diagnose": True}
#: Poolings of rows that train no network of their own.
POOLINGS = {"kernel": ("mean", "sum"), "ensemble": ("mean",)}
#: Between the seeds of members, so that those of neighbouring seeds do not meet.
MEMBER_STEP = 10_007
#: Part of the keys of baselines, kernel machines, blends and ensembles: another number for another
#: way to fit them.
BASELINE_VERSION = 4
#: Of kernel machines on a pre-training of the study: the force field, which is pre-trained itself,
#: would hide what that one gains. Models of the package have the defaults of the estimators.
KERNEL_FEATURES = ("composition", "fingerprint")


@dataclass(frozen=True)
class Plan:
    """The jobs of a study, in an order in which they can be done."""

    study: Study
    data: Mapping[str, LocatedData]
    jobs: tuple[Job, ...]


def plan_jobs(study: Study, data_home: str | Path | None = None) -> Plan:
    """Locate all files that a study needs, and list its jobs; nothing is read or trained."""
    home = find_home(data_home)
    for network in study.backbones:
        check_network(network, (network.graphs or study.graphs).cutoff)
    data = {item.name: locate_data(item, home) for item in study.data_sets}
    files = {item.name: _find_sources(item, home) for item in study.pretrainings}
    return Plan(study, data, tuple(_Planner(study, data, files).jobs()))


def _find_sources(pretraining: Pretraining, home: Path | None) -> list[Path]:
    return [path for source in pretraining.sources for path in source_files(source, home)]


class _Planner:
    """Builds the jobs of a study."""

    def __init__(
        self, study: Study, data: Mapping[str, LocatedData], files: Mapping[str, list[Path]]
    ) -> None:
        self.study = study
        self.data = data
        self.networks = {item.name: item for item in study.backbones}
        self.pretrainings = PretrainingJobs(study, data, files)

    def jobs(self) -> Iterator[Job]:
        # First all evaluations: they collect the pre-trainings that they need.
        evaluations = [job for name in self.data for job in self._evaluations(name)]
        yield from self.pretrainings
        yield from evaluations

    def _evaluations(self, data: str) -> Iterator[Job]:
        for run in self._runs():
            for name in self.study.baselines:
                yield self._baseline(data, run, name)
            for network in self.study.backbones:
                for strategy in self.study.strategies:
                    if _applies(strategy, network.name, data):
                        yield from self._rows(data, run, network, strategy)
            for name, recipe in self.study.estimators.items():
                yield self._recipe(data, run, name, recipe)

    def _runs(self) -> Iterator[dict[str, Any]]:
        folds = [None] if self.study.protocol == "papers" else range(N_FOLDS)
        for seed in self.study.seeds or ():
            for fold in folds:
                yield {"seed": seed, "fold": fold}

    def _job(self, data: str, run: Mapping[str, Any], parameters: Any, **fields: Any) -> Job:
        split = {"protocol": self.study.protocol, **run}
        if self.study.protocol == "matbench":
            split["validation"] = self.study.validation
        described = {"data": self.data[data].parameters, "split": split, **parameters}
        return Job(kind="evaluation", data=data, parameters=described, **run, **fields)

    def _baseline(self, data: str, run: Mapping[str, Any], name: str) -> Job:
        if name.endswith("chgnet") and find_spec("chgnet") is None:
            raise ImportError(
                f"baselines has {name!r}, which needs the package chgnet: run "
                'pip install "gnnpre[chgnet]", or leave it out.'
            )
        parameters = {"model": name, "version": BASELINE_VERSION, "random_state": run["seed"]}
        return self._job(data, run, parameters, strategy=name, role="baseline", backbone=None)

    def _rows(
        self, data: str, run: Mapping[str, Any], network: Network, strategy: Strategy
    ) -> Iterator[Job]:
        if strategy.of is not None:
            rows = tuple(self._row(data, run, network, name) for name in strategy.of)
            yield self._mean(data, run, network, strategy, rows)
            return
        if strategy.members is None:
            yield self._trained(data, run, network, strategy, None)
            return
        # An ensemble shares its first member with a row of equal settings: trained once, not twice.
        twin = self._twin(strategy, network, data)
        first = self._trained(data, run, network, twin or strategy, None if twin else 0)
        rest = [
            self._trained(data, run, network, strategy, number)
            for number in range(1, strategy.members)
        ]
        yield from rest if twin else (first, *rest)
        yield self._mean(data, run, network, strategy, (first, *rest))

    def _twin(self, ensemble: Strategy, network: Network, data: str) -> Strategy | None:
        """Return the row that is trained as the first member of an ensemble would be."""
        names = ("pretraining", "kind", "epoch", "finetuning", "max_time")
        settings = [getattr(ensemble, name) for name in names]
        for item in self.study.strategies:
            alone = item.members is None and item.of is None
            same = [getattr(item, name) for name in names] == settings
            if alone and same and _applies(item, network.name, data):
                return item
        return None

    def _row(self, data: str, run: Mapping[str, Any], network: Network, name: str) -> Job:
        """Return the job of a row that is averaged with others."""
        if name in self.study.baselines:
            return self._baseline(data, run, name)
        (strategy,) = [item for item in self.study.strategies if item.name == name]
        if strategy.kind in ("blended", "ensemble"):
            raise ValueError(
                f"{name!r} is of kind {strategy.kind!r}, which has no predictions for the "
                "validation crystals; a mean of rows is judged by these: leave it out of the "
                "row's 'of'."
            )
        if not _applies(strategy, network.name, data):
            raise ValueError(
                f"A strategy is of {name!r}, which its backbones and data leave out for "
                f"{network.name} on {data}: give both the same backbones and data."
            )
        return list(self._rows(data, run, network, strategy))[-1]

    def _mean(
        self,
        data: str,
        run: Mapping[str, Any],
        network: Network,
        strategy: Strategy,
        members: tuple[Job, ...],
    ) -> Job:
        fields: dict[str, Any] = {"strategy": strategy.name, "backbone": network.name}
        parameters = {"model": "mean", "of": [str(member) for member in members]}
        return self._job(data, run, parameters, role="ensemble", needs=members, **fields)

    def _trained(
        self,
        data: str,
        run: Mapping[str, Any],
        network: Network,
        strategy: Strategy,
        member: int | None,
    ) -> Job:
        # From the general to the special; later entries win.
        settings = {
            **DEFAULTS,
            **self.study.finetuning,
            **network.finetuning,
            **self.data[data].declared.finetuning,
            **strategy.finetuning,
        }
        graphs = network.graphs or self.study.graphs
        parameters: dict[str, Any] = {
            "model": MODELS[strategy.kind],
            "backbone": to_spec(network.backbone, network.name),
            "graphs": resolved_graphs(graphs),
            "epoch": strategy.epoch,
            "random_state": run["seed"] + MEMBER_STEP * (member or 0),
        }
        if strategy.kind in ("finetune", "blended"):
            if strategy.kind == "blended":
                settings = {**settings, **OF_BLEND}
                settings["kernel_features"] = self._kernel_features(strategy, settings)
                parameters["version"] = BASELINE_VERSION
            parameters["finetuning"] = resolved_settings(PropertyRegressor(**settings), FINETUNING)
        else:
            settings = self._kernel_settings(strategy, settings)
            parameters["version"] = BASELINE_VERSION
            parameters["settings"] = {name: to_spec(item) for name, item in settings.items()}
        tools = {"backbone": network.backbone, "graphs": graphs, "finetuning": settings}
        needs: tuple[Job, ...] = ()
        if strategy.pretraining is not None:
            needs = (self.pretrainings.of_strategy(network, strategy),)
        if strategy.kind != "finetune" and "force_field" in list(settings["kernel_features"]):
            # Its weights decide the result, and what they have seen belongs into the audit.
            needs = (*needs, self.pretrainings.of_force_field(network))
        fields: dict[str, Any] = {"role": _role(strategy), "needs": needs, "tools": tools}
        named: dict[str, Any] = {"strategy": strategy.name, "backbone": network.name}
        return self._job(data, run, parameters, member=member, **named, **fields)

    def _kernel_settings(self, strategy: Strategy, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of a kernel machine, or of an ensemble."""
        if (pooling := settings.get("pooling", "mean")) not in POOLINGS[strategy.kind]:
            raise ValueError(
                f"Strategy {strategy.name!r} of kind {strategy.kind!r} has pooling={pooling!r} in "
                f"finetuning; expected {' or '.join(map(repr, POOLINGS[strategy.kind]))}. Restrict "
                "the strategy by data, or leave it out."
            )
        chosen = {"kernel_features": self._kernel_features(strategy, settings)}
        if strategy.kind == "ensemble":
            epochs = settings.get("max_epochs", PropertyRegressor().max_epochs)
            chosen |= {"max_epochs": epochs, "max_time": strategy.max_time}
        # What all rows share counts here as well, as far as there is such a parameter.
        return {
            name: settings[name] for name in OF_KIND[strategy.kind] if name in settings
        } | chosen

    def _kernel_features(self, strategy: Strategy, settings: Mapping[str, Any]) -> Any:
        is_shipped = strategy.pretraining not in self.pretrainings.declared
        default = PropertyRegressor().kernel_features if is_shipped else KERNEL_FEATURES
        features = settings.get("kernel_features", default)
        make_features(features)  # an error before anything is trained
        return features

    def _recipe(self, data: str, run: Mapping[str, Any], name: str, recipe: Recipe) -> Job:
        needs: tuple[Job, ...] = ()
        network = None
        if recipe.backbone is not None:
            network = self.networks[recipe.backbone]
            needs = tuple(self.pretrainings.get(network, item) for item in recipe.needs)
        parameters = {
            "model": "recipe",
            **recipe_parameters(name, recipe),
            "random_state": run["seed"],
        }
        fields: dict[str, Any] = {"strategy": name, "backbone": recipe.backbone, "needs": needs}
        role = "baseline" if network is None else "pretrained"
        return self._job(data, run, parameters, role=role, tools={"recipe": recipe}, **fields)


def _applies(strategy: Strategy, backbone: str, data: str) -> bool:
    networks, sets = strategy.backbones, strategy.data
    return (networks is None or backbone in networks) and (sets is None or data in sets)


def _role(strategy: Strategy) -> str:
    if strategy.kind != "finetune":
        return "kernel" if strategy.kind == "kernel" else "blend"
    return "scratch" if strategy.pretraining is None else "pretrained"
