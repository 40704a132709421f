"""Batches of crystals as a writer gets them, joined to tasks that each make a shard or more."""

import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import joblib
import numpy as np

from gnnpre._content_key import content_digest
from gnnpre._join_arrays import join_arrays
from gnnpre._row_order import warn_of_other_order

from ...graphs import Crystals, FrameLabels, as_column
from .._info_columns import join_labels
from .._written_columns import as_mapping, check_labels_of

__all__ = ["Batch", "Task", "iterate_tasks", "read_task", "task_digest"]

#: Crystals, their labels of a force field or None, and their targets by name.
Batch = tuple[Crystals, FrameLabels | None, dict[str, np.ndarray]]
#: Batches in memory, or one function that returns a batch.
Task = list[Any]


def iterate_tasks(batches: Iterable[Any], rows: int) -> Iterator[Task]:
    """Join consecutive batches to tasks of at least ``rows`` crystals, but the last.

    A function that returns a batch is a task of its own, since its size is not known.
    """
    try:
        iterator = iter(batches)
    except TypeError:
        raise TypeError(
            f"batches is of type {type(batches).__name__}; expected an iterable of batches, such "
            "as [crystals]."
        ) from None
    waiting: Task = []
    for number, batch in enumerate(iterator):
        # A function reads its own batch inside a worker: it is a task by itself.
        if callable(batch):
            if waiting:
                yield waiting
            yield [batch]
            waiting = []
            continue
        waiting.append(_checked(batch, f"Batch {number}"))
        if sum(len(crystals) for crystals, _, _ in waiting) >= rows:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _checked(batch: Any, name: str) -> Batch:
    """Return a batch as crystals, labels and targets; errors name it."""
    try:
        return _as_batch(batch)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from error


def _as_batch(batch: Any) -> Batch:
    crystals, labels = batch if isinstance(batch, tuple) and len(batch) == 2 else (batch, None)
    if not isinstance(crystals, Crystals):
        raise TypeError(
            f"It is of type {type(batch).__name__}; expected Crystals, a tuple of Crystals and "
            "labels as readers return it, or a function without arguments that returns one of the "
            "two. Structures become Crystals by Crystals.from_structures(structures)."
        )
    if labels is None or isinstance(labels, FrameLabels):
        check_labels_of(crystals, labels)
        return crystals, labels, {}
    warn_of_other_order(crystals, targets=labels)
    targets = {
        key: as_column(f"Column {key!r}", values, len(crystals))
        for key, values in as_mapping(labels).items()
    }
    return crystals, None, targets


def read_task(task: Task, name: str) -> Batch:
    """Return the batches of a task as one."""
    batches = [_checked(item(), name) if callable(item) else item for item in task]
    crystals = [batch[0] for batch in batches]
    labels = [batch[1] for batch in batches if batch[1] is not None]
    targets = [batch[2] for batch in batches]
    if len(batches) == 1:
        return batches[0]
    if labels and len(labels) < len(batches):
        raise ValueError(f"{name}: some of its batches have labels and others have none.")
    if any(set(columns) != set(targets[0]) for columns in targets):
        columns = sorted({tuple(sorted(columns)) for columns in targets})
        raise ValueError(f"{name}: its batches have different targets, {columns}.")
    joined = {key: join_arrays([columns[key] for columns in targets]) for key in targets[0]}
    return Crystals.concatenate(crystals), join_labels(labels) if labels else None, joined


def task_digest(task: Task) -> str:
    """Return a digest of the input of a task: of its data, or of its function and arguments."""
    return joblib.hash([_digest(item) if callable(item) else item for item in task]) or ""


def _digest(function: Callable[[], Any]) -> str:
    try:
        return content_digest(function)
    except Exception:  # what cannot be described is never the same: nothing is resumed
        return uuid.uuid4().hex
