"""Pre-training from top to bottom: settings, graphs, targets, split, training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import clone

from gnnpre._labels import label_codes
from gnnpre.backbones import CGCNN, Backbone
from gnnpre.graphs import CrystalGraphs, all_rows
from gnnpre.objectives import ForceField, Objective, Targets
from gnnpre.training import TrainingSettings, WriteEpoch

from ._continuation import Continuation, objectives_by_name
from ._elements import warn_of_missing_references, warn_of_unseen_elements
from ._embedding import check_embedding
from ._inputs import add_sample_weight, as_graphs, labels_of, warn_of_isolated_atoms
from ._network import ModelRecord, Task, TrainedNetwork, split_rows, train_network
from ._pretrained import read_pretrained
from ._settings import check_backbone, draw_seed, prepare_model
from ._size_check import warn_of_extensive_targets

__all__ = ["PretrainingSettings", "make_labelled_targets", "pretrain"]


@dataclass(frozen=True)
class PretrainingSettings:
    """Parameters of a :class:`Pretrainer`, copied, so that a later change changes no model."""

    backbone: Backbone | None
    objective: Objective
    pretrained: Any
    training: TrainingSettings
    validation_fraction: Any
    random_state: Any
    callbacks: Any
    embedding_layer: int
    embedding_pooling: str

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> "PretrainingSettings":
        """Check and copy the parameters of an estimator, and nothing else yet."""
        backbone, objective = parameters["backbone"], parameters["objective"]
        check_backbone(backbone)
        if backbone is not None and parameters["pretrained"] is not None:
            raise ValueError(
                "backbone and pretrained are both given: a pre-trained model brings its own "
                "backbone. Leave one of them at None."
            )
        if objective is not None and not isinstance(objective, Objective):
            raise TypeError(
                f"objective is {objective!r}; expected an Objective config such as ForceField()."
            )
        # Every error comes before any work; a Pretrainer inside another fit is checked there, too.
        training = TrainingSettings.from_parameters(parameters)
        training.validate()
        check_embedding(parameters["embedding_layer"], parameters["embedding_pooling"])
        if objective is not None:
            objective.check_parameters()
        names = ["pretrained", "validation_fraction", "random_state", "callbacks"]
        names += ["embedding_layer", "embedding_pooling"]
        return cls(
            backbone=None if backbone is None else clone(backbone),
            objective=ForceField() if objective is None else clone(objective),
            training=training,
            **{name: parameters[name] for name in names},
        )


def pretrain(
    settings: PretrainingSettings,
    X: Any,
    y: Any = None,
    groups: Any = None,
    sample_weight: Any = None,
    *,
    rows: np.ndarray | None = None,
    make_writer: Callable[[ModelRecord], WriteEpoch] | None = None,
) -> TrainedNetwork:
    """Pre-train a network.

    Parameters
    ----------
    settings : PretrainingSettings
        Parameters of the pre-trainer.
    X : CrystalGraphs of shape (n,), or n structures
        The crystals.
    y : object, optional
        Their labels.
    groups : array-like of shape (n,), optional
        Groups that the validation split keeps together.
    sample_weight : array-like of shape (n,), optional
        Weights of the crystals.
    rows : ndarray of int, optional
        Crystals to train and validate on; all by default.
    make_writer : callable, optional
        Builds the function that writes the models of ``checkpoint_epochs``.

    Returns
    -------
    TrainedNetwork
        The network.
    """
    training = settings.training
    seed = draw_seed(settings.random_state, training.resume, training.n_processes)

    # 1. Read the model to start from; build the graphs, and the targets that the objective learns.
    objective = settings.objective
    source = None if settings.pretrained is None else read_pretrained(settings.pretrained)
    graphs = as_graphs(X, None if source is None else source.graph_settings)
    # Targets first: fingerprints of crystals on disk take the pass that also counts edges.
    targets = make_labelled_targets(objective, graphs, y, sample_weight)
    warn_of_isolated_atoms(graphs)
    if source is not None:
        warn_of_unseen_elements(graphs, source.elements)
    objective.check_graphs(graphs)

    # 2. Split into training and validation, as index arrays.
    n = len(graphs)
    rows = all_rows(n) if rows is None else rows
    codes = None if groups is None else label_codes("groups", groups, n_rows=n)
    train, valid = split_rows(rows, settings.validation_fraction, codes, seed)
    warn_of_extensive_targets(objective, graphs, targets, rows)
    if len(valid) and _fits_references(objective):
        warn_of_missing_references(graphs, train, valid)

    # 3. Train.
    task = Task(graphs, targets, rows, train, valid, settings.backbone or CGCNN(), objective)
    load_weights = None
    if source is not None:
        task = replace(
            task,
            backbone=source.backbone,
            run={"source": source.digest},
            pretrained_elements=source.elements,
        )
        load_weights = Continuation(source, task)
    return train_network(
        task,
        settings.training,
        seed,
        callbacks=settings.callbacks,
        prepare=prepare_model(settings.embedding_layer, load_weights),
        make_writer=make_writer,
    )


def make_labelled_targets(
    objective: Objective, graphs: CrystalGraphs, y: Any, sample_weight: Any
) -> Targets:
    """Return the targets of an objective, which may need labels.

    Parameters
    ----------
    objective : Objective
        Config of the objective.
    graphs : CrystalGraphs
        The crystals.
    y : object or None
        Their labels.
    sample_weight : array-like of shape (n,), optional
        Their weights.

    Returns
    -------
    Targets
        The targets, with weights where there are some.

    Raises
    ------
    ValueError
        If there are no labels and the objective needs some.
    """
    y = labels_of(graphs, y)
    if y is None and objective.needs_labels:
        raise ValueError(
            f"y is None, but {type(objective).__name__} learns from labels. This estimator "
            "requires y to be passed, or an objective that needs none."
        )
    return add_sample_weight(objective.make_targets(graphs, y), sample_weight)


def _fits_references(objective: Objective) -> bool:
    """Return whether an objective learns energies less those of the elements."""
    return any(
        isinstance(item, ForceField) and bool(item.energy) and item.reference_energies is not None
        for item in objectives_by_name(objective).values()
    )
