"""Errors of predictions in the form of each kind of label."""

from typing import Protocol, cast, runtime_checkable

import numpy as np
from sklearn.metrics import log_loss
from torch import Tensor

from gnnpre.objectives import (
    AtomTargets,
    Bounds,
    ClassTargets,
    Objective,
    ObjectiveModel,
    PropertyTargets,
    Targets,
    TensorTargets,
    tensor_form,
)

from ._fit_data import FitData
from ._kernel_classifier import KernelClassifier
from ._kernel_features import SINGLE_PRECISION
from ._kernel_regressor import KernelRegressor

__all__ = ["PROBE_ROWS", "ProbedErrors", "errors_of"]

# Crystals that the probe is tuned on, and fitted to.
PROBE_TUNING, PROBE_ROWS = 300, 2000


class Errors(Protocol):
    """Errors of predictions."""

    def error(self, predicted: np.ndarray, rows: np.ndarray) -> float:
        """Return the error of predictions of some crystals, those of :func:`predict_rows`."""


@runtime_checkable
class ProbedErrors(Errors, Protocol):
    """Errors of predictions that a kernel machine on embeddings of crystals could make too."""

    def probe(
        self, features: np.ndarray, rows: np.ndarray, new_features: np.ndarray, new_rows: np.ndarray
    ) -> np.ndarray:
        """Fit a kernel machine to the features of some rows, and predict those of new rows."""


class PropertyErrors:
    """Mean absolute errors: in the property's unit, or of several in standard deviations.

    A property without a label among the training crystals does not count: nothing has learnt it.

    Parameters
    ----------
    data : FitData
        The crystals and their properties, whose standard deviations among the training crystals
        are the units of several.
    objective : PropertyTargets
        Config of the properties.
    """

    def __init__(self, data: FitData, objective: PropertyTargets) -> None:
        self.values, self.weights, self.groups = data.properties, data.targets.weights, data.groups
        # As the readout of the network, the probe learns a sum over atoms by its mean.
        counts = np.asarray(data.graphs.atom_counts, dtype=np.float64)[:, None]
        self.sizes = counts if objective.pooling == "sum" else np.ones_like(counts)
        self.bounds = Bounds.of(objective.bounds)
        self.units = np.ones(self.values.shape[1])
        if len(self.units) > 1:
            train = data.weighted(data.rows.train)
            self.units = np.array([_unit(column) for column in self.values[train].T])

    def error(self, predicted: np.ndarray, rows: np.ndarray) -> float:
        """Return the weighted mean absolute error, over crystals and properties."""
        errors = np.abs(predicted - self.values[rows]) / self.units
        return _weighted_mean(errors, self.weights[rows][:, None])

    def probe(
        self, features: np.ndarray, rows: np.ndarray, new_features: np.ndarray, new_rows: np.ndarray
    ) -> np.ndarray:
        """Fit a Gaussian process to each property and predict it; NaN without a label."""
        columns = []
        for column in (self.values[rows] / self.sizes[rows]).T:
            labelled = np.isfinite(column)
            if not labelled.any():
                columns.append(np.full(len(new_features), np.nan))
                continue
            machine = KernelRegressor(
                transforms=("identity",),
                resolution=SINGLE_PRECISION,
                max_tuning=PROBE_TUNING,
                max_exact=PROBE_ROWS,
                random_state=0,
            )
            some = rows[labelled]
            groups = None if self.groups is None else self.groups[some]
            machine.fit(features[labelled], column[labelled], self.weights[some], groups)
            columns.append(machine.predict(new_features))
        clipped: np.ndarray = self.bounds.clip(np.stack(columns, axis=1) * self.sizes[new_rows])
        return clipped


def _weighted_mean(errors: np.ndarray, weights: np.ndarray) -> float:
    """Return the mean of the errors that are not NaN, NaN if all are."""
    present = ~np.isnan(errors)  # a prediction of infinity is an error that counts
    if not present.any():
        return np.nan
    weights = np.broadcast_to(weights, errors.shape)
    return float(np.average(errors[present], weights=weights[present]))


def _unit(labels: np.ndarray) -> float:
    """Return the standard deviation of labels, 1 of a constant, NaN if all are missing."""
    labels = labels[np.isfinite(labels)]
    if not len(labels):
        return np.nan
    return float(labels.std()) if np.ptp(labels) > 0 else 1.0


