"""One training, from a spec and data to a trained net; and predictions with it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch.callbacks import BatchScoring, EpochScoring, GradientNormClipping
from torch import Tensor

from gnnpre._devices import resolve_device
from gnnpre.backbones import Backbone
from gnnpre.graphs import CrystalGraphs
from gnnpre.objectives import Objective, ObjectiveModel, Targets

from ._callbacks import BestModel, CosineRate, Divergence, PlateauRate, Progress
from ._epochs import EpochCheckpoints, WriteEpoch
from ._loader import CrystalDataset, plan_batches
from ._net import CrystalNet, TrainingData
from ._resume import ResumeState, run_fingerprint
from ._schedules import CosineSchedule, resolve_schedule
from ._settings import DTYPES, TrainingSettings, resolve_compile
from ._specs import from_spec, to_spec
from ._strategies import GradualUnfreezing, parameter_groups

__all__ = ["ModelSpec", "predict_batches", "restore_net", "train"]

# Crystals and edges in a batch of prediction; derivatives of 64 channels then take about 0.5 GB.
PREDICTION_BATCH, PREDICTION_EDGES = 512, 100_000


@dataclass(frozen=True)
class ModelSpec:
    """All that is needed to build a model anew: configs, cutoff and what the data decided."""

    backbone: Backbone
    objective: Objective
    cutoff: float
    mean_neighbors: float
    layout: dict[str, Any]
    dtype: str

    def __call__(self) -> ObjectiveModel:
        """Build the model with fresh weights."""
        backbone = self.backbone.build(self.cutoff, self.mean_neighbors)
        return self.objective.build(backbone, self.layout).to(DTYPES[self.dtype])

    def to_dict(self) -> dict[str, Any]:
        """Give the spec as JSON."""
        return {
            "backbone": to_spec(self.backbone, "backbone"),
            "objective": to_spec(self.objective.saved_config(), "objective"),
            "cutoff": self.cutoff,
            "mean_neighbors": self.mean_neighbors,
            "layout": self.layout,
            "dtype": self.dtype,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], classes: Mapping[str, type]) -> "ModelSpec":
        """Make again what :meth:`to_dict` gave."""
        configs = {key: from_spec(values[key], classes) for key in ("backbone", "objective")}
        return cls(**{**values, **configs})


def train(
    spec: ModelSpec,
    dataset: CrystalDataset,
    train_indices: np.ndarray,
    valid_indices: np.ndarray,
    settings: TrainingSettings,
    seed: int,
    *,
    prepare: Callable[[ObjectiveModel], None] | None = None,
    callbacks: Any = None,
    run: Mapping[str, Any] | None = None,
    write_epoch: WriteEpoch | None = None,
) -> CrystalNet:
    """Train the model that ``spec`` describes; global random states stay as they were.

    ``prepare`` changes the fresh model before training (weights of another one, say). ``run`` is
    what else decides how the training goes, for the name of its state. ``write_epoch`` writes the
    models of ``settings.checkpoint_epochs``.
    """
    device = resolve_device(settings.device)
    dataset = CrystalDataset(dataset.graphs.to(device), dataset.targets.to(device), dataset.indices)
    valid = dataset.subset(valid_indices) if len(valid_indices) else None
    data = TrainingData(dataset.subset(train_indices), valid)
    with seeded(seed, device):
        net = _make_net(spec, settings, device)
        ours, theirs = _make_callbacks(settings), _check_callbacks(callbacks)
        if settings.checkpoint_dir is not None:
            description = {"spec": spec.to_dict(), "seed": seed, **_deciding(settings)}
            fingerprint = run_fingerprint({**description, **(run or {})}, data)
            folder = Path(settings.checkpoint_dir)
            if settings.checkpoint_epochs is not None and write_epoch is not None:
                # Before the user's callbacks, of which one may end the training with this epoch.
                epochs, place = settings.checkpoint_epochs, folder / fingerprint
                ours.append(("epoch_checkpoints", EpochCheckpoints(epochs, place, write_epoch)))
            # After the user's callbacks, so that the state has all of the epoch.
            theirs.append(("resume", ResumeState(folder, fingerprint, settings.resume)))
        net.callbacks = [*ours, *theirs]
        net.initialize()
        net.module_.backbone.compiled = resolve_compile(settings.compile, device)
        counted = _of_weight(dataset.targets, train_indices)
        net.module_.set_statistics(dataset.graphs, dataset.targets, counted)
        if prepare is not None:
            prepare(net.module_)
        if settings.strategy == "head":
            net.module_.backbone.requires_grad_(False)
        net.train(data, torch.Generator().manual_seed(seed))
    return net


def _of_weight(targets: Targets, indices: np.ndarray) -> np.ndarray:
    """Leave out crystals of weight zero, unless none is left: their labels have no say."""
    weights = targets.crystal.get("sample_weight")
    counted = indices if weights is None else indices[weights.cpu().numpy()[indices] > 0]
    return counted if len(counted) else indices


def _deciding(settings: TrainingSettings) -> dict[str, Any]:
    """Give the settings that a resumed training must share."""
    free = {"device", "compile", "verbose", "checkpoint_dir", "checkpoint_epochs", "resume"}
    values = {
        key: value for key, value in asdict(settings).items() if key not in free | {"schedule"}
    }
    schedule = resolve_schedule(settings.schedule)
    if not isinstance(schedule, CosineSchedule):
        # Only the cosine looks at where the training ends.
        del values["max_epochs"]
    return {**values, "schedule": to_spec(schedule, "schedule")}


def _make_net(spec: ModelSpec, settings: TrainingSettings, device: torch.device) -> CrystalNet:
    return CrystalNet(
        module=spec,
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=settings.weight_decay,
        optimizer__param_groups=parameter_groups(lambda: spec().backbone, settings),
        lr=settings.learning_rate,
        max_epochs=settings.max_epochs,
        batch_size=settings.batch_size,
        max_edges=settings.max_edges,
        ema_decay=settings.ema_decay,
        freeze=settings.strategy == "head",
        device=str(device),
        verbose=0,
    )


def restore_net(
    spec: ModelSpec, weights: Mapping[str, Tensor], settings: TrainingSettings
) -> CrystalNet:
    """Make a net with given weights, as it was after training."""
    # A model that was trained on a GPU loads on a machine without one.
    try:
        device = resolve_device(settings.device)
    except ValueError:
        device = torch.device("cpu")
    with seeded(0, device):
        net = _make_net(spec, settings, device).initialize()
    net.module_.load_state_dict(weights)
    net.module_.backbone.compiled = resolve_compile(settings.compile, device)
    return net


def _check_callbacks(callbacks: Any) -> list[Any]:
    given = [] if callbacks is None else callbacks
    if not isinstance(given, (list, tuple)):
        raise TypeError(
            f"callbacks is of type {type(given).__name__}; expected a list of skorch callbacks, or "
            "of pairs of name and callback."
        )
    for index, item in enumerate(given):
        callback = item[1] if isinstance(item, tuple) and len(item) == 2 else item
        if isinstance(callback, type) or not hasattr(callback, "on_epoch_end"):
            raise TypeError(
                f"callbacks[{index}] is {item!r}; expected a skorch callback (skorch.callbacks), "
                "or a pair of name and callback."
            )
        if isinstance(callback, (BatchScoring, EpochScoring)):
            raise TypeError(
                f"callbacks[{index}] is {item!r}: scoring callbacks take arrays, which crystals "
                "are not. history_ has the losses of training and validation."
            )
    return list(given)


def _make_callbacks(settings: TrainingSettings) -> list[Any]:
    callbacks: list[Any] = [("divergence", Divergence())]
    schedule = resolve_schedule(settings.schedule)
    if schedule is not None:
        kind: type[Any] = CosineRate if isinstance(schedule, CosineSchedule) else PlateauRate
        callbacks.append(("schedule", kind(schedule)))
    if settings.gradient_clip is not None:
        clip = GradientNormClipping(gradient_clip_value=settings.gradient_clip)
        callbacks.append(("gradient_clip", clip))
    if settings.strategy == "frozen_then_full":
        callbacks.append(("unfreezing", GradualUnfreezing(settings.frozen_epochs)))
    callbacks.append(("best", BestModel(settings.restore_best, settings.patience)))
    if settings.verbose:
        callbacks.append(("progress", Progress()))
    return callbacks


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch inside the block, and leave its global states as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.random.default_generator.manual_seed(seed)
        if devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def predict_batches(
    model: ObjectiveModel,
    graphs: CrystalGraphs,
    function: Callable[[Any], dict[str, Tensor]] | None = None,
    rows: np.ndarray | None = None,
) -> list[dict[str, np.ndarray]]:
    """Return what ``model.predict`` (or ``function``) computes, as arrays, batch by batch.

    ``rows`` are the crystals to predict, all by default; they are not copied out of ``graphs``.
    """
    function = model.predict if function is None else function
    parameter = next(model.parameters())
    if rows is not None and graphs.device != parameter.device:
        graphs, rows = graphs[rows], None  # fewer to move to the GPU
    graphs = graphs.to(parameter.device)
    model.eval()
    order = np.arange(len(graphs)) if rows is None else rows
    plan = plan_batches(order, graphs.edge_counts, PREDICTION_BATCH, PREDICTION_EDGES)
    return [
        {
            name: value.cpu().numpy()
            for name, value in function(graphs.batch(indices, parameter.dtype)).items()
        }
        for indices in plan
    ]
