"""Inputs of the estimators: graphs or structures as X, and weights of crystals."""

from typing import Any

import numpy as np
import torch
from sklearn.utils.multiclass import check_classification_targets

from gnnpre._labels import as_floats, as_labels, flatten_column, rows_text
from gnnpre._warnings import DataQualityWarning, warn_user
from gnnpre.graphs import (
    CrystalGraphs,
    GraphSettings,
    LazyCrystals,
    LazyGraphs,
    StructureToGraph,
    is_on_disk,
)
from gnnpre.objectives import Targets

__all__ = [
    "add_sample_weight",
    "as_graphs",
    "check_classes",
    "check_sample_weight",
    "labels_of",
    "warn_of_isolated_atoms",
    "weights_in_order",
]


def as_graphs(X: Any, settings: GraphSettings | None) -> CrystalGraphs:
    """Return X as graphs, those that a model was trained on.

    Parameters
    ----------
    X : CrystalGraphs of shape (n,), or n structures
        The crystals.
    settings : GraphSettings or None
        Settings of the model's graphs; the defaults of ``StructureToGraph`` without a model.

    Returns
    -------
    CrystalGraphs
        The graphs.

    Raises
    ------
    ValueError
        If there are no crystals, or graphs were built with other settings.
    """
    if not isinstance(X, (CrystalGraphs, LazyGraphs)):
        parameters = {} if settings is None else settings.to_dict()
        graphs: CrystalGraphs = StructureToGraph(**parameters).fit_transform(X)
        return graphs
    if len(X) == 0:
        raise ValueError("X has 0 crystals; a minimum of 1 is required.")
    difference = "" if settings is None else X.settings.difference(settings)
    if difference:
        raise ValueError(
            f"X was built with other settings than the model was trained on: {difference}. Build "
            f"it with StructureToGraph({_arguments(settings)}), or pass structures."
        )
    return X  # type: ignore[return-value] # LazyGraphs have all that training asks of graphs


def labels_of(X: Any, y: Any) -> Any:
    """Return the labels of a training: ``y``, or those of a store if there is none.

    Parameters
    ----------
    X : object
        The crystals as the user passed them.
    y : object or None
        The labels as the user passed them.

    Returns
    -------
    object or None
        The labels.
    """
    crystals = X.crystals if is_on_disk(X) else X
    return crystals.labels if y is None and isinstance(crystals, LazyCrystals) else y


def _arguments(settings: GraphSettings | None) -> str:
    default, values = GraphSettings(cutoff=0.0).to_dict(), settings.to_dict() if settings else {}
    return ", ".join(f"{k}={v!r}" for k, v in values.items() if v != default[k])


def warn_of_isolated_atoms(graphs: CrystalGraphs) -> None:
    """Warn if most atoms have no neighbour: a cutoff in nm, or cells in another unit than Å."""
    # Each edge gives a neighbour to one atom, so at least this many have none.
    isolated = np.maximum(graphs.atom_counts - graphs.edge_counts, 0)
    if isolated.sum() <= 0.5 * graphs.atom_counts.sum():
        return
    rows = np.flatnonzero(isolated)
    warn_user(
        f"At least {isolated.sum()} of {graphs.atom_counts.sum()} atoms have no neighbour within "
        f"cutoff={graphs.cutoff:g} Å ({rows_text(rows)} of X): the network cannot see how they "
        "are arranged. Is cutoff in nm, or are the cells in another unit than Å? The default of "
        "StructureToGraph is cutoff=6.0.",
        DataQualityWarning,
    )


def check_classes(y: Any, n_rows: int | None = None) -> np.ndarray:
    """Return class labels that can be put in order, ``(n,)``.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, 1)
        The labels.
    n_rows : int, optional
        Number of crystals.

    Returns
    -------
    ndarray of shape (n,)
        The labels.

    Raises
    ------
    ValueError, TypeError
        If there are none, a label is missing, or they are not classes of one type.
    """
    if y is None:
        raise ValueError("This estimator requires y to be passed, but the target y is None.")
    labels = as_labels("y", flatten_column("y", y), n_rows=n_rows)
    if len(labels) == 0:
        raise ValueError("y is empty: expected a class for each crystal of X, a minimum of 2.")
    try:
        check_classification_targets(labels)
    except (TypeError, ValueError) as error:
        types = sorted({type(label).__name__ for label in labels.tolist()})
        if isinstance(error, TypeError) and len(types) > 1:
            raise ValueError(
                f"y mixes labels that cannot be put in order ({error}): give all of one type."
            ) from error
        if isinstance(error, ValueError) and labels.dtype.kind != "O":
            raise
        raise ValueError(
            f"y holds labels of type {', '.join(types)}, which are not classes: "
            f"{str(error).removesuffix('.')}. Convert them to text or integers, with "
            "[str(label) for label in y] for example."
        ) from error
    return labels


def check_sample_weight(sample_weight: Any, n_rows: int) -> np.ndarray:
    """Return weights of crystals scaled to a mean of one, ``(n,)``.

    Parameters
    ----------
    sample_weight : array-like of shape (n,)
        The weights.
    n_rows : int
        Number of crystals.

    Returns
    -------
    ndarray of shape (n,)
        The weights.

    Raises
    ------
    ValueError, TypeError
        If the weights are not finite numbers of at least zero, or all zero.
    """
    weights = as_floats(
        "sample_weight",
        sample_weight,
        n_rows=n_rows,
        n_dims=(1,),
        allow_bool=True,
        allow_missing=False,
    )
    negative = np.flatnonzero(weights < 0)
    if len(negative):
        raise ValueError(
            f"sample_weight is {weights[negative[0]]:g} at {rows_text(negative, sample_weight)}; "
            "expected weights that are not negative."
        )
    if not weights.any():
        raise ValueError("sample_weight is zero for all crystals: give some of them a weight.")
    # A mean of one, so that the scale of the weights does not change the loss.
    return weights / weights.mean()


def add_sample_weight(targets: Targets, sample_weight: Any) -> Targets:
    """Return targets with weights of crystals, where there are some.

    Parameters
    ----------
    targets : Targets
        Targets of n crystals.
    sample_weight : array-like of shape (n,) or None
        Their weights.

    Returns
    -------
    Targets
        The targets with the weights, scaled to a mean of one.

    Raises
    ------
    ValueError, TypeError
        If the weights are not finite numbers of at least zero, or all zero.
    """
    if sample_weight is None:
        return targets
    weights = check_sample_weight(sample_weight, len(targets))
    return targets.with_crystal("sample_weight", torch.from_numpy(weights))


def weights_in_order(class_weight: Any, classes: np.ndarray) -> Any:
    """Return a weight for each class in the order of ``classes``; None and "balanced" as is."""
    if class_weight is None or (isinstance(class_weight, str) and class_weight == "balanced"):
        return class_weight
    if not isinstance(class_weight, dict):
        raise ValueError(
            f"class_weight={class_weight!r}; expected None, 'balanced', or a dict from label to "
            "weight."
        )
    # A misspelt label would silently have no weight.
    unknown = [label for label in class_weight if label not in classes.tolist()]
    if unknown:
        raise ValueError(
            f"class_weight has a weight for {unknown[0]!r}, which is not a label of y; it has "
            f"{classes.tolist()}."
        )
    return tuple(float(class_weight.get(label, 1.0)) for label in classes.tolist())