class AtomErrors:
    """Mean absolute errors of values of atoms, in their unit.

    Parameters
    ----------
    targets : Targets
        The values, NaN where missing.
    """

    def __init__(self, targets: Targets) -> None:
        values = targets.atom["atom_values"].cpu().numpy()
        self.values = np.split(values, np.cumsum(targets.n_atoms)[:-1])
        self.weights = targets.weights

    def error(self, predicted: np.ndarray, rows: np.ndarray) -> float:
        """Return the weighted mean absolute error over the atoms of some crystals."""
        true = np.concatenate([self.values[row] for row in rows])
        weights = np.repeat(self.weights[rows], [len(self.values[row]) for row in rows])
        return _weighted_mean(np.abs(predicted - true), weights.reshape(-1, *[1] * (true.ndim - 1)))


class TensorErrors:
    """Mean norms of the errors of vectors or tensors, in their unit.

    Parameters
    ----------
    targets : Targets
        Their coordinates, NaN where missing.
    """

    def __init__(self, targets: Targets) -> None:
        self.form = tensor_form(targets)
        self.values = targets.crystal["tensors"].cpu().numpy()
        self.weights = targets.weights

    def error(self, predicted: np.ndarray, rows: np.ndarray) -> float:
        """Return the weighted mean Frobenius norm of the error."""
        errors = self.form.to_coordinates(predicted) - self.values[rows]
        return _weighted_mean(np.linalg.norm(errors, axis=1), self.weights[rows])


class ClassErrors:
    """Cross entropies, weighted by crystal and by class as the loss is.

    Parameters
    ----------
    data : FitData
        The crystals and their classes, from 0.
    class_weight : ndarray of shape (n_classes,)
        Weights of the classes in the loss.
    """

    def __init__(self, data: FitData, class_weight: np.ndarray) -> None:
        self.classes: np.ndarray = data.targets.crystal["classes"].cpu().numpy()
        self.weights = data.targets.weights * class_weight[self.classes]
        self.n_classes, self.groups = len(class_weight), data.groups

    def error(self, predicted: np.ndarray, rows: np.ndarray) -> float:
        """Return the weighted cross entropy of probabilities ``(len(rows), n_classes)``."""
        # In float64 and normalised, or scikit-learn warns of sums that single precision rounds.
        predicted = predicted.astype(np.float64)
        predicted /= predicted.sum(axis=1, keepdims=True)
        labels, weights = np.arange(self.n_classes), self.weights[rows]
        entropy = log_loss(self.classes[rows], predicted, labels=labels, sample_weight=weights)
        return float(entropy)

    def probe(
        self, features: np.ndarray, rows: np.ndarray, new_features: np.ndarray, new_rows: np.ndarray
    ) -> np.ndarray:
        """Fit a kernel classifier and predict probabilities."""
        classes = self.classes[rows]
        present = np.unique(classes)
        probabilities = np.zeros((len(new_features), self.n_classes))
        if len(present) < 2:
            probabilities[:, present] = 1.0
            return probabilities
        machine = KernelClassifier(
            resolution=SINGLE_PRECISION, max_tuning=PROBE_TUNING, random_state=0
        )
        groups = None if self.groups is None else self.groups[rows]
        machine.fit(features, classes, self.weights[rows], groups)
        probabilities[:, present] = machine.predict_proba(new_features)
        return probabilities


def errors_of(model: ObjectiveModel, objective: Objective, data: FitData) -> Errors:
    """Return the errors that suit the labels of an objective.

    Parameters
    ----------
    model : ObjectiveModel
        The model, which knows the weights of classes.
    objective : Objective
        Config of the objective that the labels are learnt by.
    data : FitData
        The crystals.

    Returns
    -------
    Errors
        The errors.
    """
    if isinstance(objective, ClassTargets):
        class_weight = cast(Tensor, model.class_weight)
        return ClassErrors(data, class_weight.cpu().numpy().astype(np.float64))
    if isinstance(objective, AtomTargets):
        return AtomErrors(data.targets)
    if isinstance(objective, TensorTargets):
        return TensorErrors(data.targets)
    if isinstance(objective, PropertyTargets):
        return PropertyErrors(data, objective)
    raise TypeError(f"{type(objective).__name__} has no labels of a property.")
