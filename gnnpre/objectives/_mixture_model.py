"""The model of a mixture: several heads that share one backbone."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor, nn

from gnnpre._prefixes import add_prefix, select_prefix
from gnnpre.backbones import AtomFeatures, BackboneModule
from gnnpre.graphs import CrystalBatch, CrystalGraphs

from ._derivatives import differentiable
from ._lazy_targets import select_targets, select_values
from ._losses import LossTerm
from ._model import ObjectiveModel
from ._targets import Targets

__all__ = ["MixtureModel"]


@dataclass(frozen=True)
class MixtureBatch(CrystalBatch):
    """A batch, and its copies for the objectives that perturb it, by name."""

    perturbed: dict[str, CrystalBatch]

    def to(self, device: torch.device | str) -> "MixtureBatch":
        """Copy the batch and its copies to a device."""
        copies = {id(batch): batch.to(device) for batch in self.perturbed.values()}
        perturbed = {name: copies[id(batch)] for name, batch in self.perturbed.items()}
        return _mixture_batch(super().to(device), perturbed)


def _mixture_batch(batch: CrystalBatch, perturbed: dict[str, CrystalBatch]) -> MixtureBatch:
    values = {field.name: getattr(batch, field.name) for field in fields(CrystalBatch)}
    return MixtureBatch(**values, perturbed=perturbed)


class SharedBackbone:
    """The backbone as the objectives see it: it computes the features of a held batch once."""

    def __init__(self, module: BackboneModule) -> None:
        self.module = module
        self.out_channels = module.out_channels
        self.n_elements = module.n_elements
        # One attribute, read and set as a whole: threads may predict with one model.
        self._held: tuple[CrystalBatch, AtomFeatures] | None = None

    def __call__(self, batch: CrystalBatch) -> AtomFeatures:
        held = self._held
        if held is not None and held[0] is batch:
            return held[1]
        features: AtomFeatures = self.module(batch)
        return features

    @contextmanager
    def holding(self, batch: CrystalBatch) -> Iterator[None]:
        """Keep the features of a batch inside the block."""
        self._held = batch, self.module(batch)
        try:
            yield
        finally:
            self._held = None


class MixtureModel(ObjectiveModel):
    """A backbone, and the models of all objectives, which share it."""

    def __init__(
        self, backbone: BackboneModule, models: dict[str, ObjectiveModel], weights: dict[str, float]
    ) -> None:
        super().__init__(backbone)
        self.shared = SharedBackbone(backbone)
        for model in models.values():
            # Not a submodule any more, so that its weights have one name, and one copy on disk.
            del model.backbone
            model.__dict__["backbone"] = self.shared
        self.parts = nn.ModuleDict(models)
        self.weights = weights

    def models(self) -> dict[str, ObjectiveModel]:
        """Return the models of all objectives, by their names."""
        return dict(self.parts.items())  # type: ignore[arg-type]

    @property
    def left_out(self) -> Mapping[str, float] | None:  # type: ignore[override]
        """Values of targets that leave crystals out; None if an objective sees other crystals."""
        values: dict[str, float] = {}
        for name, model in self.models().items():
            if model.perturbs or model.left_out is None:
                return None
            values |= add_prefix(name, model.left_out)
        return values

    @property
    def perturbs(self) -> bool:
        """Whether any objective perturbs."""
        return any(model.perturbs for model in self.models().values())

    def transferable_weights(self) -> dict[str, Tensor]:
        """Return the state, and the readout of the first objective with one as ``head.*``."""
        weights = super().transferable_weights()
        for model in self.models().values():
            state = model.state_dict()
            head = {key: value for key, value in state.items() if key.startswith("head.")}
            if head:
                return {**weights, **head}
        return weights

    def in_label_unit(self, term: str, loss: float) -> str:
        """Write a term of one objective in the unit of its labels, after its name."""
        name, _, inner = term.partition(".")
        text = self.models()[name].in_label_unit(inner, loss) if name in self.models() else ""
        return f"{name}.{text}" if text else ""

    def set_statistics(self, graphs: CrystalGraphs, targets: Targets, train: np.ndarray) -> None:
        """Compute the statistics of each objective."""
        for name, model in self.models().items():
            model.set_statistics(graphs, select_targets(name, targets), train)

    def standardize(self, labels: dict[str, Tensor], batch: CrystalBatch) -> dict[str, Tensor]:
        """Convert the labels of each objective to the units of its losses."""
        for name, model in self.models().items():
            converted = model.standardize(select_prefix(name, labels), batch)
            labels = {**labels, **add_prefix(name, converted)}
        return labels

    def perturb(
        self, batch: CrystalBatch, targets: dict[str, Tensor], generator: torch.Generator
    ) -> tuple[CrystalBatch, dict[str, Tensor]]:
        """Perturb a copy of the batch for each objective that does so, all from one seed.

        Objectives with the same perturbation then get the same crystals, and share them.
        """
        # 1. objectives that perturb at all
        models = {name: model for name, model in self.models().items() if model.perturbs}
        if not models:
            return batch, targets
        # 2. the same noise for each of them, from a seed of this batch
        seed = int(torch.randint(2**62, (), generator=generator))
        perturbed: dict[str, CrystalBatch] = {}
        equal: dict[Hashable, CrystalBatch] = {}
        for name, model in models.items():
            same_noise = torch.Generator().manual_seed(seed)
            seen, changed = model.perturb(batch, select_values(name, targets), same_noise)
            # 3. one pass through the backbone for equal batches: to compare them would wait for a
            # GPU
            numbers = model.perturbation()
            key = type(model).perturb, numbers
            perturbed[name] = seen if numbers is None else equal.setdefault(key, seen)
            targets = {**targets, **add_prefix(name, changed)}
        return _mixture_batch(batch, perturbed), targets

    def select(
        self, batch: CrystalBatch, targets: dict[str, Tensor], chosen: Tensor
    ) -> tuple[CrystalBatch, dict[str, Tensor]]:
        """Return the share of one process, as each objective selects it."""
        shares: dict[int, CrystalBatch] = {id(batch): batch.select(chosen)}
        perturbed: dict[str, CrystalBatch] = {}
        selected: dict[str, Tensor] = {}
        for name, model in self.models().items():
            seen = _seen_by(name, batch)
            share, values = model.select(seen, select_values(name, targets), chosen)
            # Objectives that see the same batch share one pass through the backbone.
            perturbed[name] = shares.setdefault(id(seen), share)
            weights = values.pop("sample_weight", None)
            selected |= add_prefix(name, values)
            if weights is not None:
                selected["sample_weight"] = weights
        return _mixture_batch(shares[id(batch)], perturbed), selected

    def forward(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict in the units of the losses."""
        return self._run(batch, lambda model, seen: model(seen))

    def predict(self, batch: CrystalBatch) -> dict[str, Tensor]:
        """Predict the labels of all objectives, in their own units."""
        with torch.no_grad():
            return self._run(batch, lambda model, seen: model.predict(seen))

    def _run(
        self,
        batch: CrystalBatch,
        run: Callable[[ObjectiveModel, CrystalBatch], dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        predictions: dict[str, Tensor] = {}
        models = self.models()
        # One pass through the backbone for all objectives that see the same batch.
        for seen, names in self._groups(batch):
            with self._one_pass(seen, [models[name] for name in names]) as shared:
                for name in names:
                    predictions |= add_prefix(name, run(models[name], shared))
        if torch.is_grad_enabled():
            return predictions
        return {name: value.detach() for name, value in predictions.items()}

    def _groups(self, batch: CrystalBatch) -> list[tuple[CrystalBatch, list[str]]]:
        """Return each batch that objectives see, with their names."""
        groups: dict[int, tuple[CrystalBatch, list[str]]] = {}
        for name in self.parts:
            seen = _seen_by(name, batch)
            groups.setdefault(id(seen), (seen, []))[1].append(name)
        return list(groups.values())

    @contextmanager
    def _one_pass(
        self, batch: CrystalBatch, models: Sequence[ObjectiveModel]
    ) -> Iterator[CrystalBatch]:
        """Yield the batch that these models share, with its features computed."""
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
        """Compute the losses of all objectives, times their weights."""
        terms: dict[str, LossTerm] = {}
        for name, model in self.models().items():
            selected = select_values(name, predictions), select_values(name, targets)
            losses = model.losses(*selected, _seen_by(name, batch))
            weighted = {
                key: replace(term, weight=self.weights[name] * term.weight)
                for key, term in losses.items()
            }
            terms |= add_prefix(name, weighted)
        return terms


def _seen_by(name: str, batch: CrystalBatch) -> CrystalBatch:
    """Return the batch as one objective sees it."""
    perturbed: dict[str, CrystalBatch] = getattr(batch, "perturbed", {})
    return perturbed.get(name, batch)
