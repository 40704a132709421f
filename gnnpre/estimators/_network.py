"""One training of one network, on rows of one set of graphs: pre-training and fine-tuning alike."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gnnpre.backbones import Backbone
from gnnpre.graphs import CrystalGraphs, GraphSettings, all_rows
from gnnpre.objectives import Objective, ObjectiveModel, Targets
from gnnpre.training import (
    CrystalDataset,
    CrystalNet,
    ModelSpec,
    TrainingInterrupted,
    TrainingSettings,
    WriteEpoch,
    split_train_valid,
    train,
)

from ._elements import check_elements, elements_of

__all__ = ["FitInterrupted", "ModelRecord", "Task", "TrainedNetwork", "split_rows", "train_network"]


@dataclass(frozen=True)
class Task:
    """Data and configs of one training; index arrays choose crystals, and no graph is copied.

    Parameters
    ----------
    graphs : CrystalGraphs
        All crystals at hand, those that are held out too.
    targets : Targets
        Their targets.
    rows : ndarray of int
        Crystals of this training, which ``train`` and ``valid`` are taken from.
    train, valid : ndarray of int
        Crystals to train on, and to validate on (perhaps none).
    backbone : Backbone
        Config of the network.
    objective : Objective
        Config of the objective.
    run : mapping
        Further inputs that decide the training; they enter the name of its state on disk.
    labels : array-like, optional
        The user's labels of all crystals, for scoring callbacks.
    pretrained_elements : list of int
        Atomic numbers that the weights at the start have been trained on.
    """

    graphs: CrystalGraphs
    targets: Targets
    rows: np.ndarray
    train: np.ndarray
    valid: np.ndarray
    backbone: Backbone
    objective: Objective
    run: Mapping[str, Any] = field(default_factory=dict)
    labels: Any = None
    pretrained_elements: list[int] = field(default_factory=list)

    def spec(self, dtype: str) -> ModelSpec:
        """Return the description from which the model is built."""
        return ModelSpec(
            backbone=self.backbone,
            objective=self.objective,
            cutoff=self.graphs.cutoff,
            mean_neighbors=_mean_neighbors(self.graphs, self.train),
            layout=self.objective.layout(self.targets),
            dtype=dtype,
        )


@dataclass(frozen=True)
class ModelRecord:
    """Everything besides the weights that predictions need, and the size of the training data."""

    spec: ModelSpec
    graph_settings: GraphSettings
    elements: list[int]
    data: dict[str, int]

    @classmethod
    def of_task(cls, task: Task, dtype: str) -> "ModelRecord":
        """Read the record off a task."""
        counts = {
            "n_crystals": len(task.rows),
            "n_train": len(task.train),
            "n_valid": len(task.valid),
        }
        elements = {*elements_of(task.graphs, task.rows), *task.pretrained_elements}
        return cls(task.spec(dtype), task.graphs.settings, sorted(elements), counts)


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained skorch net with its record."""

    net: CrystalNet
    record: ModelRecord


class FitInterrupted(KeyboardInterrupt):
    """Ctrl-C in a training; ``network`` has the best weights so far."""

    def __init__(self, network: TrainedNetwork) -> None:
        super().__init__("The training was interrupted; the best weights so far are kept.")
        self.network = network


def train_network(
    task: Task,
    settings: TrainingSettings,
    seed: int,
    *,
    callbacks: Any = None,
    prepare: Callable[[ObjectiveModel], None] | None = None,
    make_writer: Callable[[ModelRecord], WriteEpoch] | None = None,
) -> TrainedNetwork:
    """Train the network of a task.

    Parameters
    ----------
    task : Task
        Data and configs.
    settings : TrainingSettings
        How to train.
    seed : int
        Seed of weights and batches.
    callbacks : list, optional
        The user's skorch callbacks.
    prepare : callable, optional
        Changes the new model before the training; loads weights into it, for example.
    make_writer : callable, optional
        Builds the function that writes the models of ``settings.checkpoint_epochs``.

    Returns
    -------
    TrainedNetwork
        The network.

    Raises
    ------
    ValueError
        If no crystal of the training has a weight, or one has an element that is too heavy.
    FitInterrupted
        If Ctrl-C is pressed after the first epoch.
    """
    check_elements(task.graphs, task.backbone.max_atomic_number)
    if not task.targets.weights[task.train].any():
        raise ValueError(
            f"sample_weight is zero for all {len(task.train)} crystals that validation_fraction "
            "leaves to train on: there is nothing to learn. Give more crystals a weight, or lower "
            "validation_fraction."
        )
    # The record describes the model without its weights, in a file too.
    record = ModelRecord.of_task(task, settings.dtype)
    try:
        net = train(
            record.spec,
            # Rows in task.train and task.valid count in the whole set, which is not copied.
            CrystalDataset(task.graphs, task.targets, all_rows(len(task.graphs)), task.labels),
            task.train,
            task.valid,
            settings,
            seed,
            prepare=prepare,
            callbacks=callbacks,
            run=task.run,
            write_epoch=None if make_writer is None else make_writer(record),
        )
    except TrainingInterrupted as interrupt:
        raise FitInterrupted(TrainedNetwork(interrupt.net, record)) from interrupt
    return TrainedNetwork(net, record)


def split_rows(
    rows: np.ndarray,
    fraction: Any,
    groups: np.ndarray | None,
    seed: int,
    name: str = "validation_fraction",
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows in two, by a fraction or a splitter; groups stay together.

    Parameters
    ----------
    rows : ndarray of int
        The rows to split.
    fraction : float or splitter
        Fraction of the second set, or a splitter whose first split is taken.
    groups : ndarray or None
        Group of each crystal, of ``rows`` and of all others.
    seed : int
        Seed of the split.
    name : str
        Name of the user's parameter, for errors.

    Returns
    -------
    first, second : ndarray of int
        The rows of both sets; the second may be empty.
    """
    # The splitter counts within the rows; its answer is translated back.
    subset = None if groups is None else groups[rows]
    first, second = split_train_valid(len(rows), fraction, subset, seed, name)
    return rows[first], rows[second]


def _mean_neighbors(graphs: CrystalGraphs, rows: np.ndarray) -> float:
    """Return the mean number of neighbours of an atom; 1 where none has any."""
    mean = graphs.edge_counts[rows].sum() / graphs.atom_counts[rows].sum()
    return float(mean) if mean > 0 else 1.0
