"""Models and the nets that hold them: before a training, after it, and without one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from skorch.callbacks import PrintLog
from torch import Tensor

from gnnpre._allocator import release_memory
from gnnpre._devices import device_or_cpu, resolve_device
from gnnpre.graphs import is_on_disk
from gnnpre.objectives import ObjectiveModel, Targets

from ._loader import CrystalDataset
from ._model_spec import ModelSpec
from ._net import CrystalNet
from ._predict import ordinary_mode
from ._randomness import PrivateRandomness, default_float32
from ._settings import TrainingSettings, resolve_compile
from ._verify import build_for_weights

__all__ = ["build_model", "hold_pretrained", "make_net", "restore_net"]


def build_model(
    spec: ModelSpec,
    dataset: CrystalDataset,
    settings: TrainingSettings,
    randomness: PrivateRandomness,
    prepare: Callable[[ObjectiveModel], None] | None,
) -> ObjectiveModel:
    """Build the model with weights and statistics to start from."""
    device = dataset.graphs.device
    with randomness, default_float32():
        model = spec().to(device)
        model.backbone.compiled = resolve_compile(settings.compile, device)
        counted = _indices_of_weight(dataset.targets, dataset.indices)
        model.set_statistics(dataset.graphs, dataset.targets, counted)
        if is_on_disk(dataset.graphs):
            release_memory()
        if prepare is not None:
            prepare(model)
    randomness.was_used = False  # from here on it tells whether steps draw random numbers
    return model


def _indices_of_weight(targets: Targets, indices: np.ndarray) -> np.ndarray:
    """Return the crystals whose weight is not zero: labels of the others count for nothing."""
    weights = targets.crystal.get("sample_weight")
    counted = indices if weights is None else indices[weights.cpu().numpy()[indices] > 0]
    return counted if len(counted) else indices


def restore_net(
    spec: ModelSpec, weights: Mapping[str, Tensor], settings: TrainingSettings
) -> CrystalNet:
    """Return a net with the weights of an earlier training, without an optimizer.

    Raises
    ------
    ValueError
        If the weights do not fit the spec.
    """
    device = device_or_cpu(settings.device)
    with ordinary_mode(device):
        model = build_for_weights(spec, weights).to(device)
    model.backbone.compiled = resolve_compile(settings.compile, device)
    return make_net(spec, settings, device).hold(model)


def hold_pretrained(
    spec: ModelSpec,
    dataset: CrystalDataset,
    settings: TrainingSettings,
    load_weights: Callable[[ObjectiveModel], None],
) -> CrystalNet:
    """Return a net without training: loaded weights, and a readout that predicts the mean.

    Parameters
    ----------
    spec : ModelSpec
        Description of the model.
    dataset : CrystalDataset
        Crystals whose labels have that mean.
    settings : TrainingSettings
        Device and options of the net.
    load_weights : callable
        Copies weights into the model.

    Returns
    -------
    CrystalNet
        The net.
    """
    device = resolve_device(settings.device)
    randomness = PrivateRandomness(0, device)

    def prepare(model: ObjectiveModel) -> None:
        load_weights(model)
        for name, parameter in model.named_parameters():
            if not name.startswith("backbone."):
                parameter.detach().zero_()

    with ordinary_mode(device):
        model = build_model(spec, dataset.to(device), settings, randomness, prepare)
    return make_net(spec, settings, device).hold(model)


def make_net(
    spec: ModelSpec,
    settings: TrainingSettings,
    device: torch.device,
    *,
    callbacks: Sequence[Any] = (),
    param_groups: Sequence[Any] = (),
) -> CrystalNet:
    # skorch's callbacks print only if the net is verbose: it is, for a user who passes PrintLog.
    prints = any(isinstance(c[1] if isinstance(c, tuple) else c, PrintLog) for c in callbacks)
    return CrystalNet(
        module=spec,
        optimizer__weight_decay=settings.weight_decay,
        # One call for all weights: tensor by tensor, AdamW takes a tenth of a small step.
        optimizer__fused=True,
        optimizer__param_groups=list(param_groups),
        lr=settings.learning_rate,
        max_epochs=settings.max_epochs,
        batch_size=settings.batch_size,
        max_edges=settings.max_edges,
        device=str(device),
        callbacks=list(callbacks),
        verbose=int(prints or settings.verbose > 0),
    )
