"""One training, from a spec and data to a trained net."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnnpre._devices import resolve_device
from gnnpre.objectives import ObjectiveModel

from ._average import WeightAverage
from ._callbacks import check_callbacks
from ._epochs import EpochCheckpoints, WriteEpoch
from ._follower import Follower
from ._interrupt import TrainingInterrupted, ignore_ctrl_c, watch_ctrl_c
from ._launch import join_processes
from ._load import suitable_threads
from ._loader import CrystalDataset, TrainingData
from ._loop import TrainingLoop
from ._model_spec import ModelSpec
from ._net import CrystalNet
from ._nets import build_model, make_net
from ._predict import ordinary_mode
from ._randomness import PrivateRandomness
from ._ranks import Ranks
from ._rates import make_rate
from ._resume import StateFile, run_key
from ._schedules import CosineSchedule, resolve_schedule
from ._settings import TrainingSettings
from ._specs import to_spec
from ._state import TrainingState
from ._strategies import parameter_groups, set_trainable
from ._team import Alone, Leader, SharedStep
from ._time_limit import seconds_of
from ._work import TrainingWork

__all__ = ["take_part", "train"]

#: Settings that do not change the result of a training.
_NEUTRAL = {
    *("device", "compile", "verbose", "n_processes"),
    *("checkpoint_dir", "checkpoint_epochs", "resume"),
}


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
    """Train the model that ``spec`` describes.

    All random numbers come from private generators: the same seed leads to the same weights in any
    thread, and torch's global generators stay as they are.

    Parameters
    ----------
    spec : ModelSpec
        Describes the model.
    dataset : CrystalDataset
        Crystals and targets.
    train_indices, valid_indices : ndarray of int
        Crystals to train on, and to validate on (perhaps none).
    settings : TrainingSettings
        The user's settings.
    seed : int
        Seed of weights, order and perturbation.
    prepare : callable, optional
        Changes the fresh model before training (loads pre-trained weights, for example).
    callbacks : list of skorch.callbacks.Callback, optional
        The user's callbacks.
    run : mapping, optional
        Further inputs that decide the training: they enter the name of the state to resume from.
    write_epoch : callable, optional
        Writes the models of ``settings.checkpoint_epochs``.

    Returns
    -------
    CrystalNet
        The trained net.

    Raises
    ------
    FloatingPointError
        If the training diverges in its first epoch.
    TrainingInterrupted
        If Ctrl-C is pressed after the first epoch; a KeyboardInterrupt that carries the net.
    """
    user_callbacks = check_callbacks(
        callbacks,
        schedule=settings.schedule,
        has_validation=len(valid_indices) > 0,
        # The best weights of the training itself are stored with its state.
        must_resume=settings.checkpoint_dir is not None and not settings.restore_best,
    )
    _check_patience(settings, len(valid_indices) > 0)
    work = TrainingWork(spec, dataset, train_indices, valid_indices, settings, seed)
    with join_processes(work) as (ranks, process_settings):
        work = replace(work, settings=process_settings)
        if ranks is None or ranks.leads:
            leading = Leading(prepare, user_callbacks, run, write_epoch)
            return _train(work, leading, Alone() if ranks is None else Leader(ranks))
        with ignore_ctrl_c():
            return take_part(work, ranks, prepare)


@dataclass(frozen=True)
class Leading:
    """Arguments of :func:`train` that only the process that leads has a use for."""

    prepare: Callable[[ObjectiveModel], None] | None
    callbacks: list[Any]
    run: Mapping[str, Any] | None
    write_epoch: WriteEpoch | None


def _train(work: TrainingWork, leading: Leading, team: Alone) -> CrystalNet:
    """Train in this process, which leads where there are several."""
    settings = work.settings
    device = resolve_device(settings.device)
    with ordinary_mode(device), torch.enable_grad(), watch_ctrl_c() as ctrl_c:
        # 1. data, model and net
        data = _training_data(work)
        randomness = PrivateRandomness(work.seed, device)
        model = build_model(work.spec, data.train, settings, randomness, leading.prepare)
        groups = parameter_groups(model.backbone, settings)
        net = make_net(
            work.spec, settings, device, callbacks=leading.callbacks, param_groups=groups
        )
        net.hold(model, optimizer=True)
        state = _initial_state(net, settings, work.seed, randomness)
        # 2. files
        loop = TrainingLoop(net, data, settings, ctrl_c, team=team)
        if settings.checkpoint_dir is not None:
            description = {"spec": work.spec.to_dict(), "seed": work.seed, **_deciding(settings)}
            key = run_key({**description, **(leading.run or {})}, data)
            _add_files(loop, Path(settings.checkpoint_dir), key, leading.write_epoch)
        # 3. loop
        with suitable_threads(work, derivatives=model.differentiates):
            _run(loop, state)
    return net


def take_part(
    work: TrainingWork,
    ranks: Ranks,
    prepare: Callable[[ObjectiveModel], None] | None = None,
) -> CrystalNet:
    """Compute gradients for the process that leads; return the net that it ends with.

    Parameters
    ----------
    work : TrainingWork
        The training.
    ranks : Ranks
        Its processes.
    prepare : callable, optional
        Changes the fresh model, as in :func:`train`.
    """
    settings = work.settings
    device = resolve_device(settings.device)
    with ordinary_mode(device), torch.enable_grad():
        data = _training_data(work)
        randomness = PrivateRandomness(work.seed, device)
        model = build_model(work.spec, data.train, settings, randomness, prepare)
        net = make_net(work.spec, settings, device).hold(model)
        Follower(net, data, settings, SharedStep(ranks), work.seed).run()
    return net


def _training_data(work: TrainingWork) -> TrainingData:
    """Return the data on the device of the training."""
    dataset = work.dataset.to(resolve_device(work.settings.device))
    valid = dataset.subset(work.valid) if len(work.valid) else None
    return TrainingData(dataset.subset(work.train), valid)


def _initial_state(
    net: CrystalNet, settings: TrainingSettings, seed: int, randomness: PrivateRandomness
) -> TrainingState:
    """Return the state before the first epoch."""
    model: ObjectiveModel = net.module_
    # Frozen weights are in the optimizer, too: it skips them as long as they have no gradient.
    set_trainable(model, settings, 0)
    if settings.ema_decay is not None:
        net.average_ = WeightAverage(model, settings.ema_decay)
    return TrainingState(
        model=model,
        optimizer=net.optimizer_,
        history=net.history,
        generator=torch.Generator().manual_seed(seed),
        randomness=randomness,
        rate=make_rate(resolve_schedule(settings.schedule), net.optimizer_),
        average=net.average_,
    )


def _add_files(loop: TrainingLoop, folder: Path, key: str, write_epoch: WriteEpoch | None) -> None:
    """Make a loop write its state, and the models of chosen epochs, to a folder."""
    loop.state_file = StateFile(folder, key)
    settings = loop.settings
    if settings.checkpoint_epochs is not None and write_epoch is not None:
        loop.epoch_checkpoints = EpochCheckpoints(
            settings.checkpoint_epochs,
            folder / key,
            write_epoch,
            best=settings.restore_best and loop.data.valid is not None,
        )


def _run(loop: TrainingLoop, state: TrainingState) -> None:
    """Run a loop; Ctrl-C after the first epoch hands over the net as it is."""
    try:
        loop.run(state)
    except KeyboardInterrupt as interrupt:
        if state.epoch == 0:
            raise
        raise TrainingInterrupted(loop.net) from interrupt
    finally:
        # The losses of single batches were for the callbacks.
        for row in loop.net.history:
            row["batches"] = []


def _check_patience(settings: TrainingSettings, has_validation: bool) -> None:
    if settings.patience is not None and not has_validation:
        raise ValueError(
            f"patience={settings.patience} stops a training by its validation loss, but no "
            "crystals are held out for validation. Set validation_fraction (0.1, for example), or "
            "patience=None."
        )


def _deciding(settings: TrainingSettings) -> dict[str, Any]:
    """Return the settings that a resumed training must share."""
    names = {field.name for field in fields(settings)} - _NEUTRAL - {"schedule"}
    values = {name: getattr(settings, name) for name in sorted(names)}
    values["max_time"] = seconds_of(settings.max_time)  # "1min" is the same time as "60s"
    schedule = resolve_schedule(settings.schedule)
    if not isinstance(schedule, CosineSchedule) and settings.strategy != "frozen_then_full":
        # Only these two depend on where the training ends.
        del values["max_epochs"]
    return {**values, "schedule": to_spec(schedule, "schedule")}
