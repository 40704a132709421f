"""Errors of predictions in the form of each kind of label."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from sklearn.metrics import log_loss

from gnnpre.objectives import (
    AtomTargets,
    ClassTargets,
    Objective,
    Targets,
    TensorTargets,
    tensor_form,
)

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

    def probe(self, features: np.ndarray, rows: np.ndarray, new_features: np.ndarray) -> np.ndarray:
        """Fit a kernel machine to the features of some crystals and predict for other ones."""


class PropertyErrors:
    """Mean absolute errors: in the property's unit, or of several in standard deviations.

    A property without a label among the training crystals does not count: nothing has learnt it.

    Parameters
    ----------
    values : ndarray of shape (n, k)
        The properties, NaN where missing.
    train : ndarray of int
        Crystals whose standard deviations are the units of several properties.
    """

    def __init__(self, values: np.ndarray, train: np.ndarray) -> None:
        self.values = values
        self.units = np.ones(values.shape[1])
        if values.shape[1] > 1:
            self.units = np.array([_unit(column) for column in values[train].T])

    def error(self, predicted: np.ndarray, rows: np.ndarray) -> float:
        """Return the mean absolute error, over crystals and properties."""
        errors = np.abs(predicted - self.values[rows]) / self.units
        counted = errors[~np.isnan(errors)]  # a prediction of infinity is an error that counts
        return float(counted.mean()) if len(counted) else np.nan

    def probe(self, features: np.ndarray, rows: np.ndarray, new_features: np.ndarray) -> np.ndarray:
        """Fit a Gaussian process to each property and predict it; NaN without a label."""
        columns = []
        for column in self.values[rows].T:
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
            machine.fit(features[labelled], column[labelled])
            columns.append(machine.predict(new_features))
        return np.stack(columns, axis=1)


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

    def error(self, predicted: np.ndarray, rows: np.ndarray) -> float:
        """Return the mean absolute error over the atoms of some crystals."""
        true = np.concatenate([self.values[row] for row in rows])
        return float(np.nanmean(np.abs(predicted - true)))


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

    def error(self, predicted: np.ndarray, rows: np.ndarray) -> float:
        """Return the mean Frobenius norm of the error."""
        errors = self.form.to_coordinates(predicted) - self.values[rows]
        return float(np.nanmean(np.linalg.norm(errors, axis=1)))


class ClassErrors:
    """Cross entropies.

    Parameters
    ----------
    classes : ndarray of int of shape (n,)
        Classes from 0.
    n_classes : int
        Number of classes.
    """

    def __init__(self, classes: np.ndarray, n_classes: int) -> None:
        self.classes = classes
        self.n_classes = n_classes

    def error(self, predicted: np.ndarray, rows: np.ndarray) -> float:
        """Return the cross entropy of probabilities ``(len(rows), n_classes)``."""
        # In float64 and normalised, or scikit-learn warns of sums that single precision rounds.
        predicted = predicted.astype(np.float64)
        predicted /= predicted.sum(axis=1, keepdims=True)
        return float(log_loss(self.classes[rows], predicted, labels=np.arange(self.n_classes)))

    def probe(self, features: np.ndarray, rows: np.ndarray, new_features: np.ndarray) -> np.ndarray:
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
        machine.fit(features, classes)
        probabilities[:, present] = machine.predict_proba(new_features)
        return probabilities


def errors_of(
    objective: Objective, targets: Targets, train: np.ndarray, layout: dict[str, Any]
) -> Errors:
    """Return the errors that suit the labels of an objective.

    Parameters
    ----------
    objective : Objective
        Config of the objective that the labels are learnt by.
    targets : Targets
        The labels.
    train : ndarray of int
        Crystals of the training.
    layout : dict
        Layout of the model, which knows the number of classes.

    Returns
    -------
    Errors
        The errors.
    """
    if isinstance(objective, ClassTargets):
        return ClassErrors(targets.crystal["classes"].cpu().numpy(), layout["n_classes"])
    if isinstance(objective, AtomTargets):
        return AtomErrors(targets)
    if isinstance(objective, TensorTargets):
        return TensorErrors(targets)
    return PropertyErrors(targets.crystal["properties"].cpu().numpy(), train)
