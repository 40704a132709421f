"""Checks of the user's skorch callbacks, and the states that a resumed training restores."""

import json
from collections.abc import Iterator
from typing import Any

from skorch.callbacks import (
    BatchScoring,
    Callback,
    EarlyStopping,
    EpochScoring,
    InputShapeSetter,
    LRScheduler,
    PassthroughScoring,
)

from ._reporting import ReportEpoch

__all__ = [
    "callback_states",
    "check_callbacks",
    "check_monitors",
    "load_callback_states",
    "recall_best_scores",
]

#: Attributes of skorch's callbacks that decide how they go on.
_SKORCH_STATES: dict[type, tuple[str, ...]] = {
    EarlyStopping: ("misses_", "dynamic_threshold_"),
    LRScheduler: ("batch_idx_",),
}


def check_callbacks(
    callbacks: Any, *, schedule: Any, has_validation: bool, must_resume: bool = False
) -> list[Any]:
    """Return the user's callbacks as a list, once each is known to work in this training.

    Raises
    ------
    TypeError
        If an item is not a skorch callback, or one that needs arrays.
    ValueError
        If a callback sets the learning rate beside the schedule, monitors a validation loss
        that there is not, or holds weights that a training which `must_resume` would lose.
    """
    items = [] if callbacks is None else callbacks
    if not isinstance(items, (list, tuple)):
        raise TypeError(
            f"callbacks is of type {type(items).__name__}; expected a list of skorch callbacks, or "
            "of pairs of name and callback."
        )
    for index, item in enumerate(items):
        # skorch takes callbacks with and without a name.
        callback = item[1] if isinstance(item, tuple) and len(item) == 2 else item
        start = f"callbacks[{index}] is {item!r}"
        if isinstance(callback, type) or not isinstance(callback, Callback):
            raise TypeError(
                f"{start}; expected an instance of skorch.callbacks.Callback or of a subclass, or "
                "a pair of name and callback."
            )
        _check_kind(callback, start)
        if schedule is not None and isinstance(callback, LRScheduler):
            raise ValueError(
                f"{start}, and schedule={schedule!r} sets the learning rate too. Set schedule=None "
                "to leave it to the callback, or leave the callback out."
            )
        if must_resume and isinstance(callback, EarlyStopping) and callback.load_best:
            # It holds them in memory only: a resumed training would end with its last weights.
            raise ValueError(
                f"{start}, whose best weights are not in checkpoint_dir: a training that is killed "
                "and resumed would end without them. Set load_best=False and restore_best=True."
            )
        if not has_validation and (monitor := _validation_monitor(callback)):
            raise ValueError(
                f"{start}, which monitors {monitor!r}, but no crystals are held out for "
                "validation. Set validation_fraction (0.1, for example), or monitor 'train_loss'."
            )
    return list(items)


def _check_kind(callback: Callback, start: str) -> None:
    """Check that a callback does not need arrays, which crystals are not."""
    if isinstance(callback, InputShapeSetter):
        raise TypeError(f"{start}; crystals have no input shape to set. Leave it out.")
    if isinstance(callback, (BatchScoring, EpochScoring)) and not callable(callback.scoring):
        raise TypeError(
            f"{start}: scikit-learn's scorers take arrays, which crystals are not. Pass a function "
            "scoring(net, X, y) instead: X are the graphs, net.predict(X) predicts."
        )


def check_monitors(net: Any) -> None:
    """Check that the quantities which callbacks monitor are in the history of a net.

    Raises
    ------
    ValueError
        If one is not.
    """
    row = net.history[-1]
    for name, callback in net.callbacks_:
        monitor = getattr(callback, "monitor", None)
        if isinstance(monitor, str) and monitor not in row:
            recorded = sorted(key for key in row if key != "batches")
            raise ValueError(
                f"callbacks: {name!r} monitors {monitor!r}, which is not recorded. Monitor one of "
                f"{recorded}, or record it with epoch_scoring."
            )


def _validation_monitor(callback: Callback) -> str | None:
    """Return which quantity of the validation set a callback needs, if any."""
    if isinstance(callback, ReportEpoch):  # documented to report nothing then
        return None
    if isinstance(callback, EpochScoring) and not callback.on_train:
        return str(callback.name or "the validation set")
    # Other policies of LRScheduler count steps or epochs and ignore their monitor.
    is_plateau = not isinstance(callback, LRScheduler) or "Plateau" in str(callback.policy)
    monitor = getattr(callback, "monitor", None)
    if is_plateau and isinstance(monitor, str) and monitor.startswith("valid"):
        return monitor
    return None


def callback_states(callbacks: list[tuple[str, Callback]]) -> dict[str, Any]:
    """Return the states, JSON-serializable, of the callbacks that have one.

    A callback of the user takes part with methods ``state()`` and ``load_state(state)``.
    """
    return dict(_states(callbacks))


def _states(callbacks: list[tuple[str, Callback]]) -> Iterator[tuple[str, Any]]:
    for name, callback in callbacks:
        if hasattr(callback, "state"):
            yield name, callback.state()
        # skorch's own callbacks know nothing of a resumed run.
        for cls, attributes in _SKORCH_STATES.items():
            if isinstance(callback, cls):
                state = {key: getattr(callback, key) for key in attributes}
                if isinstance(callback, LRScheduler):
                    state["scheduler"] = _scheduler_state(callback)
                yield name, state


def _scheduler_state(callback: LRScheduler) -> dict[str, Any]:
    """Return the numbers that a scheduler of torch counts with, not its functions."""
    state = callback.lr_scheduler_.state_dict()
    return {key: value for key, value in state.items() if _is_json(value)}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


def load_callback_states(callbacks: list[tuple[str, Callback]], states: dict[str, Any]) -> None:
    """Restore the states that :func:`callback_states` returned."""
    by_name = dict(callbacks)
    for name, state in states.items():
        callback: Any = by_name.get(name)
        if hasattr(callback, "load_state"):
            callback.load_state(state)
        elif any(isinstance(callback, cls) for cls in _SKORCH_STATES):
            # The scheduler holds the optimizer, which is restored apart.
            scheduler = state.pop("scheduler", None)
            if scheduler is not None:
                callback.lr_scheduler_.load_state_dict(scheduler)
            vars(callback).update(state)
        else:
            raise ValueError(
                f"The state to resume from holds that of a callback {name!r}, which this training "
                "does not have. Pass the same callbacks, or another checkpoint_dir."
            )


def recall_best_scores(net: Any, dataset: Any) -> None:
    """Look up the best scores of skorch's scorings in a history that has been restored.

    Parameters
    ----------
    net : CrystalNet
        The net that holds the callbacks and the history.
    dataset : CrystalDataset
        Crystals and targets of the training.
    """
    for _, callback in net.callbacks_:
        if isinstance(callback, (BatchScoring, EpochScoring, PassthroughScoring)):
            callback.on_train_begin(net, X=dataset.graphs, y=dataset.labels)
