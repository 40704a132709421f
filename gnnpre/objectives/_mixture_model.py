"""The model of a mixture: several heads that share passes through one backbone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from gnnpre.backbones import AtomFeatures, BackboneModule
from gnnpre.graphs import CrystalBatch, CrystalGraphs

from ._base import LossTerm, ObjectiveModel, Targets
from ._derivatives import differentiable

__all__ = ["MixtureModel", "own_values", "prefixed", "targets_of"]

T = TypeVar("T")


def prefixed(name: str, values: Mapping[str, T]) -> dict[str, T]:
    return {f"{name}.{key}": value for key, value in values.items()}


def own_values(name: str, values: Mapping[str, T]) -> dict[str, T]:
    """Pick what :func:`prefixed` named, and the weights of samples, which all share."""
    start = f"{name}."
    own = {key.removeprefix(start): v for key, v in values.items() if key.startswith(start)}
    if "sample_weight" in values:
        own["sample_weight"] = values["sample_weight"]
    return own


def targets_of(name: str, targets: Targets) -> Targets:
    return Targets(
        targets.n_atoms, own_values(name, targets.crystal), own_values(name, targets.atom)
    )


@dataclass(frozen=True)
class MixtureBatch(CrystalBatch):
    """A batch with what it became for those parts that perturb it."""

    perturbed: dict[str, CrystalBatch]

    def to(self, device: torch.device | str) -> "MixtureBatch":
        """Copy all to a device."""
        copies = {id(batch): batch.to(device) for batch in self.perturbed.values()}
        perturbed = {name: copies[id(batch)] for name, batch in self.perturbed.items()}
        return _mixture_batch(super().to(device), perturbed)


def _mixture_batch(batch: CrystalBatch, perturbed: dict[str, CrystalBatch]) -> MixtureBatch:
    values = {field.name: getattr(batch, field.name) for field in fields(CrystalBatch)}
    return MixtureBatch(**values, perturbed=perturbed)


class SharedBackbone:
    """The backbone as the parts see it: its features of the batch at hand are there already."""

    def __init__(self, module: BackboneModule) -> None:
        self.module = module
        self.out_channels = module.out_channels
        self.n_elements = module.n_elements
        self._batch: CrystalBatch | None = None
        self._features: AtomFeatures | None = None

    def __call__(self, batch: CrystalBatch) -> AtomFeatures:
        if self._features is not None and batch is self._batch:
            return self._features
        features: AtomFeatures = self.module(batch)
        return features

    @contextmanager
    def holding(self, batch: CrystalBatch) -> Iterator[None]:
        """Keep the features of a batch."""
        self._batch, self._features = batch, self.module(batch)
        try:
            yield
        finally:
            self._batch = self._features = None


class MixtureModel(ObjectiveModel):
    """A backbone, and the models of all parts, which share it."""

    def __init__(
        self, backbone: BackboneModule, models: dict[str, ObjectiveModel], weights: dict[str, float]
    ) -> None:
        super().__init__(backbone)
        self.shared = SharedBackbone(backbone)
        for model in models.values():
            # No module any more, so that its weights have one name, and one copy on disk.
            del model.backbone
            model.__dict__["backbone"] = self.shared
        self.parts = nn.ModuleDict(models)
        self.weights = weights

    def _models(self) -> dict[str, ObjectiveModel]:
        return dict(self.parts.items())  # type: ignore[arg-type]

    def transferable_weights(self) -> dict[str, Tensor]:
        """Give the state, and the readout of the first part that has one as ``head.*``."""
        weights = super().transferable_weights()
        for model in self._models().values():
            state = model.state_dict()
            head = {key: value for key, value in state.items() if key.startswith("head.")}
            if head:
                return {**weights, **head}
        return weights

    def set_statistics(self, graphs: CrystalGraphs, targets: Targets, train: np.ndarray) -> None:
        """Let each part learn from the training part what is no weight."""
        for name, model in self._models().items():
            model.set_statistics(graphs, targets_of(name, targets), train)

    def perturb(
        self, batch: CrystalBatch, targets: dict[str, Tensor], generator: torch.Generator
    ) -> tuple[CrystalBatch, dict[str, Tensor]]:
        """Let parts perturb copies of the batch, all from one seed.

        Parts whose perturbation is the same then come out with the same crystals, and share them.
        """
        models = {
            name: model
            for name, model in self._models().items()
            if type(model).perturb is not ObjectiveModel.perturb
        }
        if not models:
            return batch, targets
        seed = int(torch.randint(2**62, (), generator=generator))
        perturbed: dict[str, CrystalBatch] = {}
        for name, model in models.items():
            own = torch.Generator().manual_seed(seed)
            seen, changed = model.perturb(batch, own_values(name, targets), own)
            twins = (other for other in (batch, *perturbed.values()) if _same(seen, other))
            perturbed[name] = next(twins, seen)
            targets = {**targets, **prefixed(name, changed)}
        return _mixture_batch(batch, perturbed), targets

    def forward(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict what the losses need."""
        return self._run(batch, lambda model, seen: model(seen))

    def predict(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict everything that the parts speak of."""
        with torch.no_grad():
            return self._run(batch, lambda model, seen: model.predict(seen))

    def _run(
        self,
        batch: CrystalBatch,
        run: Callable[[ObjectiveModel, CrystalBatch], dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        predictions: dict[str, Tensor] = {}
        models = self._models()
        for seen, names in self._groups(batch):
            with self._one_pass(seen, [models[name] for name in names]) as shared:
                for name in names:
                    predictions |= prefixed(name, run(models[name], shared))
        if torch.is_grad_enabled():
            return predictions
        return {name: value.detach() for name, value in predictions.items()}

    def _groups(self, batch: CrystalBatch) -> list[tuple[CrystalBatch, list[str]]]:
        """Give each batch that parts see, with their names."""
        groups: dict[int, tuple[CrystalBatch, list[str]]] = {}
        for name in self.parts:
            seen = _seen_by(name, batch)
            groups.setdefault(id(seen), (seen, []))[1].append(name)
        return list(groups.values())

    @contextmanager
    def _one_pass(
        self, batch: CrystalBatch, models: Sequence[ObjectiveModel]
    ) -> Iterator[CrystalBatch]:
        """Give the batch that these models share, its features at hand."""
        if len(models) == 1:
            yield batch
            return
        differentiates = any(model.differentiates for model in models)
        with torch.set_grad_enabled(differentiates or torch.is_grad_enabled()):
            shared = differentiable(batch) if differentiates else batch
            with self.shared.holding(shared):
                yield shared

    def losses(
        self, predictions: dict[str, Tensor], targets: dict[str, Tensor], batch: CrystalBatch
    ) -> dict[str, LossTerm]:
        """Losses of all parts, times their weights."""
        terms: dict[str, LossTerm] = {}
        for name, model in self._models().items():
            own = model.losses(
                own_values(name, predictions), own_values(name, targets), _seen_by(name, batch)
            )
            weighted = {
                key: replace(term, weight=self.weights[name] * term.weight)
                for key, term in own.items()
            }
            terms |= prefixed(name, weighted)
        return terms


def _seen_by(name: str, batch: CrystalBatch) -> CrystalBatch:
    """Give what a part sees of a batch."""
    perturbed: dict[str, CrystalBatch] = getattr(batch, "perturbed", {})
    return perturbed.get(name, batch)


def _same(one: CrystalBatch, two: CrystalBatch) -> bool:
    """Whether two batches hold the same crystals with the same edges."""
    if one is two:
        return True
    pairs = [(getattr(one, field.name), getattr(two, field.name)) for field in fields(CrystalBatch)]
    return all(a is b or torch.equal(a, b) for a, b in pairs)
